"""The panel in real pages, JupyterLab's and Notebook 7's, over `tests.support.panel_feed`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator

from tests.support.kernel import ROOT, World
from tests.support.lab import Lab, NotebookPage

OPEN = """
import cwnotify
from tests.support.panel_feed import PanelFeed
feed = globals().get("feed") or Feed({scene!r})
panel = cwnotify.panel(link=feed)
"""
# Each lasts until its file is there.
BUSY = {
    "loop": """
from pathlib import Path
while not Path("loop").exists():
    for _ in range(1_000_000):
        pass
""",
    "sleep": """
import time
while not Path("sleep").exists():
    time.sleep(0.5)
""",
    "holder": """
import ctypes
while not Path("holder").exists():
    # A C call that keeps the interpreter's lock, and a moment in which it lets go.
    ctypes.PyDLL(None).usleep(900_000)
    time.sleep(0.05)
""",
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with World(tmp_path_factory.mktemp("world"), PYTHONPATH=str(ROOT)) as world, Lab(world) as one:
        yield one


@pytest.fixture(autouse=True)
def no_kernels_left(lab: Lab) -> Iterator[None]:
    yield
    lab.shut_down_kernels()
    for name in BUSY:
        (lab.root / name).unlink(missing_ok=True)


def opened(scene: str = "well") -> str:
    return OPEN.format(scene=scene)


def live(sheet: NotebookPage) -> Locator:
    """The live panels on the page."""
    return sheet.page.locator(".cwnotify-live:visible")


def kept(sheet: NotebookPage) -> Locator:
    """The still pictures that one sees on the page."""
    return sheet.page.locator(".cwnotify-kept:visible")


def picture(panel: Locator) -> str:
    """Where the picture that one sees comes from: another address for each picture."""
    return panel.locator("img:visible").get_attribute("src", timeout=1000) or ""


def loaded(panel: Locator) -> bool:
    """Whether there is a picture, and the browser could read it."""
    return bool(panel.locator("img:visible").evaluate("image => image.complete && image.naturalWidth > 600"))


def chip(panel: Locator) -> str:
    """The alarm that fires in every second snapshot."""
    return panel.locator(".cw-chip", has_text="train-busy").inner_text(timeout=1000)


def moves(sheet: NotebookPage, panel: Locator) -> None:
    """Picture and chip change, and change again."""
    sheet.until(lambda: loaded(panel), "the picture")
    for state in ("ALARM", "OK"):
        before = picture(panel)
        sheet.until(lambda state=state: state in chip(panel), f"a chip that says {state}")
        sheet.until(lambda before=before: picture(panel) != before and loaded(panel), "another picture")


@pytest.mark.parametrize("app", ["lab/tree", "notebooks"])
def test_panel_updates_while_kernel_is_busy(lab: Lab, app: str) -> None:
    name = lab.write_notebook(f"busy-{app[:3]}.ipynb", opened(), *BUSY.values())
    with lab.open_notebook(name, app) as sheet:
        sheet.run_all()
        for cell, doing in enumerate(BUSY, start=1):
            sheet.until(lambda cell=cell: sheet.prompt(cell - 1) == f"[{cell}]:", f"the {doing}")
            moves(sheet, live(sheet))
            assert sheet.prompt(cell) == "[*]:", "it was busy all the while"
            assert live(sheet).count() == 1
            assert not kept(sheet).count(), "beside the live panel its picture is hidden"
            (lab.root / doing).touch()
        sheet.until(lambda: sheet.prompt(3) == "[4]:", "the end")
        moves(sheet, live(sheet))


def press(panel: Locator, name: str) -> None:
    panel.get_by_role("button", name=name, exact=True).click()


def test_buttons_work_while_cell_runs(lab: Lab) -> None:
    name = lab.write_notebook("buttons.ipynb", opened("well-still"), BUSY["loop"])
    with lab.open_notebook(name) as sheet:
        sheet.run_all()
        panel = live(sheet)
        sheet.until(lambda: sheet.prompt(0) == "[1]:" and loaded(panel), "the panel")
        for button, selector in (("12 h", ".cw-on >> text='12 h'"), ("Mute 1 h", "text='Unmute'")):
            press(panel, button)
            sheet.until(lambda selector=selector: panel.locator(selector).is_visible(), f"what {button!r} does")
        press(panel, "Close")
        sheet.until(lambda: not live(sheet).count() and loaded(kept(sheet)), "the still picture")

        assert sheet.prompt(1) == "[*]:"
        (lab.root / "loop").touch()
        sheet.until(lambda: sheet.prompt(1) == "[2]:", "the end of the loop")


def test_second_panel_and_rerun_cell(lab: Lab) -> None:
    count = "from cwnotify.notebook import live_panel\nprint(len(live_panel._open), 'open')"
    name = lab.write_notebook("twice.ipynb", opened(), opened(), count)
    with lab.open_notebook(name) as sheet:
        for _ in range(2):
            sheet.run_all()
            sheet.until(lambda: "2 open" in sheet.output(2), "both panels")
            sheet.until(lambda: all(map(loaded, live(sheet).all())) and live(sheet).count() == 2, "both pictures")
            sheet.page.evaluate("document.querySelectorAll('.jp-OutputArea')[2].innerText = ''")
        press(live(sheet).nth(0), "Close")
        sheet.until(lambda: live(sheet).count() == 1 and kept(sheet).count() == 1, "one that is live, one that is not")
        moves(sheet, live(sheet))


def test_reloaded_page_shows_panel(lab: Lab) -> None:
    name = lab.write_notebook("reload.ipynb", opened(), BUSY["loop"])
    with lab.open_notebook(name) as sheet:
        sheet.run_all()
        sheet.until(lambda: sheet.prompt(0) == "[1]:" and loaded(live(sheet)), "the panel")
        sheet.save()
        sheet.page.reload()
        sheet.until(lambda: loaded(kept(sheet)), "the last picture, while the kernel cannot tell of widgets")
        assert "widget" not in sheet.output(0)
        (lab.root / "loop").touch()
        moves(sheet, live(sheet))
        sheet.page.reload()
        moves(sheet, live(sheet))
        assert not kept(sheet).count()


def test_restarted_kernel_and_reopened_notebook(lab: Lab) -> None:
    name = lab.write_notebook("again.ipynb", opened("troubled"))
    with lab.open_notebook(name) as sheet:
        sheet.run_all()
        sheet.until(lambda: loaded(live(sheet)), "the panel")
        assert live(sheet).locator(".cw-still").is_hidden()
        lab.restart_kernels()
        sheet.until(lambda: not live(sheet).count() and loaded(kept(sheet)), "the last picture")
        sheet.run_all()
        sheet.until(lambda: loaded(live(sheet)), "the panel again")
        sheet.save()
    lab.shut_down_kernels()
    lab.set_theme("JupyterLab Dark")
    with lab.open_notebook(name) as sheet:
        sheet.until(lambda: loaded(kept(sheet)), "the picture in the file")

        assert "cw-dark" in (kept(sheet).locator("img:visible").get_attribute("class") or "")
        assert "last picture" in sheet.output(0)
        assert "widget" not in sheet.output(0), "nothing of a page that waits for it in vain"
