"""The panel in real JupyterLab and Notebook 7 pages, with snapshots from `tests.support.panel_feed`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator

from tests.support.kernel import ROOT, World
from tests.support.lab import Lab, NotebookPage

OPEN = """
import cwnotify
from tests.support.panel_feed import PanelFeed
feed = globals().get("feed") or PanelFeed({scene!r})
panel = cwnotify.panel(link=feed)
"""
# Each cell runs until a file with its name exists.
BUSY_CELLS = {
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
    # The C call holds the interpreter's lock; the sleep releases it.
    ctypes.PyDLL(None).usleep(900_000)
    time.sleep(0.05)
""",
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with World(tmp_path_factory.mktemp("world"), PYTHONPATH=str(ROOT)) as world, Lab(world) as lab:
        yield lab


@pytest.fixture(autouse=True)
def no_kernels_left(lab: Lab) -> Iterator[None]:
    yield
    lab.shut_down_kernels()
    for name in BUSY_CELLS:
        (lab.root / name).unlink(missing_ok=True)


def panel_cell(scene: str = "well") -> str:
    return OPEN.format(scene=scene)


def live_panels(page: NotebookPage) -> Locator:
    """Return the live panels on the page."""
    return page.page.locator(".cwnotify-live:visible")


def stored_pictures(page: NotebookPage) -> Locator:
    """Return the visible still pictures on the page."""
    return page.page.locator(".cwnotify-kept:visible")


def picture_address(panel: Locator) -> str:
    """Return the address of the visible picture. Each picture has its own."""
    return panel.locator("img:visible").get_attribute("src", timeout=1000) or ""


def is_loaded(panel: Locator) -> bool:
    """Return whether there is a picture that the browser has decoded."""
    return bool(panel.locator("img:visible").evaluate("image => image.complete && image.naturalWidth > 600"))


def busy_chip_text(panel: Locator) -> str:
    """Return the text of the alarm that fires in every second snapshot."""
    return panel.locator(".cw-chip", has_text="train-busy").inner_text(timeout=1000)


def wait_for_updates(page: NotebookPage, panel: Locator) -> None:
    """Wait until the picture and the chip have changed twice."""
    page.until(lambda: is_loaded(panel), "the picture")
    for state in ("ALARM", "OK"):
        before = picture_address(panel)
        wait_for_chip(page, panel, state)
        wait_for_other_picture(page, panel, before)


def wait_for_chip(page: NotebookPage, panel: Locator, state: str) -> None:
    page.until(lambda: state in busy_chip_text(panel), f"a chip that says {state}")


def wait_for_other_picture(page: NotebookPage, panel: Locator, before: str) -> None:
    page.until(lambda: picture_address(panel) != before and is_loaded(panel), "another picture")


def wait_for_end_of_cell(page: NotebookPage, cell: int) -> None:
    page.until(lambda: page.prompt(cell) == f"[{cell + 1}]:", f"the end of cell {cell}")


@pytest.mark.parametrize("app", ["lab/tree", "notebooks"])
def test_panel_updates_while_kernel_is_busy(lab: Lab, app: str) -> None:
    notebook = lab.write_notebook(f"busy-{app[:3]}.ipynb", panel_cell(), *BUSY_CELLS.values())
    with lab.open_notebook(notebook, app) as page:
        page.run_all()
        for cell, name in enumerate(BUSY_CELLS, start=1):
            wait_for_end_of_cell(page, cell - 1)
            wait_for_updates(page, live_panels(page))
            assert page.prompt(cell) == "[*]:", "the kernel must be busy during the check"
            assert live_panels(page).count() == 1
            assert not stored_pictures(page).count(), "a live panel hides its stored picture"
            (lab.root / name).touch()
        wait_for_end_of_cell(page, 3)
        wait_for_updates(page, live_panels(page))


def click(panel: Locator, name: str) -> None:
    panel.get_by_role("button", name=name, exact=True).click()


def test_buttons_work_while_cell_runs(lab: Lab) -> None:
    name = lab.write_notebook("buttons.ipynb", panel_cell("well-still"), BUSY_CELLS["loop"])
    with lab.open_notebook(name) as page:
        page.run_all()
        panel = live_panels(page)
        page.until(lambda: page.prompt(0) == "[1]:" and is_loaded(panel), "the panel")
        for button, selector in (("12 h", ".cw-on >> text='12 h'"), ("Mute 1 h", "text='Unmute'")):
            click(panel, button)
            panel.locator(selector).wait_for(state="visible")
        click(panel, "Close")
        page.until(lambda: not live_panels(page).count() and is_loaded(stored_pictures(page)), "the still picture")

        assert page.prompt(1) == "[*]:"
        (lab.root / "loop").touch()
        page.until(lambda: page.prompt(1) == "[2]:", "the end of the loop")


def test_second_panel_and_rerun_cell(lab: Lab) -> None:
    count = "from cwnotify.notebook import live_panel\nprint(len(live_panel._open), 'open')"
    name = lab.write_notebook("twice.ipynb", panel_cell(), panel_cell(), count)
    with lab.open_notebook(name) as page:
        for _ in range(2):
            page.run_all()
            page.until(lambda: "2 open" in page.output(2), "both panels")
            page.until(
                lambda: all(map(is_loaded, live_panels(page).all())) and live_panels(page).count() == 2, "both pictures"
            )
            page.page.evaluate("document.querySelectorAll('.jp-OutputArea')[2].innerText = ''")
        click(live_panels(page).nth(0), "Close")
        page.until(
            lambda: live_panels(page).count() == stored_pictures(page).count() == 1, "one live panel and one picture"
        )
        wait_for_updates(page, live_panels(page))


def test_reloaded_page_shows_panel(lab: Lab) -> None:
    name = lab.write_notebook("reload.ipynb", panel_cell(), BUSY_CELLS["loop"])
    with lab.open_notebook(name) as page:
        page.run_all()
        page.until(lambda: page.prompt(0) == "[1]:" and is_loaded(live_panels(page)), "the panel")
        page.save()
        page.page.reload()
        # A busy kernel cannot describe its widgets to the page.
        page.until(lambda: is_loaded(stored_pictures(page)), "the last picture")
        assert "widget" not in page.output(0)
        (lab.root / "loop").touch()
        wait_for_updates(page, live_panels(page))
        page.page.reload()
        wait_for_updates(page, live_panels(page))
        assert not stored_pictures(page).count()


def test_restarted_kernel_and_reopened_notebook(lab: Lab) -> None:
    name = lab.write_notebook("again.ipynb", panel_cell("troubled"))
    with lab.open_notebook(name) as page:
        page.run_all()
        page.until(lambda: is_loaded(live_panels(page)), "the panel")
        assert live_panels(page).locator(".cw-still").is_hidden()
        lab.restart_kernels()
        page.until(lambda: not live_panels(page).count() and is_loaded(stored_pictures(page)), "the last picture")
        page.run_all()
        page.until(lambda: is_loaded(live_panels(page)), "the panel again")
        page.save()
    lab.shut_down_kernels()
    lab.set_theme("JupyterLab Dark")
    with lab.open_notebook(name) as page:
        page.until(lambda: is_loaded(stored_pictures(page)), "the picture in the file")

        assert "cw-dark" in (stored_pictures(page).locator("img:visible").get_attribute("class") or "")
        assert "last picture" in page.output(0)
        assert "widget" not in page.output(0), "a widget without a model must leave no message"
