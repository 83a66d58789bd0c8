"""What importing cwnotify loads, starts and leaves behind. import-linter checks which package imports which."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import cwnotify

TOP = Path(cwnotify.__file__).parent
HEAVY = ("boto3", "botocore", "requests", "urllib3", "matplotlib", "numpy", "ipywidgets", "psutil", "yaml")
SOURCES = [path for path in sorted(TOP.rglob("*.py")) if path.read_text(encoding="utf-8").strip()]


def is_in(name: str, packages: str) -> bool:
    """Return whether `name` is one of `packages` (separated by spaces) or below one."""
    return any(name == package or name.startswith(f"{package}.") for package in packages.split())


def test_core_opens_no_file_and_reads_no_clock() -> None:
    forbidden = {}
    for path in (path for path in SOURCES if path.is_relative_to(TOP / "alerts")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        if bad := [call for call in calls if call in ("open", "print", "input") or call.endswith((".now", ".today"))]:
            forbidden[path.name] = bad

    assert forbidden == {}


def test_every_module_has_a_docstring() -> None:
    assert [path for path in SOURCES if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))] == []


# Code for a fresh interpreter. Its report goes to a file, because nothing may be printed.

HELPERS = """
import json, sys, threading, types
started = []
sys.addaudithook(lambda event, args: started.append(event) if event in (
    "subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "os.system", "socket.connect",
) else None)

def inspect_state(shell=None):
    state = {"modules": sorted(name for name in sys.modules), "threads": threading.active_count()}
    if shell is not None:
        state |= {
            "hooks": {name: [repr(hook) for hook in hooks] for name, hooks in shell.events.callbacks.items()},
            "transformers": [repr(transformer) for transformer in (
                *shell.input_transformers_cleanup, "post", *shell.input_transformers_post,
                "ast", *shell.ast_transformers)],
            "magics": {kind: sorted(names) for kind, names in shell.magics_manager.magics.items()},
            "registry": sorted(shell.magics_manager.registry),
            "configurables": [type(configurable).__name__ for configurable in shell.configurables],
            "exception handlers": repr(shell.custom_exceptions),
            "streams": [repr(sys.stdout), repr(sys.stderr), repr(sys.excepthook), repr(sys.displayhook)],
        }
    return state

def run(shell, line):
    assert shell.run_cell(line).success, line

def create_shell():
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config
    shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    # IPython 9 registers its own magics for extensions when they are first used.
    sys.modules["quiet"] = quiet = types.ModuleType("quiet")
    quiet.load_ipython_extension = lambda shell: None
    run(shell, "%load_ext quiet")
    return shell

def report(**values):
    with open(sys.argv[1], "w") as file:
        json.dump(values | {"started": started}, file)
"""


def run_in_fresh_interpreter(script: str, tmp_path: Path) -> dict[str, Any]:
    """Return what `script` reported, and assert that it printed nothing."""
    report_path = tmp_path / "report.json"
    process = subprocess.run(
        [sys.executable, "-c", HELPERS + script, report_path],
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "IPYTHONDIR": str(tmp_path / "ipython")},
        cwd=TOP.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (process.returncode, process.stdout, process.stderr) == (0, "", "")
    result: dict[str, Any] = json.loads(report_path.read_text())
    return result


def heavy_packages(names: list[str]) -> set[str]:
    """Return the heavy packages that `names` belong to."""
    return {name.partition(".")[0] for name in names} & set(HEAVY)


def test_package_import_loads_no_heavy_module_and_starts_nothing(tmp_path: Path) -> None:
    state = run_in_fresh_interpreter("import cwnotify\nreport(**inspect_state())", tmp_path)

    assert "cwnotify" in state["modules"]
    assert not heavy_packages(state["modules"])
    assert not [name for name in state["modules"] if is_in(name, "IPython")]
    assert state["started"] == []
    assert state["threads"] == 1


def test_notify_import_loads_no_heavy_module_and_starts_nothing(tmp_path: Path) -> None:
    state = run_in_fresh_interpreter("from cwnotify import notify\nreport(**inspect_state())", tmp_path)

    assert "cwnotify.runs.notify" in state["modules"]
    assert not heavy_packages(state["modules"])
    assert not [name for name in state["modules"] if is_in(name, "IPython sqlite3")]
    assert state["started"] == []


def test_extension_load_registers_magics_and_starts_nothing(tmp_path: Path) -> None:
    script = """
shell = create_shell()
before, started_before = inspect_state(shell), len(started)
run(shell, "%load_ext cwnotify")
after = inspect_state(shell)
del started[:started_before]
report(before=before, after=after)
"""
    state = run_in_fresh_interpreter(script, tmp_path)
    new = set(state["after"]["modules"]) - set(state["before"]["modules"])

    assert "cwnotify.notebook.magics" in new
    assert not heavy_packages(list(new))
    assert state["started"] == []
    assert state["after"]["threads"] == state["before"]["threads"]
    assert {"notify_on_finish", "notify_all", "cwnotify"} <= set(state["after"]["magics"]["line"])
    assert "notify_on_finish" in state["after"]["magics"]["cell"]
    assert not list(tmp_path.rglob("cwnotify*")), "it wrote something"


@pytest.mark.parametrize("reloads", [0, 2])
def test_unload_restores_shell(tmp_path: Path, reloads: int) -> None:
    script = f"""
shell = create_shell()
shell.events.register("post_run_cell", foreign_hook := lambda result: None)
before = inspect_state(shell)
run(shell, "%load_ext cwnotify")
loaded = inspect_state(shell)
for _ in range({reloads}):
    run(shell, "%reload_ext cwnotify")
run(shell, "%unload_ext cwnotify")
report(before=before, loaded=loaded, after=inspect_state(shell))
"""
    state = run_in_fresh_interpreter(script, tmp_path)

    for key in set(state["before"]) - {"modules"}:
        assert state["after"][key] == state["before"][key], key
    assert state["loaded"]["hooks"] != state["before"]["hooks"], "there was nothing to leave behind"
    assert state["loaded"]["transformers"] != state["before"]["transformers"]


def test_reload_registers_everything_once(tmp_path: Path) -> None:
    script = """
shell = create_shell()
run(shell, "%load_ext cwnotify")
once = inspect_state(shell)
run(shell, "%reload_ext cwnotify")
run(shell, "%reload_ext cwnotify")
report(once=once, again=inspect_state(shell))
"""
    state = run_in_fresh_interpreter(script, tmp_path)

    for key in ("transformers", "magics", "registry", "configurables"):
        assert len(state["again"][key]) == len(state["once"][key]), key
    assert {name: len(hooks) for name, hooks in state["again"]["hooks"].items()} == {
        name: len(hooks) for name, hooks in state["once"]["hooks"].items()
    }


def test_lambda_function_import_loads_no_boto3(tmp_path: Path) -> None:
    state = run_in_fresh_interpreter("import cwnotify.lambda_function\nreport(**inspect_state())", tmp_path)

    assert not heavy_packages(state["modules"])
    assert not [name for name in state["modules"] if is_in(name, "dataclasses cwnotify.sidecar cwnotify.settings")]
