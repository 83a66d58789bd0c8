"""A Slack payload -> HTML that looks as it does in Slack. Pure; standard library only.

Text in payloads is hostile: all of it is escaped, only http and https links become links, nothing is fetched
and no script runs but the caller's own. A payload with wrong types anywhere still renders, its odd part as a
placeholder: a preview that fails says less than one that shows what is wrong.
"""

from cwnotify.preview.builder import build_block_kit_builder_url
from cwnotify.preview.message import render_message_html
from cwnotify.preview.page import render_entry_html, render_page_html

__all__ = ["build_block_kit_builder_url", "render_entry_html", "render_message_html", "render_page_html"]
