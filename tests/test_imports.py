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


# What a fresh interpreter sees. The answer goes to a file: nothing may be printed.

LOOK = """
import json, sys, threading, types
started = []
sys.addaudithook(lambda event, args: started.append(event) if event in (
    "subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "os.system", "socket.connect",
) else None)

def look(shell=None):
    seen = {"modules": sorted(name for name in sys.modules), "threads": threading.active_count()}
    if shell is not None:
        seen |= {
            "hooks": {name: [repr(hook) for hook in hooks] for name, hooks in shell.events.callbacks.items()},
            "transformers": [repr(one) for one in (
                *shell.input_transformers_cleanup, "post", *shell.input_transformers_post,
                "ast", *shell.ast_transformers)],
            "magics": {kind: sorted(names) for kind, names in shell.magics_manager.magics.items()},
            "registry": sorted(shell.magics_manager.registry),
            "configurables": [type(one).__name__ for one in shell.configurables],
            "exception handlers": repr(shell.custom_exceptions),
            "streams": [repr(sys.stdout), repr(sys.stderr), repr(sys.excepthook), repr(sys.displayhook)],
        }
    return seen

def run(shell, line):
    assert shell.run_cell(line).success, line

def a_shell():
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config
    shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    # IPython 9 registers its own magics for extensions when they are first used.
    sys.modules["quiet"] = quiet = types.ModuleType("quiet")
    quiet.load_ipython_extension = lambda shell: None
    run(shell, "%load_ext quiet")
    return shell

def told(**seen):
    with open(sys.argv[1], "w") as file:
        json.dump(seen | {"started": started}, file)
"""


def in_a_fresh_interpreter(script: str, tmp_path: Path) -> dict[str, Any]:
    """What `script` told; it must have printed nothing."""
    answer = tmp_path / "answer.json"
    done = subprocess.run(
        [sys.executable, "-c", LOOK + script, answer],
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "IPYTHONDIR": str(tmp_path / "ipython")},
        cwd=TOP.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return json.loads(answer.read_text())


def heavy(names: list[str]) -> set[str]:
    return {name.partition(".")[0] for name in names} & set(HEAVY)


def test_importing_the_package_is_light_and_silent(tmp_path):
    seen = in_a_fresh_interpreter("import cwnotify\ntold(**look())", tmp_path)

    assert "cwnotify" in seen["modules"]
    assert not heavy(seen["modules"])
    assert not [name for name in seen["modules"] if is_in(name, "IPython")]
    assert seen["started"] == []
    assert seen["threads"] == 1


def test_what_plain_programs_import_is_light_too(tmp_path):
    seen = in_a_fresh_interpreter("from cwnotify import notify\ntold(**look())", tmp_path)

    assert "cwnotify.runs.notify" in seen["modules"]
    assert not heavy(seen["modules"])
    assert not [name for name in seen["modules"] if is_in(name, "IPython sqlite3")]
    assert seen["started"] == []


def test_loading_the_extension_is_light_and_silent_and_starts_nothing(tmp_path):
    script = """
shell = a_shell()
before, begun = look(shell), len(started)
run(shell, "%load_ext cwnotify")
after = look(shell)
del started[:begun]
told(before=before, after=after)
"""
    seen = in_a_fresh_interpreter(script, tmp_path)
    new = set(seen["after"]["modules"]) - set(seen["before"]["modules"])

    assert "cwnotify.notebook.magics" in new
    assert not heavy(list(new))
    assert seen["started"] == []
    assert seen["after"]["threads"] == seen["before"]["threads"]
    assert {"notify_on_finish", "notify_all", "cwnotify"} <= set(seen["after"]["magics"]["line"])
    assert "notify_on_finish" in seen["after"]["magics"]["cell"]
    assert not list(tmp_path.rglob("cwnotify*")), "it wrote something"


@pytest.mark.parametrize("reloads", [0, 2])
def test_unloading_leaves_nothing_behind(tmp_path, reloads):
    script = f"""
shell = a_shell()
shell.events.register("post_run_cell", somebody_elses := lambda result: None)
before = look(shell)
run(shell, "%load_ext cwnotify")
loaded = look(shell)
for _ in range({reloads}):
    run(shell, "%reload_ext cwnotify")
run(shell, "%unload_ext cwnotify")
told(before=before, loaded=loaded, after=look(shell))
"""
    seen = in_a_fresh_interpreter(script, tmp_path)

    for what in set(seen["before"]) - {"modules"}:
        assert seen["after"][what] == seen["before"][what], what
    assert seen["loaded"]["hooks"] != seen["before"]["hooks"], "there was nothing to leave behind"
    assert seen["loaded"]["transformers"] != seen["before"]["transformers"]


def test_reloading_registers_everything_once(tmp_path):
    script = """
shell = a_shell()
run(shell, "%load_ext cwnotify")
once = look(shell)
run(shell, "%reload_ext cwnotify")
run(shell, "%reload_ext cwnotify")
told(once=once, again=look(shell))
"""
    seen = in_a_fresh_interpreter(script, tmp_path)

    for what in ("transformers", "magics", "registry", "configurables"):
        assert len(seen["again"][what]) == len(seen["once"][what]), what
    assert {name: len(hooks) for name, hooks in seen["again"]["hooks"].items()} == {
        name: len(hooks) for name, hooks in seen["once"]["hooks"].items()
    }


def test_the_lambda_function_starts_without_boto3(tmp_path):
    seen = in_a_fresh_interpreter("import cwnotify.lambda_function\ntold(**look())", tmp_path)

    assert not heavy(seen["modules"])
    assert not [name for name in seen["modules"] if is_in(name, "dataclasses cwnotify.sidecar cwnotify.settings")]
