"""Check this machine: Python, the packages, Jupyter's front end, the sidecar and the state directory."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from cwnotify import settings
from cwnotify.doctor.findings import Finding, format_count, report_error, report_note, report_ok, report_problem
from cwnotify.errors import StateError
from cwnotify.sidecar.client import SidecarClient
from cwnotify.sidecar.protocol import PipeMessage
from cwnotify.store import state_dir

if TYPE_CHECKING:
    from cwnotify.store.schema import OutboxMessage

# Module and distribution of each package that cwnotify needs.
REQUIRED_PACKAGES = (
    ("IPython", "ipython"),
    ("ipywidgets", "ipywidgets"),
    ("boto3", "boto3"),
    ("requests", "requests"),
    ("matplotlib", "matplotlib"),
    ("psutil", "psutil"),
)
# Modules that some builds of Python lack.
REQUIRED_STANDARD_MODULES = ("sqlite3", "ssl")
WIDGETS_PACKAGE_JSON = "share/jupyter/labextensions/@jupyter-widgets/jupyterlab-manager/package.json"
# The extension's major version for ipywidgets 8: https://ipywidgets.readthedocs.io/en/stable/user_install.html
MIN_WIDGETS_MAJOR = 5
MIN_FREE_BYTES = 50 << 20
SIDECAR_READY_TIMEOUT = 10.0  # seconds


def diagnose_python() -> Iterator[Finding]:
    """Yield findings about the interpreter and its packages."""
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    yield report_ok("Python", f"{platform.python_version()} at {sys.executable}, {system}")
    yield from evaluate_standard_modules(
        [module for module in REQUIRED_STANDARD_MODULES if not _can_be_imported(module)]
    )
    yield evaluate_packages(
        {distribution: _get_version(distribution) for _, distribution in REQUIRED_PACKAGES}, find_missing_packages()
    )
    if not hasattr(os, "pidfd_open"):
        yield report_note(
            "System", "has no pidfds, so the sidecar checks four times a second whether the kernel is running"
        )


def find_missing_packages() -> list[str]:
    """Return the required distributions that are not installed."""
    return [distribution for module, distribution in REQUIRED_PACKAGES if not _can_be_found(module)]


def _can_be_found(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _can_be_imported(module: str) -> bool:
    """Import the module, because a build without its C part still has its Python files."""
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True


def evaluate_standard_modules(missing: Iterable[str]) -> Iterator[Finding]:
    """Yield a problem if this Python was built without a required module."""
    if names := " and ".join(missing):
        yield report_problem(
            "Python", f"was built without {names}", "use another Python, or build this one again with its library"
        )


def evaluate_packages(versions: Mapping[str, str], missing: Iterable[str]) -> Finding:
    """Report whether all packages are installed."""
    if names := " ".join(missing):
        return report_problem("Packages", f"missing: {names}", f"{sys.executable} -m pip install {names}")
    return report_ok("Packages", ", ".join(f"{name} {version}".strip() for name, version in versions.items()))


@dataclass(frozen=True)
class FrontEnd:
    """The program that shows the notebook.

    Parameters
    ----------
    name
        Such as ``JupyterLab 4.6.6``; empty if it is unknown.
    prefix
        Where its Python is installed.
    widgets_version
        The version of its extension for widgets; empty if there is none.
    has_own_widgets
        Whether it shows widgets without the extension, as VS Code and Colab do.
    is_current
        Whether this process was started from a notebook that it shows.
    """

    name: str = ""
    prefix: str = ""
    widgets_version: str = ""
    has_own_widgets: bool = False
    is_current: bool = False


def diagnose_front_end(environ: Mapping[str, str] | None = None) -> Finding:
    """Check the front end of the current notebook, or else the one that this Python would start."""
    environ = os.environ if environ is None else environ
    is_notebook = bool(environ.get("JPY_PARENT_PID"))
    own = next((name for variable, name in _FRONT_ENDS_WITH_WIDGETS if environ.get(variable)), "")
    if is_notebook and own:
        return evaluate_front_end(FrontEnd(own, has_own_widgets=True, is_current=True))
    prefix = (_find_prefix(environ["JPY_PARENT_PID"]) if is_notebook else "") or sys.prefix
    folders = [Path(prefix), *_JUPYTER_FOLDERS, Path(environ.get("HOME", "/")) / ".local"]
    widgets = next(filter(None, (_read_version(folder / WIDGETS_PACKAGE_JSON) for folder in folders)), "")
    names = ", ".join(_list_front_ends(prefix))
    return evaluate_front_end(FrontEnd(names, prefix, widgets, is_current=is_notebook))


_FRONT_ENDS_WITH_WIDGETS = (("VSCODE_PID", "VS Code"), ("COLAB_RELEASE_TAG", "Colab"))
_JUPYTER_FOLDERS = (Path("/usr/local"), Path("/usr"))


def evaluate_front_end(front_end: FrontEnd) -> Finding:
    """Report whether the front end can show the panel."""
    name, prefix, version = front_end.name, front_end.prefix, front_end.widgets_version
    if front_end.has_own_widgets:
        return report_ok("Front end", f"{name}, which has widgets of its own")
    if not name:
        origin = f"started from {prefix}, which has no" if front_end.is_current else "not in this Python: it has no"
        todo = "run %cwnotify doctor in a notebook to check its front end"
        return report_note("Front end", f"{origin} JupyterLab or Notebook", todo)
    major = version.partition(".")[0]
    if major.isdigit() and int(major) >= MIN_WIDGETS_MAJOR:
        return report_ok("Front end", f"{name} at {prefix}, which shows widgets ({version})")
    widgets = f"only those of ipywidgets 7 ({version})" if version else "no widgets"
    todo = f"{prefix}/bin/python -m pip install -U jupyterlab_widgets; then restart Jupyter and reload the page"
    return report_problem("Front end", f"{name} at {prefix} can show {widgets}, and so no panel", todo)


def diagnose_sidecar() -> Finding:
    """Start a sidecar, wait until it is ready, and let it exit."""
    client, has_answered, is_ready = SidecarClient(), threading.Event(), threading.Event()

    def handle(message: PipeMessage) -> None:
        if message["kind"] == "ready":
            is_ready.set()
            has_answered.set()

    client.on_message, client.show_warning = handle, lambda text: has_answered.set()
    start = time.monotonic()
    # The sidecar gets no webhook, so it sends nothing to Slack.
    client.send_command("refresh")
    has_answered.wait(SIDECAR_READY_TIMEOUT)
    seconds = time.monotonic() - start
    failure, log = client.failure_reason, settings.get_state_dir() / "sidecar.log"
    client.close()
    return evaluate_sidecar(seconds if is_ready.is_set() else None, log, failure)


def evaluate_sidecar(seconds: float | None, log: Path, failure: str = "") -> Finding:
    """Report after how many seconds the sidecar was ready, or why it was not.

    Parameters
    ----------
    seconds
        None if it was not ready in time.
    log
        The sidecar's log.
    failure
        Why it could not start; empty if it started.
    """
    if failure:
        return report_problem(
            "Sidecar", f"cannot start, so no alert is sent: {failure}", "fix that, then run: cwnotify doctor"
        )
    if seconds is None:
        return report_problem("Sidecar", f"did not answer within {SIDECAR_READY_TIMEOUT:.0f} s", f"see {log}")
    return report_ok("Sidecar", f"starts, and answers after {seconds:.2f} s")


@dataclass(frozen=True)
class StateDirectoryStatus:
    """The state directory: its free space, and its undelivered alerts.

    Parameters
    ----------
    own_destination
        Fingerprint of the configured webhook.
    """

    directory: Path
    free_bytes: int
    pending: tuple[OutboxMessage, ...] = ()
    dead: tuple[OutboxMessage, ...] = ()
    own_destination: str = ""


def diagnose_state_directory(webhook: settings.Secret | None) -> Iterator[Finding]:
    """Yield findings about the state directory and its alerts."""
    import sqlite3

    from cwnotify.store.outbox import Outbox

    try:
        directory = state_dir.prepare_state_dir(settings.get_state_dir())
        with closing(Outbox(directory / state_dir.OUTBOX_FILENAME)) as outbox:
            destination = state_dir.fingerprint_webhook(webhook, directory)
            free_bytes = shutil.disk_usage(directory).free
            pending, dead = (tuple(outbox.list_messages(kind)) for kind in ("pending", "dead"))
    except StateError as error:
        yield report_error("State", error)
    except (sqlite3.Error, OSError) as error:
        yield report_problem(
            "State",
            f"{settings.get_state_dir()} cannot be used ({error})",
            "set CWNOTIFY_STATE_DIR to a writable folder on a local disk",
        )
    else:
        yield from evaluate_state_directory(StateDirectoryStatus(directory, free_bytes, pending, dead, destination))


def evaluate_state_directory(status: StateDirectoryStatus) -> Iterator[Finding]:
    """Yield whether the disk has space, and whether every alert was delivered."""
    if status.free_bytes < MIN_FREE_BYTES:
        yield report_problem(
            "State",
            f"{status.directory}: only {status.free_bytes >> 20} MiB free",
            "free some space, or set CWNOTIFY_STATE_DIR",
        )
    else:
        yield report_ok("State", f"{status.directory}, {status.free_bytes / (1 << 30):.1f} GiB free")
    if status.dead:
        reason = status.dead[-1].reason
        text = f"{format_count(len(status.dead), 'alert')} could not be delivered; the last one because: {reason}"
        yield report_problem("Outbox", text, "cwnotify outbox list, then: cwnotify outbox retry --all")
    elif status.pending:
        others = sum(message.destination != status.own_destination for message in status.pending)
        elsewhere = f", {others} of them for another webhook" if others else ""
        reason = status.pending[-1].reason
        text = f"{format_count(len(status.pending), 'alert')} waiting{elsewhere}" + (f": {reason}" if reason else "")
        yield report_note("Outbox", text, "cwnotify outbox list")
    else:
        yield report_ok("Outbox", "nothing is pending, and nothing is dead")


def _get_version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def _list_front_ends(prefix: str) -> list[str]:
    """Return name and version of the front ends that are installed under `prefix`."""
    folders = [str(folder) for folder in Path(prefix).glob("lib/python3*/site-packages")]
    names = {"jupyterlab": "JupyterLab", "notebook": "Notebook"}
    distributions = metadata.distributions(path=folders)
    versions = {entry.name: entry.version for entry in distributions if entry.name in names}
    return [f"{title} {versions[name]}" for name, title in names.items() if name in versions]


def _find_prefix(pid: str) -> str:
    """Return the prefix of a process's Python from its command line, because its binary may be a link to another."""
    try:
        program = Path(f"/proc/{int(pid)}/cmdline").read_bytes().split(b"\0")[0].decode()
    except (OSError, ValueError):
        return ""
    path = Path(program)
    return str(path.parent.parent) if path.is_absolute() and path.parent.name == "bin" else ""


def _read_version(package: Path) -> str:
    try:
        return str(json.loads(package.read_text(encoding="utf-8"))["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
