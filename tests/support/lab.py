"""A real Jupyter server and its pages in headless Chromium.

::

    with World(tmp_path) as world, Lab(world) as lab, lab.open_notebook(name) as page:
        page.run_all()
        page.until(lambda: page.panel.is_visible(), "the panel")
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import nbformat
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import Browser, Page, sync_playwright

from tests.support.kernel import ROOT, World
from tests.support.waiting import until

T = TypeVar("T")
PAGE_TIMEOUT = 40.0
KERNEL_DISPLAY_NAME = "Python 3 (ipykernel)"
CHROMIUM_FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
NOTIFICATION_SETTINGS = {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True}


class Lab:
    """A server with JupyterLab and Notebook 7, and a browser; a context manager.

    Parameters
    ----------
    python
        The Python of the kernels; the one of the tests by default.
    """

    def __init__(self, world: World, python: str | Path = sys.executable) -> None:
        self.world = world
        self.root = world.home / "notebooks"
        self.root.mkdir(exist_ok=True)
        self._token = secrets.token_hex(8)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port: int = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self._environ = world.environ | {"PYTHONPATH": str(ROOT), "JUPYTER_PATH": str(world.home / "kernels")}
        self._configure(python)
        self._log = world.home / "lab.log"

    def _configure(self, python: str | Path) -> None:
        settings = self.world.home / "jupyter" / "lab" / "user-settings" / "@jupyterlab" / "apputils-extension"
        settings.mkdir(parents=True)
        (settings / "notification.jupyterlab-settings").write_text(json.dumps(NOTIFICATION_SETTINGS))
        kernel = self.world.home / "kernels" / "kernels" / "python3"
        kernel.mkdir(parents=True)
        argv = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        (kernel / "kernel.json").write_text(
            json.dumps({"argv": argv, "display_name": KERNEL_DISPLAY_NAME, "language": "python"})
        )

    def set_theme(self, name: str) -> None:
        """Set ``JupyterLab Dark`` or ``JupyterLab Light`` for pages opened later."""
        settings = self.world.home / "jupyter" / "lab" / "user-settings" / "@jupyterlab" / "apputils-extension"
        (settings / "themes.jupyterlab-settings").write_text(json.dumps({"theme": name}))

    def __enter__(self) -> Lab:
        options = (
            "--no-browser --allow-root --ServerApp.ip=127.0.0.1 --ServerApp.port_retries=0 "
            f"--ServerApp.port={self._port} --IdentityProvider.token={self._token} --ServerApp.root_dir={self.root}"
        )
        with self._log.open("wb") as log:
            command = [sys.executable, "-m", "jupyterlab", *options.split()]
            # In its own session, so that its kernels can be killed with it.
            self._process = subprocess.Popen(
                command, env=self._environ, cwd=self.root, stdout=log, stderr=log, start_new_session=True
            )
        try:
            self._playwright = sync_playwright().start()
            chromium = shutil.which("chromium") or "chromium"
            self.browser: Browser = self._playwright.chromium.launch(
                executable_path=chromium, args=CHROMIUM_FLAGS.split()
            )
            until(self._is_ready, PAGE_TIMEOUT, "the server")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if hasattr(self, "browser"):
            self.browser.close()
        if hasattr(self, "_playwright"):
            self._playwright.stop()
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def write_notebook(self, name: str, *cells: str) -> str:
        """Write a notebook with these code cells and return its name."""
        kernel = {"kernelspec": {"name": "python3", "display_name": KERNEL_DISPLAY_NAME, "language": "python"}}
        nbformat.write(new_notebook(cells=[new_code_cell(cell) for cell in cells], metadata=kernel), self.root / name)
        return name

    def read_saved_outputs(self, name: str) -> list[list[dict[str, Any]]]:
        """Return the outputs of each cell in the file."""
        cells = nbformat.read(self.root / name, as_version=4).cells
        return [cell.get("outputs", []) for cell in cells]

    def call_api(self, path: str, body: dict[str, Any] | None = None, method: str | None = None) -> Any:
        """Call the server's API. The default method is POST if there is a body."""
        data = json.dumps(body).encode() if body is not None else None
        headers = {"Authorization": f"token {self._token}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=10) as reply:
            text = reply.read()
        return json.loads(text) if text else None

    def shut_down_kernels(self) -> None:
        """Shut down every session with its kernel."""
        for session in self.call_api("api/sessions"):
            self.call_api(f"api/sessions/{session['id']}", method="DELETE")

    def restart_kernels(self) -> None:
        """Restart every kernel, as the menu does."""
        for kernel in self.call_api("api/kernels"):
            self.call_api(f"api/kernels/{kernel['id']}/restart", {})

    @contextmanager
    def open_notebook(
        self, name: str, app: str = "lab/tree", width: int = 1280, dark: bool = False
    ) -> Iterator[NotebookPage]:
        """Open a notebook with a ready kernel.

        Parameters
        ----------
        app
            ``lab/tree`` for JupyterLab, ``notebooks`` for Notebook 7.
        dark
            Whether the system prefers dark pages.
        """
        body = {"path": name, "name": name, "type": "notebook", "kernel": {"name": "python3"}}
        self.call_api("api/sessions", body)
        context = self.browser.new_context(
            viewport={"width": width, "height": 1000}, color_scheme="dark" if dark else "light"
        )
        page = context.new_page()
        page.set_default_timeout(PAGE_TIMEOUT * 1000)
        sheet = NotebookPage(
            self, name, page, f"{self.url}/{app}/{name}?{'reset&' if 'lab' in app else ''}token={self._token}"
        )
        try:
            sheet.open()
            yield sheet
        except BaseException:
            page.screenshot(path=str(self.world.home / "page.png"))
            raise
        finally:
            context.close()

    def _is_ready(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()
        try:
            return bool(self.call_api("api/status"))
        except OSError:
            return False


class NotebookPage:
    """A notebook in the browser."""

    def __init__(self, lab: Lab, name: str, page: Page, url: str) -> None:
        self.lab, self.name, self.page = lab, name, page
        self._url = url

    def open(self) -> None:
        """Load the page and wait until its kernel is idle. Try twice."""
        for timeout in (PAGE_TIMEOUT / 2, PAGE_TIMEOUT):
            self.page.goto(self._url)
            try:
                self.page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=timeout * 1000)
                self.page.wait_for_function(_IDLE, timeout=timeout * 1000)
                return
            except Exception as error:
                last_error = error
        raise last_error

    def run_all(self) -> None:
        """Choose Run → Run All Cells."""
        self.page.get_by_role("menuitem", name="Run", exact=True).click()
        self.page.get_by_role("menuitem", name="Run All Cells", exact=True).click()

    def save(self) -> None:
        """Press Ctrl+S and wait until the file is written."""
        path = self.lab.root / self.name
        before = path.stat().st_mtime_ns
        self.page.keyboard.press("Control+s")
        self.until(lambda: path.stat().st_mtime_ns > before and path.read_text().endswith("}\n"), "the saving")

    def prompt(self, cell: int) -> str:
        """Return the prompt of a cell: ``[*]:`` while it runs or waits."""
        return self.page.locator(".jp-Notebook .jp-CodeCell .jp-InputPrompt").nth(cell).inner_text()

    def output(self, cell: int) -> str:
        """Return the text of a cell's output."""
        return self.page.locator(".jp-Notebook .jp-CodeCell").nth(cell).locator(".jp-OutputArea").inner_text()

    def until(self, condition: Callable[[], T], what: str, seconds: float = PAGE_TIMEOUT) -> T:
        """Wait until `condition` returns a true value, and return that."""

        def poll() -> T | None:
            # Lets Playwright handle its events.
            self.page.wait_for_timeout(20)
            return condition()

        return until(poll, seconds, what)  # type: ignore[return-value]


# JupyterLab shows it in the status bar; the indicator of the notebook is too early. Notebook 7 has no status bar.
_IDLE = """() => document.querySelector('#jp-main-statusbar')
  ? /Python 3 \\(ipykernel\\) \\| Idle/.test(document.body.innerText)
  : document.querySelector('.jp-NotebookKernelStatus-fade')
    && document.querySelector('.jp-Notebook-ExecutionIndicator[data-status="idle"]')"""
