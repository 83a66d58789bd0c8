"""Render messages as one self-contained HTML document with light and dark themes. Standard library only."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from datetime import datetime

from cwnotify.preview.builder import build_block_kit_builder_url
from cwnotify.preview.message import render_message_html
from cwnotify.preview.mrkdwn import escape_html, render_link_html

# Colors and sizes are Slack's. Text contrast is at least 4.5 to 1 in both themes.
_STYLE = """
:root {
  color-scheme: light dark;
  --paper: #fff; --ink: #1d1c1d; --quiet: #616061; --line: #ddd; --outline: #868686; --soft: #f8f8f8;
  --link: #1264a3; --mention: #e8f2f9; --everyone: #fbf0cf; --code: #c01343; --good: #007a5a; --bad: #c01343;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #1a1d21; --ink: #d1d2d3; --quiet: #ababad; --line: #3a3d42; --outline: #8b8d91; --soft: #222529;
    --link: #4fb3e8; --mention: #1c3444; --everyone: #4a3f1d; --code: #f0a35e; --good: #4cc38a;
    --bad: #ff8095;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--paper); color: var(--ink); overflow-wrap: anywhere;
  font: 15px/1.4667 -apple-system, BlinkMacSystemFont, "Segoe UI", Lato, "Noto Sans", "Noto Sans KR",
    "Noto Sans CJK KR", "Malgun Gothic", Roboto, Arial, "Noto Color Emoji", sans-serif;
}
main { max-width: 50rem; margin: 0 auto; padding: 1.5rem 1.25rem 4rem; }
h1 { margin: 0; font-size: 1.375rem; line-height: 1.3; }
h2 { margin: 2rem 0 .75rem; font-size: 1.0625rem; }
.subtitle, .empty, .status { margin: .25rem 0 0; color: var(--quiet); }
a { color: var(--link); text-decoration: none; }
a:hover, .text a { text-decoration: underline 1px; text-underline-offset: 3px; }
a:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; border-radius: 2px; }
.messages { list-style: none; margin: 0; padding: 0; }
.messages:not(:empty) + .empty { display: none; }
.entry { position: relative; padding: .625rem 0; }
.builder { position: absolute; top: .75rem; right: 0; font-size: .8125rem; }
.message { display: grid; grid-template-columns: 36px minmax(0, 1fr); column-gap: 8px; }
.avatar {
  grid-row: 1 / 3; width: 36px; height: 36px; margin-top: 3px; border-radius: 8px; background: #232f3e;
  color: #f90; font-size: 17px; font-weight: 800; line-height: 34px; text-align: center;
}
.message header { min-height: 22px; padding-right: 12.5rem; }
.message h3 { display: inline; font-size: 15px; font-weight: 800; }
.app { padding: 0 3px; border-radius: 2px; background: var(--line); font-size: 10px; vertical-align: 1px; }
time { color: var(--quiet); font-size: 12px; }
.text { white-space: pre-wrap; }
.header { margin: 4px 0; font-size: 18px; line-height: 1.33; }
.section { display: flex; gap: 16px; margin-bottom: 4px; }
.main { flex: 1; min-width: 0; }
.fields { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 6px 18px; }
.context {
  display: flex; flex-wrap: wrap; align-items: center; gap: 2px 8px; margin: 2px 0 4px;
  color: var(--quiet); font-size: 13px; line-height: 1.4;
}
hr { margin: 12px 0; border: 0; border-top: 1px solid var(--line); }
.actions { display: flex; flex-wrap: wrap; gap: 8px; margin: 8px 0 4px; }
.button {
  max-width: 100%; padding: 5px 13px; border: 1px solid var(--outline); border-radius: 4px; color: var(--ink);
  font-size: 14px; font-weight: 700; line-height: 20px;
}
.primary { border-color: #007a5a; background: #007a5a; color: #fff; }
.danger { border-color: #c01343; background: #c01343; color: #fff; }
.attachment { position: relative; margin: 4px 0; padding: 2px 0 2px 16px; }
.attachment::before {
  content: ""; position: absolute; inset: 0 auto 0 0; width: 4px; border-radius: 4px; background: var(--bar);
}
code, pre {
  border: 1px solid var(--line); border-radius: 3px; background: var(--soft);
  font: 12px/1.5 "SF Mono", Menlo, Consolas, "Noto Sans Mono", "DejaVu Sans Mono", "Noto Sans Mono CJK KR",
    monospace;
}
code { padding: 1px 3px; color: var(--code); }
pre { margin: 4px 0; padding: 8px; white-space: pre-wrap; }
pre code { padding: 0; border: 0; background: none; color: inherit; }
blockquote { margin: 4px 0; padding-left: 12px; border-left: 4px solid var(--line); }
.mention { padding: 0 2px; border-radius: 3px; background: var(--mention); color: var(--link); }
.everyone { background: var(--everyone); color: var(--ink); }
figure { margin: 4px 0; }
figcaption { font-weight: 700; }
.picture, .unknown {
  display: inline-block; padding: 4px 8px; border: 1px dashed var(--outline); border-radius: 4px;
}
.unknown { color: var(--quiet); font-style: italic; }
.body > .unknown, .attachment > .unknown { display: block; margin: 4px 0; }
table { width: 100%; border-collapse: collapse; overflow-wrap: break-word; }
th, td {
  padding: 6px 12px 6px 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top;
}
thead th { color: var(--quiet); font-size: 13px; }
.good, .bad { color: var(--good); font-weight: 700; }
.bad { color: var(--bad); }
@media (max-width: 36rem) {
  .builder { position: static; margin-left: 44px; }
  .message header { padding-right: 0; }
  .section { flex-wrap: wrap; }
  .fields { grid-template-columns: minmax(0, 1fr); }
}
"""


def render_entry_html(payload: object, at: datetime | None = None) -> str:
    """Return a list item with the message and a link to it in Slack's Block Kit Builder."""
    link = render_link_html(build_block_kit_builder_url(payload), "Open in Block Kit Builder", "builder")
    return f'<li class="entry">{render_message_html(payload, at)}{link}</li>'


def render_page_html(
    messages: Iterable[tuple[object, datetime | None]],
    title: str,
    *,
    subtitle: str = "",
    html_above_messages: str = "",
    script: str = "",
) -> str:
    """Return a self-contained HTML document.

    Parameters
    ----------
    messages
        Each payload with its arrival time, in display order.
    title, subtitle
        Plain text: the heading, and a sentence below it.
    html_above_messages
        The caller's HTML, which must be safe.
    script
        The caller's JavaScript. The page's policy allows only this script, by its hash.

    Returns
    -------
    str
        HTML; encode it as UTF-8.
    """
    entries = "".join(render_entry_html(payload, at) for payload, at in messages)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_build_policy(script)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="referrer" content="no-referrer"><link rel="icon" href="data:,">'
        f"<title>{escape_html(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body><main><h1>{escape_html(title)}</h1>"
        + (f'<p class="subtitle">{escape_html(subtitle)}</p>' if subtitle else "")
        + html_above_messages
        + '<section aria-labelledby="messages-title"><h2 id="messages-title">Messages</h2>'
        f'<ol class="messages" id="messages" aria-live="polite">{entries}</ol>'
        '<p class="empty">No messages yet.</p></section></main>'
        + (f"<script>{script}</script>" if script else "")
        + "</body></html>\n"
    )


def _build_policy(script: str) -> str:
    """Return a content security policy that allows no network and no script except this one."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    allowed = f"'sha256-{digest}'" if script else "'none'"
    return (
        f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src {allowed}; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'"
    )
