"""Who may import whom, and that what a kernel loads is light, silent and leaves nothing behind."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import cwnotify

TOP = Path(cwnotify.__file__).parent
ANYTHING = "anything"

# A module, or a package for all in it that has no line of its own, and what it may import beside the standard library
# and itself; design.md has the reasons. The cli and the demo stand in no other line: nobody may import them.
MAY_IMPORT = {
    "cwnotify": "cwnotify.notebook.magics cwnotify.notebook.panel cwnotify.runs.notify cwnotify.runs.recorder",
    "cwnotify.callbacks": "cwnotify.runs.recorder keras lightning pytorch_lightning transformers",
    "cwnotify.__main__": "cwnotify.cli",
    "cwnotify.errors": "",
    "cwnotify.alerts": "cwnotify.errors",
    "cwnotify.settings": (
        "cwnotify.errors cwnotify.settings.private_files cwnotify.alerts.light_dataclass cwnotify.alerts.events.run_options "
        "cwnotify.alerts.webhook_url cwnotify.alerts.locale"
    ),
    "cwnotify.aws": "cwnotify.alerts cwnotify.errors cwnotify.settings boto3 botocore yaml",
    "cwnotify.host.instance_metadata": "cwnotify.alerts cwnotify.aws.models",
    "cwnotify.aws.models": "",
    "cwnotify.lambda_function": "cwnotify.alerts boto3 botocore",
    "cwnotify.sidecar": (
        "cwnotify.alerts cwnotify.errors cwnotify.settings.private_files cwnotify.settings cwnotify.aws requests urllib3 matplotlib "
        "numpy PIL psutil"
    ),
    "cwnotify.sidecar.client": (
        "cwnotify.alerts cwnotify.errors cwnotify.sidecar.native_threads cwnotify.console cwnotify.settings cwnotify.sidecar.spawn "
        "cwnotify.sidecar.protocol cwnotify.view.snapshot"
    ),
    "cwnotify.sidecar.spawn": "cwnotify.settings",
    "cwnotify.sidecar.protocol": "cwnotify.errors cwnotify.sidecar.native_threads cwnotify.sidecar.event_size",
    "cwnotify.view.snapshot": "cwnotify.alerts",
    "cwnotify.view.format": "cwnotify.alerts cwnotify.view.snapshot",
    "cwnotify.store.outbox": (
        "cwnotify.alerts cwnotify.errors cwnotify.host.processes cwnotify.store.schema cwnotify.store.migrations"
    ),
    "cwnotify.store.migrations": "cwnotify.errors cwnotify.store.schema",
    "cwnotify.store.schema": "cwnotify.alerts cwnotify.host.processes",
    "cwnotify.host.processes": "cwnotify.alerts.light_dataclass psutil",
    "cwnotify.host.exit_cause": "cwnotify.alerts cwnotify.host.memory_limit",
    "cwnotify.host.memory_limit": "",
    "cwnotify.store.state_dir": "cwnotify.errors cwnotify.settings.private_files cwnotify.settings",
    "cwnotify.console": "",
    "cwnotify.runs.output_tail": "cwnotify.alerts.text_limits",
    "cwnotify.runs.deadline": "cwnotify.sidecar.native_threads",
    "cwnotify.sidecar.native_threads": "",
    "cwnotify.runs.outcome": "cwnotify.alerts",
    "cwnotify.runs.input_detection": "",
    "cwnotify.runs.exceptions": "cwnotify.alerts cwnotify.errors cwnotify.runs.outcome cwnotify.runs.deadline",
    "cwnotify.runs.distributed": "cwnotify.alerts.light_dataclass cwnotify.host.processes",
    "cwnotify.runs.child_notes": "cwnotify.runs.distributed cwnotify.sidecar.event_size",
    "cwnotify.sidecar.event_size": "",
    "cwnotify.settings.private_files": "",
    "cwnotify.runs.value_format": "cwnotify.alerts.text_limits",
    "cwnotify.runs.run_name": "",
    "cwnotify.runs.decorator": "cwnotify.errors",
    "cwnotify.runs.recorder": (
        "cwnotify.alerts cwnotify.errors cwnotify.settings cwnotify.runs.exceptions cwnotify.runs.distributed cwnotify.runs.child_notes "
        "cwnotify.runs.value_format cwnotify.console cwnotify.runs.deadline cwnotify.runs.input_detection cwnotify.sidecar.client"
    ),
    "cwnotify.runs.notify": (
        "cwnotify.alerts cwnotify.errors cwnotify.runs.decorator cwnotify.runs.run_name cwnotify.runs.exceptions cwnotify.runs.recorder "
        "cwnotify.console cwnotify.runs.value_format"
    ),
    "cwnotify.runs.child_process": "",
    "cwnotify.runs.signal_forwarding": "",
    "cwnotify.runs.stream_copy": "cwnotify.console cwnotify.runs.output_tail",
    "cwnotify.runs.command": (
        "cwnotify.alerts cwnotify.runs.child_process cwnotify.runs.stream_copy cwnotify.runs.signal_forwarding cwnotify.runs.notify cwnotify.runs.recorder "
        "cwnotify.console cwnotify.sidecar.client cwnotify.host.memory_limit cwnotify.host.exit_cause cwnotify.runs.output_tail"
    ),
    "cwnotify.notebook": (
        "cwnotify.alerts cwnotify.errors cwnotify.settings cwnotify.runs.exceptions cwnotify.runs.recorder cwnotify.console "
        "cwnotify.runs.output_tail cwnotify.runs.deadline cwnotify.runs.value_format cwnotify.runs.input_detection cwnotify.sidecar.client "
        "cwnotify.view.snapshot cwnotify.view.format IPython traitlets ipywidgets zmq"
    ),
    "cwnotify.preview": "",
    "cwnotify.doctor": "cwnotify.alerts cwnotify.errors cwnotify.settings cwnotify.aws cwnotify.sidecar",
    "cwnotify.cli": ANYTHING,
    "cwnotify.demo": ANYTHING,
}
# `alerts` does no I/O and reads no clock: it has no business with these. (zoneinfo reads the system's zone data.)
NOT_PURE = "os sys time socket subprocess pathlib random secrets threading asyncio sqlite3 logging tempfile io http ssl"
HEAVY = ("boto3", "botocore", "requests", "urllib3", "matplotlib", "numpy", "ipywidgets", "psutil", "yaml")


def modules() -> dict[str, Path]:
    """Every module of the package, by its name."""
    found = {}
    for path in sorted(TOP.rglob("*.py")):
        parts = ("cwnotify", *path.relative_to(TOP).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(tree: ast.AST) -> Iterator[str]:
    """What the code imports wherever it stands, but for what only a type checker reads."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from imports(ast.Module(node.orelse, []))
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are written out in full"
            for alias in node.names:
                below = f"{node.module}.{alias.name}"
                yield below if below in MODULES else str(node.module)
        else:
            yield from imports(node)


def imported_by(module: str) -> set[str]:
    """What `module` imports beside the standard library."""
    names = imports(ast.parse(MODULES[module].read_text(encoding="utf-8")))
    return {name for name in names if name.partition(".")[0] not in sys.stdlib_module_names}


def is_in(name: str, packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages.split())


def layer_of(module: str) -> str:
    """The line of the table for `module`: its own, else that of the package around it."""
    while module not in MAY_IMPORT:
        module = module.rpartition(".")[0]
    return module


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_its_layer_may(module):
    layer = layer_of(module)
    assert layer != "cwnotify" or module == "cwnotify", f"{module} is new: give it its line in MAY_IMPORT"
    if MAY_IMPORT[layer] == ANYTHING:
        return

    # Around it is what it belongs to: its package has the same layer, or leaves it to its own line.
    own = layer if layer != "cwnotify" else ""
    strangers = {name for name in imported_by(module) if not is_in(name, f"{own} {MAY_IMPORT[layer]}")}

    assert not strangers


def test_the_table_speaks_of_what_exists():
    assert set(MAY_IMPORT) <= set(MODULES)


def test_the_walk_finds_what_there_is_to_find():
    tree = ast.parse("""
import a.b
from cwnotify import settings
from cwnotify.errors import UsageError
if TYPE_CHECKING:
    import never
else:
    import c
def f():
    with open(x):
        import d
""")

    assert list(imports(tree)) == ["a.b", "cwnotify.settings", "cwnotify.errors", "c", "d"]


@pytest.mark.parametrize("module", [name for name in MODULES if is_in(name, "cwnotify.alerts")])
def test_the_core_does_no_io_and_reads_no_clock(module):
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}

    assert not [name for name in imports(tree) if is_in(name, NOT_PURE)]
    assert not [call for call in calls if call in ("open", "print", "input") or call.endswith((".now", ".today"))]


@pytest.mark.parametrize("module", [name for name, path in MODULES.items() if path.read_text(encoding="utf-8").strip()])
def test_a_module_says_what_it_is_for(module):
    assert ast.get_docstring(ast.parse(MODULES[module].read_text(encoding="utf-8")))


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
