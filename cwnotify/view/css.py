"""The CSS of the panel. It uses the same colors as the plot. Imports the standard library and `format` only.

The live panel and the static panel in a saved notebook share one style sheet. A page is dark if JupyterLab's
``data-jp-theme-light``, VS Code's class or Colab's attribute says so; on other pages the system setting decides.
"""

from __future__ import annotations

from functools import cache
from typing import get_args

from cwnotify.view.format import DARK, LIGHT, ColorRole, Theme

# In seconds. After this long without an update, the panel covers its buttons, because no kernel would handle them.
PANEL_HEARTBEAT_TIMEOUT = 90
_DARK_PAGES = ':is([data-jp-theme-light="false"], .vscode-dark, html[theme="dark"])'
_OTHER_PAGES = "body:not([data-jp-theme-light], .vscode-light, .vscode-high-contrast-light)"
_COLOR_NAMES = ("page", "border", "ink", "quiet", "grid", "button", "pressed", "warning")
_RULES = """
.cwnotify, .cwnotify.widget-box {
  display: block; position: relative; box-sizing: border-box; max-width: 1000px; margin: 2px 0; padding: 14px 16px 12px;
  overflow: hidden; border: 1px solid var(--cw-border); border-radius: 10px; container-type: inline-size;
  background: var(--cw-page); color: var(--cw-ink);
  font: 14px/1.5 var(--jp-ui-font-family, system-ui, sans-serif); font-variant-numeric: tabular-nums;
}
.cwnotify .widget-html, .cwnotify .widget-html-content, .cwnotify .jupyter-widgets {
  margin: 0; padding: 0; height: auto; min-height: 0; width: auto; font: inherit; line-height: 1.5; color: inherit;
}
.cwnotify p, .cwnotify ul { margin: 0 !important; padding: 0 !important; list-style: none; }
.cwnotify .cw-style { display: none; }
.cwnotify .cw-head { display: flex; flex-flow: row wrap; gap: 0 16px; overflow: visible; }
.cwnotify .cw-head { justify-content: space-between; }
.cwnotify .cw-subject { margin-right: 10px; font-weight: 600; }
.cwnotify .cw-quiet { color: var(--cw-quiet); }
.cwnotify .cw-warning { color: var(--cw-warning); }
.cwnotify .cw-problem { padding-top: 6px !important; color: var(--cw-warning); overflow-wrap: anywhere; }
.cwnotify .cw-chips { display: flex; flex-wrap: wrap; gap: 6px 10px; padding-top: 8px !important; }
.cwnotify .cw-chip {
  display: block; padding: 1px 12px; border: 1px solid var(--cw-tone); border-radius: 13px;
  color: var(--cw-tone); text-decoration: none; overflow-wrap: anywhere;
}
.cwnotify a.cw-chip:is(:link, :visited) { color: var(--cw-tone); }
.cwnotify .cw-chip.cw-calm, .cwnotify a.cw-chip.cw-calm:is(:link, :visited) { color: var(--cw-ink); }
.cwnotify .cw-chip.cw-calm { border-color: var(--cw-border); }
.cwnotify .cw-chip.cw-firing { background: var(--cw-tint); font-weight: 500; }
.cwnotify a.cw-chip:hover { text-decoration: underline; }
.cwnotify img, .cwnotify img.widget-image {
  display: block; width: 100%; max-width: none; height: auto; margin: 10px 0 6px; object-fit: contain;
}
.cwnotify .cw-dark, .cwnotify .cw-empty { display: none !important; }
.cwnotify .cw-run { display: grid; grid-template-columns: 22px 9em minmax(0, 1fr) 9em 12em; align-items: center; }
.cwnotify .cw-run { gap: 0 12px; margin: 0; padding: 2px 0; }
.cwnotify .cw-run > * { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.cwnotify .cw-sign { color: var(--cw-tone); text-align: center; }
.cwnotify .cw-name { font-weight: 600; }
.cwnotify .cw-spark { width: 72px; height: 17px; margin-right: 6px; vertical-align: -3px; }
.cwnotify .cw-spark { border-radius: 4px; background: var(--cw-button); fill: var(--cw-quiet); }
.cwnotify .cw-controls {
  display: flex; flex-flow: row wrap; align-items: center; gap: 8px; position: relative; overflow: visible;
  padding-top: 10px;
}
.cwnotify .cw-status { flex: 1 1 18em; text-align: right; overflow: visible; position: static; }
.cwnotify .cw-status p { overflow-wrap: anywhere; }
.cwnotify .cw-bad-news { color: var(--cw-tone); }
.cwnotify .cw-status:has(.cw-bad-news) { flex-basis: 100%; order: 1; text-align: left; }
.cwnotify .jupyter-button {
  flex: none; height: 28px; padding: 0 12px; border: 1px solid var(--cw-border); border-radius: 7px;
  background: var(--cw-button); color: var(--cw-ink); line-height: 26px; box-shadow: none;
}
.cwnotify .jupyter-button:hover:enabled { border-color: var(--cw-quiet); box-shadow: none; }
.cwnotify .jupyter-button:active:enabled { background: var(--cw-border); box-shadow: none; color: var(--cw-ink); }
.cwnotify .jupyter-button:focus-visible, .cwnotify a:focus-visible {
  outline: 2px solid var(--cw-pressed); outline-offset: 2px;
}
.cwnotify .jupyter-button:disabled { opacity: 0.5; cursor: not-allowed; }
.cwnotify .jupyter-button.cw-on, .cwnotify .jupyter-button.cw-on:hover:enabled {
  border-color: var(--cw-pressed); background: var(--cw-pressed); color: #ffffff;
}
.cwnotify .jupyter-button.cw-pending { border-style: dashed; border-color: var(--cw-pressed); }
.cwnotify .cw-still {
  position: absolute; inset: 8px 0 0; z-index: 2; display: flex; align-items: center; visibility: hidden;
  background: var(--cw-page); color: var(--cw-warning); text-align: left;
  animation: cw-still 1ms linear TIMEOUTs forwards;
}
@keyframes cw-still { to { visibility: visible; } }
@container (max-width: 940px) { .cwnotify .cw-status { flex-basis: 100%; order: 1; text-align: left; } }
@container (max-width: 640px) {
  .cwnotify .cw-run { grid-template-columns: 22px 9em minmax(0, 1fr); align-items: start; padding: 4px 0; }
  .cwnotify .cw-run > :nth-child(3) { white-space: normal; overflow-wrap: anywhere; }
  .cwnotify .cw-run > :nth-child(4) { grid-column: 2; }
  .cwnotify .cw-run > :empty { display: none; }
  .cwnotify .cw-run > :nth-child(5) { grid-column: 3; }
}
.jp-OutputArea-child:has(.cwnotify-live) + .jp-OutputArea-child:has(.cwnotify-kept),
.jp-OutputArea-child:not(:has(.cwnotify-live)):has(+ .jp-OutputArea-child .cwnotify-kept):has(
  > .jp-OutputArea-output:not([class*="jp-Rendered"])
) {
  display: none;
}
"""


def _variables(theme: Theme) -> str:
    """Return the CSS variables of a theme."""
    colors = "".join(f"--cw-{name}:{getattr(theme, name)};" for name in _COLOR_NAMES)
    roles = (
        f"--cw-{role}:{theme.foreground_color(role)};--cw-{role}-tint:{theme.tinted_background(role)};"
        for role in get_args(ColorRole)
    )
    return colors + "".join(roles)


@cache
def build_stylesheet() -> str:
    """Return the style sheet, without ``<style>`` tags."""
    dark = _variables(DARK)
    swap = "{0} .cw-light {{ display: none; }} {0} .cw-dark:not(.cw-empty) {{ display: block !important; }}"
    dark_page, other_page = f"{_DARK_PAGES} .cwnotify", f"{_OTHER_PAGES} .cwnotify"
    roles = "".join(
        f".cwnotify .cw-{role} {{ --cw-tone: var(--cw-{role}); --cw-tint: var(--cw-{role}-tint); }}\n"
        for role in get_args(ColorRole)
    )
    return (
        f".cwnotify {{ {_variables(LIGHT)} }}\n{roles}{_RULES.replace('TIMEOUT', str(PANEL_HEARTBEAT_TIMEOUT))}"
        f"{dark_page} {{ {dark} }}\n{swap.format(dark_page)}\n"
        f"@media (prefers-color-scheme: dark) {{ {other_page} {{ {dark} }} {swap.format(other_page)} }}\n"
    )
