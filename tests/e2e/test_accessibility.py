"""axe-core finds no violation in the demo's page and report, and in live and static panels of both front ends."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import axe_playwright_python
import pytest
from playwright.sync_api import Page

from cwnotify.demo.checks import Check
from cwnotify.demo.report import write_report
from cwnotify.demo.slack import FakeSlack, ReceivedMessage
from tests.golden import DATA_DIR
from tests.support.kernel import ROOT, World
from tests.support.lab import PAGE_TIMEOUT, Lab

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
RUN_AXE = """async selector => (await axe.run(selector || document, {
    runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"], resultTypes: ["violations"],
})).violations.map(rule => [rule.id, rule.help, rule.nodes.map(node => node.html.slice(0, 200))])"""
PANEL = """
import cwnotify
from tests.support.panel_feed import PanelFeed
panel = cwnotify.panel(link=PanelFeed({scene!r}))
"""
THEMES = pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with World(tmp_path_factory.mktemp("world"), PYTHONPATH=str(ROOT)) as world, Lab(world) as lab:
        yield lab


def find_violations(page: Page, selector: str = "") -> list[Any]:
    """Return what axe-core finds on the page, or in the first element that matches `selector`."""
    page.evaluate(AXE)
    violations = page.evaluate(RUN_AXE, selector)
    assert isinstance(violations, list)
    return violations


def test_checker_detects_violation(lab: Lab) -> None:
    page = lab.browser.new_page()
    page.set_content("<main><img src='data:,'><p style='color: #ccc; background: #fff'>pale</p></main>")

    assert {rule for rule, *_ in find_violations(page)} >= {
        "image-alt",
        "color-contrast",
        "html-has-lang",
        "document-title",
    }
    page.close()


@THEMES
def test_message_page_is_accessible(dark: bool, lab: Lab) -> None:
    context = lab.browser.new_context(color_scheme="dark" if dark else "light")
    page = context.new_page()
    with FakeSlack() as slack:
        for path in sorted((DATA_DIR / "messages").glob("*.json")):
            request = urllib.request.Request(slack.webhook_url, path.read_bytes(), {"Content-Type": "application/json"})
            urllib.request.urlopen(request, timeout=10).close()
        page.goto(slack.page_url)
        page.wait_for_selector("article")

        assert find_violations(page) == []
    context.close()


@THEMES
def test_demo_report_is_accessible(dark: bool, lab: Lab, tmp_path: Path) -> None:
    noon = datetime(2026, 5, 4, 12, tzinfo=UTC)
    messages = [
        ReceivedMessage(json.loads(path.read_bytes()), noon)
        for path in sorted((DATA_DIR / "messages").glob("*.json"))[:2]
    ]
    checks = [Check("a cell finishes", "1 finished", "1 finished", True), Check("a cell fails", "1 failed", "", False)]
    write_report(tmp_path / "report.html", messages, checks)
    context = lab.browser.new_context(color_scheme="dark" if dark else "light")
    page = context.new_page()
    page.goto((tmp_path / "report.html").as_uri())
    page.wait_for_selector("article")

    assert find_violations(page) == []
    context.close()


@pytest.mark.parametrize(
    ("scene", "app", "dark"),
    [("well", "lab/tree", False), ("troubled", "lab/tree", True), ("well", "notebooks", False)],
)
def test_panel_is_accessible(scene: str, app: str, dark: bool, lab: Lab) -> None:
    lab.set_theme("JupyterLab Dark" if dark else "JupyterLab Light")
    name = lab.write_notebook(f"axe-{scene}-{app[:3]}.ipynb", PANEL.format(scene=f"{scene}-still"))
    with lab.open_notebook(name, app, dark=dark) as sheet:
        sheet.run_all()
        panel = sheet.page.locator(".cwnotify-live:visible")
        panel.locator("img:visible").wait_for(timeout=PAGE_TIMEOUT * 1000)

        assert find_violations(sheet.page, ".cwnotify-live") == []
        # The picture's description contains what it shows.
        assert "CPU over the last" in (panel.locator("img:visible").get_attribute("title") or "")
        # The Tab key reaches every button, in reading order.
        buttons = panel.locator("button:visible")
        buttons.first.focus()
        focused = []
        for _ in range(buttons.count()):
            focused.append(sheet.page.evaluate("document.activeElement.textContent.trim()"))
            sheet.page.keyboard.press("Tab")
        assert focused == [text.strip() for text in buttons.all_text_contents()]
        panel.get_by_role("button", name="Close", exact=True).click()
        static_panel = sheet.page.locator(".cwnotify-kept:visible")
        static_panel.locator("img:visible").wait_for()

        assert find_violations(sheet.page, ".cwnotify-kept") == []
        assert "CPU over the last" in (static_panel.locator("img:visible").get_attribute("alt") or "")
    lab.shut_down_kernels()
