"""Untrusted text cannot ping, forge a link or break markup in Slack, nor run a script in our pages."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, sync_playwright

from cwnotify.alerts.events.alarms import AlarmStateChange, UnrecognizedEvent
from cwnotify.alerts.events.run_options import RunOptions
from cwnotify.alerts.events.runs import CapturedValue, Outcome, Run, RunFailure, RunLocation, RunResult
from cwnotify.alerts.messages.alarm import alarm_message
from cwnotify.alerts.messages.digest import digest_payloads
from cwnotify.alerts.messages.flapping import flapping_message
from cwnotify.alerts.messages.notice import unrecognized_event_message
from cwnotify.alerts.messages.run import combined_runs_message, run_message
from cwnotify.demo.checks import Check
from cwnotify.demo.report import write_report
from cwnotify.preview.page import render_entry_html
from cwnotify.view import html
from cwnotify.view.snapshot import PanelProblem, SlackHealth
from tests.hostile import HOSTILE_STRINGS
from tests.slack_rules import assert_valid_payload
from tests.support.lab import CHROMIUM_FLAGS
from tests.support.panel_feed import healthy_snapshot

AT = 1_795_316_400.0
SCRIPTS = (
    "<script>window.ran = 1</script>",
    '"><img src=x onerror="window.ran = 1">',
    "'><svg/onload='window.ran = 1'>",
    "</style></script></textarea></title><script>window.ran = 1</script>",
    '<https://x.example/"onmouseover="window.ran=1|x>',
    "javascript:window.ran=1",
    "<javascript:window.ran=1|click>",
    "&lt;script&gt;window.ran = 1&lt;/script&gt;",
    "```\n</code></pre><script>window.ran = 1</script>",
)
HOSTILE = (
    *HOSTILE_STRINGS,
    *SCRIPTS,
    "*bold* _it_ ~no~ `code` ```\nblock\n``` > quote",
    "<!subteam^S1|@all> <#C1|general>",
)


def _run(text: str, outcome: Outcome = Outcome.FAILED, lang: str = "en") -> RunResult:
    location = RunLocation(notebook=text, cell=3, host=text, instance=text, instance_type=text, zone=text)
    run = Run("id", text, AT, place=location, options=RunOptions(lang=lang))
    values = (CapturedValue(text, value=text), CapturedValue("x", error=text))
    return RunResult(run, outcome, 3.0, AT, failure=RunFailure(text, text, text), shown=values, tail=text)


def _alarm(text: str, after: str = "ALARM") -> AlarmStateChange:
    return AlarmStateChange(
        text, after, "OK", AT, description=text, reason=text, instance=text, metric=text, region=text
    )


RENDERERS: dict[str, Callable[[str, str], list[Any]]] = {
    "a run": lambda text, lang: [run_message(_run(text, outcome, lang)) for outcome in Outcome],
    "runs together": lambda text, lang: [combined_runs_message([_run(text, lang=lang)] * 3)],
    "an alarm": lambda text, lang: [
        alarm_message(_alarm(text), lang),
        alarm_message(_alarm(text, text), lang),
    ],
    "flapping": lambda text, lang: [flapping_message([_alarm(text)] * 9, lang, "", "")],
    "a digest": lambda text, lang: [*digest_payloads([_alarm(f"{text}{n}") for n in range(30)], 60.0, lang)],
    "a text": lambda text, lang: [unrecognized_event_message(UnrecognizedEvent(text, text), lang)],
}


@pytest.mark.parametrize("lang", ["en", "ko"])
@pytest.mark.parametrize("kind", RENDERERS)
def test_message_contains_no_foreign_markup(kind: str, lang: str) -> None:
    for text in HOSTILE:
        for payload in RENDERERS[kind](text, lang):
            assert_valid_payload(payload)


@pytest.fixture(scope="module")
def browser_page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        chromium = shutil.which("chromium") or "chromium"
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS.split())
        yield browser.new_page()
        browser.close()


def run_scripts(browser_page: Page, path: Path, html: str) -> object:
    """Open a page with this source, move the mouse over each element, and return what injected scripts set."""
    path.write_text(html.encode("utf-8", "replace").decode())
    browser_page.goto(path.as_uri())
    browser_page.evaluate(
        "document.querySelectorAll('body *').forEach(node => node.dispatchEvent(new MouseEvent('mouseover')))"
    )
    links = browser_page.evaluate("[...document.links].map(link => link.protocol)")
    # The browser returns a colon for an invalid address.
    assert set(links) <= {"https:", "http:", ":"}, links
    return browser_page.evaluate("window.ran")


def test_injected_script_is_detected(browser_page: Page, tmp_path: Path) -> None:
    assert run_scripts(browser_page, tmp_path / "page.html", f"<p>{SCRIPTS[0]}</p>") == 1
    assert run_scripts(browser_page, tmp_path / "page.html", f"<p>{SCRIPTS[1]}</p>") == 1


def test_message_page_runs_no_foreign_script(browser_page: Page, tmp_path: Path) -> None:
    payloads = [payload for text in HOSTILE for make in RENDERERS.values() for payload in make(text, "en")]
    # Another program's messages, which escape nothing.
    payloads += [{"text": text, "blocks": [{"type": text}], "attachments": [{"color": text}]} for text in HOSTILE]

    # Without the page's policy, which would hide an error in the escaping.
    assert run_scripts(browser_page, tmp_path / "page.html", "".join(map(render_entry_html, payloads))) is None


def test_demo_report_runs_no_foreign_script(browser_page: Page, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_report(path, [], [Check(text, text, text, has_passed=False) for text in SCRIPTS])
    html = path.read_text()

    assert "script-src 'none'" in html
    assert run_scripts(browser_page, path, html.replace("Content-Security-Policy", "nothing")) is None


def test_panel_html_runs_no_foreign_script(browser_page: Page, tmp_path: Path) -> None:
    fragments = []
    for text in HOSTILE:
        snapshot = healthy_snapshot(AT)
        hostile = replace(
            snapshot,
            title=text,
            unit=text,
            subjects=tuple(
                replace(subject, instance=text, name=text, zone=text, state=text) for subject in snapshot.subjects
            ),
            alarms=tuple(replace(alarm, name=text, state=text, url=text) for alarm in snapshot.alarms),
            runs=tuple(replace(run, name=text, outcome="failed", detail=text, place=text) for run in snapshot.runs),
            lines=tuple(replace(line, label=text) for line in snapshot.lines),
            problems=(PanelProblem(text, AT, AT),),
            health=SlackHealth(True, AT, 1, 1, text),
        )
        renderers = (html.render_subject, html.render_freshness, html.render_notices, html.render_runs)
        fragments += [
            *(draw(hostile) for draw in renderers),
            html.render_status(hostile, [text]),
            html.render_static_panel(hostile, b"", b""),
        ]

    assert run_scripts(browser_page, tmp_path / "panel.html", "".join(fragments)) is None
