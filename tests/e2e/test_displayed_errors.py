"""A run failed if IPython displayed an error as that of its cell, for each way to run a script or a nested cell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import nbformat
import pytest

from tests.support.kernel import Kernel, World, alert_outcome, delivered_alerts, wait_for_alert
from tests.support.slack import Slack

NAMES = (f"run{number}" for number in count(1))


@dataclass(frozen=True)
class Cell:
    """The lines below the header, the name of the displayed error, and the cells before and after it."""

    body: str
    error: str = ""
    before: str = ""
    after: str = ""


SCRIPTS = {
    "broken.py": "def f():\n    raise ValueError('in the script')\nf()\n",
    "good.py": "x = 1\n",
    "nested.py": "get_ipython().run_cell('1 / 0')\n",
    "exits.py": "import sys\nsys.exit(0)\n",
    "exits3.py": "import sys\nsys.exit(3)\n",
    "broken_module.py": "raise ValueError('in the module')\n",
    "broken.ipy": "!true\n1 / 0\n",
}
FAILED = {
    "%%time": Cell("%%time\n1/0", "ZeroDivisionError"),
    "%%capture": Cell("%%capture\n1/0", "ZeroDivisionError"),
    "%%capture with a syntax error": Cell("%%capture\nx = = 1", "SyntaxError"),
    "%%time with a group": Cell("%%time\nraise ExceptionGroup('g', [ValueError()])", "ExceptionGroup"),
    "%run": Cell("%run broken.py\nprint('it continues')", "ValueError"),
    "%run -i": Cell("%run -i broken.py", "ValueError"),
    "%run -n": Cell("%run -n broken.py", "ValueError"),
    "%run -t": Cell("%run -t broken.py", "ValueError"),
    "%run -p": Cell("%run -p broken.py", "ValueError"),
    "%run -m": Cell("%run -m broken_module", "ValueError"),
    "%run of a script that exits with 3": Cell("%run exits3.py", "SystemExit"),
    "%run of an IPython script": Cell("%run broken.ipy", "ZeroDivisionError"),
    "%run below %time": Cell("%time %run broken.py", "ValueError"),
    "%run below %%time": Cell("%%time\n%run broken.py", "ValueError"),
    "%run below %%capture": Cell("%%capture\n%run broken.py", "ValueError"),
    "%run with a value": Cell("x = %run broken.py", "ValueError"),
    "%run below %notify_on_finish": Cell("%notify_on_finish --min 1h %run broken.py", "ValueError"),
    "%run in a function": Cell("def f():\n    %run broken.py\nf()", "ValueError"),
    "run_line_magic": Cell("get_ipython().run_line_magic('run', 'broken.py')", "ValueError"),
    "safe_execfile": Cell("get_ipython().safe_execfile('broken.py', {})", "ValueError"),
    "%rerun": Cell("%rerun -l 1", "ZeroDivisionError", before="1 / 0"),
    "%%bash": Cell("%%bash\nexit 3", "CalledProcessError"),
    "%%python": Cell("%%python\n1 / 0", "CalledProcessError"),
    "%%script": Cell("%%script false\n1", "CalledProcessError"),
    "the same exception twice": Cell(
        "%%time\nagain()", "ValueError", before="e = ValueError()\ndef again():\n    raise e\n\n%time again()"
    ),
    "a handler of the user's": Cell(
        "%%capture\nraise KeyError('x')",
        "KeyError",
        before="get_ipython().set_custom_exc((KeyError,), lambda *a, **k: print('handled'))",
        after="get_ipython().set_custom_exc((), None)",
    ),
    "a display of the user's": Cell(
        "%run broken.py",
        "ValueError",
        before="shell = get_ipython()\nshell.showtraceback = lambda *a, **k: print('something went wrong')",
        after="del shell.showtraceback",
    ),
    "a display that the cell defines": Cell(
        "def hide(*more, **names):\n    import sys\n    kind, error, trace = sys.exc_info()\n"
        "    get_ipython()._showtraceback(kind, error, ['hidden'])\n\n"
        "get_ipython().showtraceback = hide\n%run broken.py",
        "ValueError",
        after="del get_ipython().showtraceback",
    ),
    "a magic of the user's": Cell(
        "%%swallows\n1 / 0",
        "ZeroDivisionError",
        before="from IPython.core.magic import register_cell_magic\n@register_cell_magic\ndef swallows(line, cell):\n"
        "    try:\n        exec(cell)\n    except Exception:\n        get_ipython().showtraceback()",
    ),
    "a value that cannot be displayed": Cell(
        "class Bad:\n    def __repr__(self):\n        raise ValueError\nBad()", "ValueError"
    ),
    "an exit in an except block": Cell(
        "import sys\ntry:\n    1 / 0\nexcept Exception:\n    sys.exit(1)", "ZeroDivisionError"
    ),
    "an exit": Cell("import sys\nsys.exit(0)", "SystemExit"),
    "a task that code cancelled": Cell(
        "import asyncio\ntask = asyncio.ensure_future(asyncio.sleep(9))\ntask.cancel()\nawait task", "CancelledError"
    ),
    "a cell that cancels itself": Cell(
        "import asyncio\nasyncio.current_task().cancel()\nawait asyncio.sleep(1)", "CancelledError"
    ),
}
SHOW_ERROR = "try:\n    1 / 0\nexcept Exception:\n    get_ipython().showtraceback()"
OUTPUT_WIDGET = "import ipywidgets\nwith ipywidgets.Output():\n    1 / 0"
THREAD = (
    "import threading\nthread = threading.Thread(target=get_ipython().run_line_magic, args=('run', 'broken.py'))\n"
    "thread.start(); thread.join()"
)
FINISHED = {
    "a cell inside": Cell("r = get_ipython().run_cell('1 / 0')"),
    "a cell inside, below %%time": Cell("%%time\nr = get_ipython().run_cell('1 / 0')"),
    "a cell inside, below %%capture": Cell("%%capture\nget_ipython().run_cell('1 / 0')"),
    "a cell inside, in a script": Cell("%run nested.py"),
    "a cell inside, after a script": Cell("%run good.py\nr = get_ipython().run_cell('1 / 0')"),
    "a cell inside with %run": Cell("get_ipython().run_cell('%run broken.py')"),
    "a silent cell inside": Cell("get_ipython().run_cell('1 / 0', silent=True)"),
    "an error that the cell displays": Cell(SHOW_ERROR),
    "an error that the cell displays, below %%time": Cell(f"%%time\n{SHOW_ERROR}"),
    "an Output widget": Cell(OUTPUT_WIDGET),
    "an Output widget, below %%time": Cell(f"%%time\n{OUTPUT_WIDGET}"),
    "an Output widget, after a script": Cell(f"%run good.py\n{OUTPUT_WIDGET}"),
    "a last error that other code sets": Cell("%%time\nimport sys\nsys.last_value = ValueError()"),
    "an earlier error again": Cell("%tb", before="1 / 0"),
    "an earlier error again, below %%time": Cell("%%time\n%tb", before="1 / 0"),
    "display of what has no text": Cell(
        "class Bad:\n    def __repr__(self):\n        raise ValueError\ndisplay(Bad())"
    ),
    "%run -e": Cell("%run -e exits3.py"),
    "a script that exits with 0": Cell("%run exits.py"),
    "a task that is cancelled and handled": Cell(
        "import asyncio\ntask = asyncio.ensure_future(asyncio.sleep(9))\ntask.cancel()\n"
        "try:\n    await task\nexcept asyncio.CancelledError:\n    pass"
    ),
    "a thread's script": Cell(THREAD),
}


@pytest.fixture(scope="module")
def slack() -> Iterator[Slack]:
    with Slack() as slack:
        yield slack


@pytest.fixture(scope="module")
def kernel(slack: Slack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    with World(tmp_path_factory.mktemp("world"), slack.url) as world, Kernel(world) as kernel:
        for name, text in SCRIPTS.items():
            (world.home / name).write_text(text)
        assert kernel.run("%load_ext cwnotify").text == ""
        yield kernel


def run_cell(kernel: Kernel, cell: Cell) -> str:
    """Run the cell with a header, and return the run's name."""
    name = next(NAMES)
    if cell.before:
        kernel.run(cell.before)
    kernel.run(f"%%notify_on_finish {name}\n{cell.body}")
    if cell.after:
        kernel.run(cell.after)
    return name


@pytest.mark.parametrize("cell", FAILED.values(), ids=FAILED)
def test_error_displayed_by_ipython_fails_cell(cell: Cell, kernel: Kernel, slack: Slack) -> None:
    alert = wait_for_alert(slack, run_cell(kernel, cell))

    assert alert_outcome(alert) == "failed"
    assert f"`{cell.error}`" in alert["text"]


@pytest.mark.parametrize("cell", FINISHED.values(), ids=FINISHED)
def test_error_of_other_code_does_not_fail_cell(cell: Cell, kernel: Kernel, slack: Slack) -> None:
    assert alert_outcome(wait_for_alert(slack, run_cell(kernel, cell))) == "finished"


def test_automagic_below_notify_all_is_reported(kernel: Kernel, slack: Slack) -> None:
    kernel.run("%notify_all --min 0")
    number = kernel.run("run broken.py").execution_count
    kernel.run("%notify_all --off")

    assert alert_outcome(wait_for_alert(slack, f"Cell [{number}]")) == "failed"


def test_statement_that_runs_script_is_reported(kernel: Kernel, slack: Slack) -> None:
    kernel.run("%notify_on_finish %run broken.py")

    assert alert_outcome(wait_for_alert(slack, "%run broken.py")) == "failed"


def test_subshell_cell_does_not_fail_running_cell(kernel: Kernel, slack: Slack) -> None:
    """A subshell runs its cells in another thread, at the same time."""
    name = next(NAMES)
    kernel.run(
        f"%%notify_on_finish {name}\n%%time\nimport threading\nshell = get_ipython()\n"
        "thread = threading.Thread(target=shell.run_cell, args=('%run broken.py\\n1 / 0',))\n"
        "thread.start(); thread.join()"
    )

    assert alert_outcome(wait_for_alert(slack, name)) == "finished"


def write_notebook(kernel: Kernel, *cells: str) -> str:
    """Write a notebook with these cells, and return its file name."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    path = kernel.world.home / f"{next(NAMES)}.ipynb"
    nbformat.write(notebook, path)
    return path.name


def test_registered_cells_of_run_notebook_have_own_names(kernel: Kernel, slack: Slack) -> None:
    outer, first, future, broken, never = (next(NAMES) for _ in range(5))
    path = write_notebook(
        kernel,
        f"%%notify_on_finish {first}\nx = 1",
        f"%%notify_on_finish {future}\n'a docstring'\nfrom __future__ import annotations\ny = 1",
        "z = 1",
        f"%%notify_on_finish {broken}\n1 / 0",
        f"%%notify_on_finish {never}\n1",
    )
    kernel.run(f"%%notify_on_finish {outer}\n%run {path}")

    assert [alert_outcome(wait_for_alert(slack, name)) for name in (first, future, broken, outer)] == [
        *("finished", "finished", "failed", "failed")
    ]
    assert not delivered_alerts(slack, never)


def test_run_notebook_needs_no_registered_cell_around_it(kernel: Kernel, slack: Slack) -> None:
    name = next(NAMES)
    kernel.run(f"%run {write_notebook(kernel, f'%%notify_on_finish {name}{chr(10)}1')}")

    assert alert_outcome(wait_for_alert(slack, name)) == "finished"


def test_failed_plain_cell_of_run_notebook_fails_cell(kernel: Kernel, slack: Slack) -> None:
    name = next(NAMES)
    kernel.run(f"%%notify_on_finish {name}\n%run {write_notebook(kernel, 'x = 1', '1 / 0')}")

    assert alert_outcome(wait_for_alert(slack, name)) == "failed"


def test_unload_restores_shell_methods(kernel: Kernel) -> None:
    inspection = (
        "import importlib.util, ipykernel.zmqshell, IPython.utils._process_common as common\nip = get_ipython()\n"
        "ours = importlib.util.find_spec('cwnotify').submodule_search_locations[0]\n"
        "methods = ip.showtraceback, ip._showtraceback, ip.kernel._input_request\n"
        "functions = ipykernel.zmqshell.system, common.process_handler\n"
        "paths = [getattr(function, '__func__', function).__code__.co_filename for function in methods + functions]\n"
        "print(*(path.startswith(f'{ours}/') for path in paths))"
    )
    with World(kernel.world.home / "other") as world, Kernel(world) as other:
        before = other.run(inspection).stdout.split()
        other.run("%load_ext cwnotify")
        loaded = other.run(inspection).stdout.split()
        other.run("%reload_ext cwnotify")
        other.run("%unload_ext cwnotify")
        after = other.run(inspection).stdout.split()

    assert (set(before), set(loaded), set(after)) == ({"False"}, {"True"}, {"False"})
