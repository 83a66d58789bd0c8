"""This machine: Python, the packages, Jupyter's front end and its widgets, the sidecar, the state directory."""

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

# Module and distribution of what cwnotify needs.
REQUIRED_PACKAGES = (
    ("IPython", "ipython"),
    ("ipywidgets", "ipywidgets"),
    ("boto3", "boto3"),
    ("requests", "requests"),
    ("matplotlib", "matplotlib"),
    ("psutil", "psutil"),
)
# Parts of Python that some builds lack.
REQUIRED_STANDARD_MODULES = ("sqlite3", "ssl")
WIDGETS_PACKAGE_JSON = "share/jupyter/labextensions/@jupyter-widgets/jupyterlab-manager/package.json"
# What ipywidgets 8 needs of it: https://ipywidgets.readthedocs.io/en/stable/user_install.html
MIN_WIDGETS_MAJOR = 5
MIN_FREE_BYTES = 50 << 20
SIDECAR_READY_TIMEOUT = 10.0


def diagnose_python() -> Iterator[Finding]:
    """The interpreter, and whether it has all that is needed."""
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    yield report_ok("Python", f"{platform.python_version()} at {sys.executable}, {system}")
    yield from evaluate_standard_modules(
        [module for module in REQUIRED_STANDARD_MODULES if not _can_be_imported(module)]
    )
    yield evaluate_packages(
        {distribution: _version(distribution) for _, distribution in REQUIRED_PACKAGES}, find_missing_packages()
    )
    if not hasattr(os, "pidfd_open"):
        yield report_note(
            "System", "has no pidfds, so the sidecar looks four times a second whether the kernel still lives"
        )


def find_missing_packages() -> list[str]:
    """What is needed and not there."""
    return [distribution for module, distribution in REQUIRED_PACKAGES if not _can_be_found(module)]


def _can_be_found(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _can_be_imported(module: str) -> bool:
    """Try it: of a part that is written in C, a build without it still has the files in Python."""
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True


def evaluate_standard_modules(missing: Iterable[str]) -> Iterator[Finding]:
    """Whether this Python was built with all that is needed."""
    if names := " and ".join(missing):
        yield report_problem(
            "Python", f"was built without {names}", "use another Python, or build this one again with its library"
        )


def evaluate_packages(versions: Mapping[str, str], missing: Iterable[str]) -> Finding:
    """Whether all packages are there."""
    if names := " ".join(missing):
        return report_problem("Packages", f"missing: {names}", f"{sys.executable} -m pip install {names}")
    return report_ok("Packages", ", ".join(f"{name} {version}".strip() for name, version in versions.items()))


@dataclass(frozen=True)
class FrontEnd:
    """Who shows the notebook.

    Parameters
    ----------
    name
        ``JupyterLab 4.6.6`` and the like; empty where nobody is known.
    prefix
        Where its Python is installed.
    widgets
        The version of the extension that shows widgets in it; empty where there is none.
    brings_widgets
        Whether it has widgets of its own, as VS Code and Colab do.
    is_asking
        Whether this very process was started from a notebook that it shows.
    """

    name: str = ""
    prefix: str = ""
    widgets_version: str = ""
    has_own_widgets: bool = False
    is_current: bool = False


def diagnose_front_end(environ: Mapping[str, str] | None = None) -> Finding:
    """The front end: of the notebook that asks, else the one that this Python would start."""
    environ = os.environ if environ is None else environ
    asking = bool(environ.get("JPY_PARENT_PID"))
    own = next((name for sign, name in _OF_THEIR_OWN if environ.get(sign)), "")
    if asking and own:
        return evaluate_front_end(FrontEnd(own, has_own_widgets=True, is_current=True))
    prefix = (_prefix_of(environ["JPY_PARENT_PID"]) if asking else "") or sys.prefix
    folders = [Path(prefix), *_JUPYTER_FOLDERS, Path(environ.get("HOME", "/")) / ".local"]
    widgets = next(filter(None, (_version_in(folder / WIDGETS_PACKAGE_JSON) for folder in folders)), "")
    return evaluate_front_end(FrontEnd(", ".join(_front_ends(prefix)), prefix, widgets, is_current=asking))


_OF_THEIR_OWN = (("VSCODE_PID", "VS Code"), ("COLAB_RELEASE_TAG", "Colab"))
_JUPYTER_FOLDERS = (Path("/usr/local"), Path("/usr"))


def evaluate_front_end(seen: FrontEnd) -> Finding:
    """Whether the panel can be shown."""
    if seen.has_own_widgets:
        return report_ok("Front end", f"{seen.name}, which has widgets of its own")
    if not seen.name:
        where = f"started from {seen.prefix}, where there is no" if seen.is_current else "not this Python's: it has no"
        return report_note(
            "Front end", f"{where} JupyterLab or Notebook", "run %cwnotify doctor in a notebook to see its own"
        )
    major = seen.widgets_version.partition(".")[0]
    if major.isdigit() and int(major) >= MIN_WIDGETS_MAJOR:
        return report_ok("Front end", f"{seen.name} at {seen.prefix}, which shows widgets ({seen.widgets_version})")
    found = f"only those of ipywidgets 7 ({seen.widgets_version})" if seen.widgets_version else "no widgets"
    todo = f"{seen.prefix}/bin/python -m pip install -U jupyterlab_widgets; then restart Jupyter and reload the page"
    return report_problem("Front end", f"{seen.name} at {seen.prefix} can show {found}, and so no panel", todo)


def diagnose_sidecar() -> Finding:
    """Start one, hear that it is ready, and let it leave."""
    link, answered, ready = SidecarClient(), threading.Event(), threading.Event()

    def hear(line: PipeMessage) -> None:
        if line["kind"] == "ready":
            ready.set()
            answered.set()

    link.on_message, link.show_warning = hear, lambda text: answered.set()
    began = time.monotonic()
    # It is told nothing but this, and above all no webhook: it posts nothing.
    link.send_command("refresh")
    answered.wait(SIDECAR_READY_TIMEOUT)
    seconds = time.monotonic() - began
    failure, log = link.failure_reason, settings.get_state_dir() / "sidecar.log"
    link.close()
    return evaluate_sidecar(seconds if ready.is_set() else None, log, failure)


def evaluate_sidecar(seconds: float | None, log: Path, failure: str = "") -> Finding:
    """Whether it answered, after how long, or why it ended instead."""
    if failure:
        return report_problem(
            "Sidecar", f"cannot start, so no alert is sent: {failure}", "fix that, then run: cwnotify doctor"
        )
    if seconds is None:
        return report_problem("Sidecar", f"did not answer within {SIDECAR_READY_TIMEOUT:.0f} s", f"look into {log}")
    return report_ok("Sidecar", f"starts, and answers after {seconds:.2f} s")


@dataclass(frozen=True)
class StateDirectoryStatus:
    """The state directory: how much room there is, and the alerts in it that are not delivered."""

    directory: Path
    free_bytes: int
    pending: tuple[OutboxMessage, ...] = ()
    dead: tuple[OutboxMessage, ...] = ()
    own_destination: str = ""


def diagnose_state_directory(webhook: settings.Secret | None) -> Iterator[Finding]:
    """The state directory, and the alerts in it."""
    import sqlite3

    from cwnotify.store.outbox import Outbox

    try:
        directory = state_dir.prepare_state_dir(settings.get_state_dir())
        with closing(Outbox(directory / state_dir.OUTBOX_FILENAME)) as box:
            mine = state_dir.fingerprint_webhook(webhook, directory)
            room = shutil.disk_usage(directory).free
            waiting, dead = (tuple(box.list_messages(kind)) for kind in ("pending", "dead"))
    except StateError as error:
        yield report_error("State", error)
    except (sqlite3.Error, OSError) as error:
        yield report_problem(
            "State",
            f"{settings.get_state_dir()} cannot be used ({error})",
            "set CWNOTIFY_STATE_DIR to a folder on a local disk that can be written",
        )
    else:
        yield from evaluate_state_directory(StateDirectoryStatus(directory, room, waiting, dead, mine))


def evaluate_state_directory(kept: StateDirectoryStatus) -> Iterator[Finding]:
    """Whether there is room, and whether every alert was told."""
    room = f"{kept.free_bytes / (1 << 30):.1f} GiB free"
    if kept.free_bytes < MIN_FREE_BYTES:
        yield report_problem(
            "State",
            f"{kept.directory}: only {kept.free_bytes >> 20} MiB free",
            "make room there, or set CWNOTIFY_STATE_DIR",
        )
    else:
        yield report_ok("State", f"{kept.directory}, {room}")
    if kept.dead:
        why = kept.dead[-1].reason
        text = f"{format_count(len(kept.dead), 'alert')} could not be delivered; the last one because: {why}"
        yield report_problem("Outbox", text, "cwnotify outbox list, then: cwnotify outbox retry --all")
    elif kept.pending:
        others = sum(message.destination != kept.own_destination for message in kept.pending)
        elsewhere = f", {others} of them for another webhook" if others else ""
        why = kept.pending[-1].reason
        text = f"{format_count(len(kept.pending), 'alert')} waiting{elsewhere}" + (f": {why}" if why else "")
        yield report_note("Outbox", text, "cwnotify outbox list")
    else:
        yield report_ok("Outbox", "nothing waits, and nothing is dead")


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def _front_ends(prefix: str) -> list[str]:
    """The front ends that are installed there."""
    folders = [str(folder) for folder in Path(prefix).glob("lib/python3*/site-packages")]
    names = {"jupyterlab": "JupyterLab", "notebook": "Notebook"}
    found = {one.name: one.version for one in metadata.distributions(path=folders) if one.name in names}
    return [f"{shown} {found[name]}" for name, shown in names.items() if name in found]


def _prefix_of(pid: str) -> str:
    """Where the Python of a process is installed, from its command line: its binary may lie outside of it."""
    try:
        program = Path(f"/proc/{int(pid)}/cmdline").read_bytes().split(b"\0")[0].decode()
    except (OSError, ValueError):
        return ""
    path = Path(program)
    return str(path.parent.parent) if path.is_absolute() and path.parent.name == "bin" else ""


def _version_in(package: Path) -> str:
    try:
        return str(json.loads(package.read_text(encoding="utf-8"))["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
