"""A Slack payload -> HTML that looks as it does in Slack. Pure; standard library only.

Text in payloads is hostile: all of it is escaped, only http and https links become links, nothing is fetched
and no script runs but the caller's own. A payload with wrong types anywhere still renders, its odd part as a
placeholder: a preview that fails says less than one that shows what is wrong.
"""

from cwnotify.preview.builder import builder_link
from cwnotify.preview.message import message_html
from cwnotify.preview.page import entry_html, page

__all__ = ["builder_link", "entry_html", "message_html", "page"]
