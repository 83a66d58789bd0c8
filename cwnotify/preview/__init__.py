"""Render Slack payloads as HTML that looks as in Slack. Pure; standard library only.

Payloads are not trusted: all text is escaped, only http and https URLs become links, nothing is fetched, and only the
caller's script runs. A payload with wrong types still renders, with placeholders that show what is wrong.
"""

from cwnotify.preview.builder import build_block_kit_builder_url
from cwnotify.preview.message import render_message_html
from cwnotify.preview.page import render_entry_html, render_page_html

__all__ = ["build_block_kit_builder_url", "render_entry_html", "render_message_html", "render_page_html"]
