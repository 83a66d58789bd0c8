"""A registered cell behaves as without the header: each cell runs with and without it, in one real kernel.

The tests compare what a front end receives (outputs, tracebacks, prompt numbers), then check the alert.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from cwnotify.sidecar.alert_writer import INSTANCE_LOOKUP_TIMEOUT
from tests.support.kernel import (
    LONG_RUNNING_CODE,
    CellResult,
    Kernel,
    World,
    alert_outcome,
    alert_text,
    delivered_alerts,
    wait_for_alert,
)
from tests.support.slack import Payload, Slack

NAMES = (f"c{number}" for number in count(1))


@pytest.fixture(scope="module")
def slack() -> Iterator[Slack]:
    with Slack() as slack:
        yield slack


@pytest.fixture(scope="module")
def kernel(slack: Slack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    with World(tmp_path_factory.mktemp("world"), slack.url) as world, Kernel(world) as kernel:
        kernel.run("%load_ext cwnotify")
        # IPython prints only once how to exit.
        kernel.run("import sys\nsys.exit(3)")
        yield kernel


@pytest.fixture
def name() -> str:
    return next(NAMES)


def wait_for_only_alert(kernel: Kernel, slack: Slack, name: str) -> Payload:
    """Return the alert about `name` after a later run's alert, when a second one would have arrived."""
    wait_for_alert(slack, name)
    wait_for_pending_alerts(kernel, slack)
    return wait_for_alert(slack, name)


def wait_for_pending_alerts(kernel: Kernel, slack: Slack) -> None:
    """Wait for the alert of one more run. Alerts are sent in order, so all earlier ones have arrived."""
    name = next(NAMES)
    kernel.run(f"%%notify_on_finish {name}")
    wait_for_alert(slack, name)


def visible_outputs(result: CellResult, with_tracebacks: bool = True) -> list[object]:
    """Return what the user sees, without what differs between any two runs of a cell.

    Parameters
    ----------
    with_tracebacks
        Whether to include the tracebacks. Their line 1, which is the header, is always left out.
    """
    outputs: list[object] = [result.status, result.pager_text]
    for output in result.outputs:
        if output["output_type"] == "stream":
            outputs.append((output["name"], normalize(output["text"])))
        elif output["output_type"] != "error":
            outputs.append((output["output_type"], output["data"], output["metadata"]))
    for error in result.errors:
        trace = re.sub(r"(?m)^(-+> |\s+)1 .*$", r"\g<1>1", normalize(error.traceback))
        outputs.append((error.name, normalize(error.message), trace if with_tracebacks else ""))
    return outputs


def normalize(text: str) -> str:
    """Return `text` without prompt numbers, the names of the cells' files, timings and addresses."""
    text = re.sub(r"In\s?\[\d+\]", "In [N]", text)
    text = re.sub(r"ipykernel_\d+/\d+\.py|\b\d+\.py", "FILE", text)
    text = re.sub(r"\d+(\.\d+)?(e[+-]\d+)? (ns|[uµμ]s|ms|s)\b", "TIME", text)
    return re.sub(r"0x[0-9a-f]+", "ADDRESS", text)


@dataclass(frozen=True)
class Case:
    """A cell's body, and the outcome that the alert must report."""

    body: str
    outcome: str = "finished"


CELLS = {
    "last value": Case("x = 20\nx + 1"),
    "no value": Case("x = 20"),
    "semicolon hides the value": Case("'hidden';"),
    "None is not shown": Case("None"),
    "rich value": Case("from IPython.display import HTML\nHTML('<b>bold</b>')"),
    "display": Case("display(1)\ndisplay('two')\n3"),
    "both streams": Case("import sys\nprint('out')\nprint('err', file=sys.stderr)\nprint('out again')"),
    "error": Case("def f(n):\n    return 1 / n\n\nprint('before')\nf(0)\nprint('never')", "failed"),
    "error with a cause": Case(
        "try:\n    {}['k']\nexcept KeyError as e:\n    raise RuntimeError('no') from e", "failed"
    ),
    "error on the first line": Case("1 / 0", "failed"),
    "error in a shown value": Case(
        "class Bad:\n    def __repr__(self):\n        raise ValueError('no')\nBad()", "failed"
    ),
    "exception group": Case("raise ExceptionGroup('two', [ValueError('a'), TypeError('b')])", "failed"),
    "assertion": Case("assert 1 == 2, 'they differ'", "failed"),
    "warning": Case("import warnings\nwarnings.warn('mind the gap')\n4"),
    "syntax error": Case("x = 1\nfor for for\ny = 2", "failed"),
    "indentation error": Case("if True:\nx = 1", "failed"),
    "return outside": Case("x = 1\nreturn x", "failed"),
    "SystemExit": Case("import sys\nsys.exit(3)", "failed"),
    "KeyboardInterrupt": Case("raise KeyboardInterrupt", "interrupted"),
    "await": Case("import asyncio\nawait asyncio.sleep(0)\n'awaited'"),
    "async with": Case(
        "import contextlib\n@contextlib.asynccontextmanager\nasync def lent():\n    yield 1\n\n"
        "async with lent() as one:\n    print(one)"
    ),
    "error in await": Case("import asyncio\nasync def f():\n    1 / 0\n\nawait asyncio.sleep(0)\nawait f()", "failed"),
    "system command": Case("!echo from the shell\n!exit 3"),
    "system command's lines": Case("lines = !printf 'a\\nb\\n'\nlines"),
    "line magic": Case("%time 1 + 1\n%who_ls int"),
    "line magic's help": Case("len?"),
    "comments only": Case("# nothing\n\n# to do"),
    "empty": Case(""),
    "blank lines": Case("\n\n"),
    "blank lines before the code": Case("\n\n\n1 / 0", "failed"),
    "docstring first": Case('"""A docstring."""'),
    "docstring and code": Case('"""A\ndocstring."""\nx = 5\nx'),
    "from __future__": Case("from __future__ import annotations\ndef f(x: Unknown): ...\nf.__annotations__"),
    "from __future__ after a docstring": Case(
        '"""A docstring."""\nfrom __future__ import annotations\n1 / 0', "failed"
    ),
    "the magic's name in a string": Case("s = '''\n%%notify_on_finish not me\n'''\ns"),
    "magics in a string": Case("s = '''\n%%time\n!ls\n'''\ns"),
    "long line, continued": Case("x = 1 + \\\n    2\nx"),
    "class with super": Case(
        "class A:\n    def __init__(self):\n        super().__init__()\n        self.x = 1\nA().x"
    ),
    "comprehension sees names": Case("n = 3\n[n for _ in range(2)]"),
    "lambda and global": Case("def g():\n    global made\n    made = (lambda: 7)()\n\ng()\nmade"),
    "nested run_cell": Case("get_ipython().run_cell('inner = 1\\ninner + 1')\ninner"),
    "nested run_cell that fails": Case("done = get_ipython().run_cell('1 / 0')\nprint(done.success)"),
    "non-ASCII": Case("변수 = '값 😀'\n변수"),
}


@pytest.mark.parametrize("case", CELLS.values(), ids=CELLS)
def test_registered_cell_shows_same_outputs(case: Case, kernel: Kernel, slack: Slack, name: str) -> None:
    bare = kernel.run(f"# not registered\n{case.body}")
    registered = kernel.run(f"%%notify_on_finish {name}\n{case.body}")

    assert visible_outputs(registered) == visible_outputs(bare)
    assert bare.execution_count is not None
    assert registered.execution_count == bare.execution_count + 1
    assert alert_outcome(wait_for_only_alert(kernel, slack, name)) == case.outcome


BENEATH = {
    "%%time": Case("%%time\nprint(sum(range(10)))"),
    "%%time with a value": Case("%%time\n40 + 2"),
    "%%time, error": Case("%%time\nprint('before')\n1 / 0", "failed"),
    "%%timeit": Case("%%timeit -n1 -r1 -q\n40 + 2"),
    "%%capture": Case("%%capture captured\nprint('hidden')\n5"),
    "%%capture, error": Case("%%capture captured\nprint('hidden')\n1 / 0", "failed"),
    "%%bash": Case("%%bash\necho from bash"),
    "%%bash, error": Case("%%bash\nexit 3", "failed"),
    "%%writefile": Case("%%writefile /dev/null\nx = 1"),
    "%%html": Case("%%html\n<b>bold</b>"),
    "%%python": Case("%%python\nprint(6 * 7)"),
    "an unknown one": Case("%%no_such_magic\nx", "failed"),
    "two": Case("%%time\n%%capture captured\nprint('hidden')"),
}


@pytest.mark.parametrize("blank", ["", "\n"], ids=["", "after a blank line"])
@pytest.mark.parametrize("case", BENEATH.values(), ids=BENEATH)
def test_cell_magic_below_header_runs_once(case: Case, blank: str, kernel: Kernel, slack: Slack, name: str) -> None:
    bare = kernel.run(case.body)
    registered = kernel.run(f"%%notify_on_finish {name}\n{blank}{case.body}")

    # A frame of the magic names its line, which is one line lower below the header.
    assert visible_outputs(registered, with_tracebacks=False) == visible_outputs(bare, with_tracebacks=False)
    assert alert_outcome(wait_for_only_alert(kernel, slack, name)) == case.outcome


def test_blank_lines_and_indentation_before_header_are_accepted(kernel: Kernel, slack: Slack, name: str) -> None:
    bare = kernel.run("\n\n    # not registered\n    x = 1\n    x + 1")
    registered = kernel.run(f"\n\n    %%notify_on_finish {name}\n    x = 1\n    x + 1")

    assert visible_outputs(registered) == visible_outputs(bare)
    assert alert_outcome(wait_for_only_alert(kernel, slack, name)) == "finished"


def test_traceback_names_lines_of_cell(kernel: Kernel, name: str) -> None:
    error = kernel.run(f"%%notify_on_finish {name}\n\ndef f():\n    1 / 0\n\nf()").error

    listing = [line for line in error.traceback.splitlines() if line.startswith("---->")]
    assert listing == ["----> 6 f()", "----> 4     1 / 0"]


def test_error_stops_run_all(kernel: Kernel, slack: Slack, name: str) -> None:
    statuses = [
        [result.status for result in kernel.run_all("'first'", f"{header}\n1 / 0", "'never run'", "'nor this'")]
        for header in ("# not registered", f"%%notify_on_finish {name}")
    ]

    assert statuses == [["ok", "error", "aborted", "aborted"]] * 2
    assert alert_outcome(wait_for_only_alert(kernel, slack, name)) == "failed"


def test_history_contains_cell_and_value(kernel: Kernel, name: str) -> None:
    kernel.run("'the one before'")
    registered = kernel.run(f"%%notify_on_finish {name}\n40 + 2")
    number = registered.execution_count
    after = kernel.run(f"_, __, Out[{number}], _{number}, In[{number}].splitlines()[1:], _i")
    history = kernel.run(f"%history {number}")

    source = f"%%notify_on_finish {name}\n40 + 2"
    assert after.values == [str((42, "the one before", 42, 42, ["40 + 2"], source))]
    assert history.stdout == f"{source}\n"


SOURCE = "def area(r):\n    # of a circle\n    return 3 * r * r\n"


def test_inspect_finds_source_of_cell(kernel: Kernel, name: str) -> None:
    inspection = "import inspect\nprint(inspect.getsource(area))"
    inside = kernel.run(f"%%notify_on_finish {name}\n{SOURCE}\n{inspection}")
    later = kernel.run(inspection)

    assert (inside.stdout, later.stdout) == (f"{SOURCE}\n",) * 2


def test_function_of_cell_is_pickled_for_other_processes(kernel: Kernel, name: str) -> None:
    result = kernel.run(
        f"%%notify_on_finish {name}\n{SOURCE}\nimport pickle, multiprocessing\n"
        "with multiprocessing.get_context('fork').Pool(2) as pool:\n    mapped = pool.map(area, [1, 2])\n"
        "mapped, pickle.loads(pickle.dumps(area)) is area, area.__module__"
    )

    assert result.values == [str(([3, 12], True, "__main__"))]


def test_cell_leaves_only_its_own_names(kernel: Kernel, name: str) -> None:
    before = set(kernel.run("print(*[n for n in globals() if n[0] != '_'])").stdout.split())
    kernel.run(f"%%notify_on_finish {name} --tail 2 --show mine\nmine = 1")
    after = set(kernel.run("print(*[n for n in globals() if n[0] != '_'])").stdout.split())

    assert after - before == {"mine"}


def test_registered_cell_run_by_other_cell_is_reported_separately(kernel: Kernel, slack: Slack, name: str) -> None:
    inner = next(NAMES)
    result = kernel.run(
        f"%%notify_on_finish {name}\ndone = get_ipython().run_cell('%%notify_on_finish {inner}\\n1 / 0')\ndone.success"
    )

    assert result.values == ["False"]
    assert len(result.errors) == 1
    assert alert_outcome(wait_for_only_alert(kernel, slack, inner)) == "failed"
    assert alert_outcome(wait_for_only_alert(kernel, slack, name)) == "finished"


def test_run_cell_magic_raises_error_of_cell(kernel: Kernel, slack: Slack, name: str) -> None:
    call = f"get_ipython().run_cell_magic('notify_on_finish', '{name}', '1 / 0')"
    caught = kernel.run(f"try:\n    {call}\nexcept ZeroDivisionError as error:\n    print('caught', error)")
    uncaught, after = kernel.run_all(call.replace(name, next(NAMES)), "'never run'")

    assert caught.stdout.endswith("caught division by zero\n")
    assert alert_outcome(wait_for_only_alert(kernel, slack, name)) == "failed"
    assert (uncaught.status, after.status) == ("error", "aborted")


# Options in the header


@pytest.mark.parametrize(
    "options",
    ["--nonsense", "--min soon", "--on sometimes", "--mention @minsu", "--tail -1", "a b", '"no end', "--show"],
)
def test_invalid_options_print_usage_and_cell_runs(options: str, kernel: Kernel, slack: Slack, name: str) -> None:
    before = len(slack.delivered)
    result = kernel.run(f"%%notify_on_finish {options}\n40 + 2")

    assert (result.status, result.values) == ("ok", ["42"])
    assert "usage: %%notify_on_finish [--min DURATION]" in " ".join(result.stderr.split())
    slack.wait_for(before + 1)
    wait_for_pending_alerts(kernel, slack)
    assert [alert_outcome(payload) for payload in slack.payloads[before:]] == ["finished", "finished"]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("%%notify_on_finish --mim 5m\n1", "--mim is not an option; did you mean --min?"),
        ("%%notify_on_finish my run\n1", "unexpected argument 'run'; quote values that contain spaces"),
        ("%%notify_on_finish --help\n1", "for help write %%notify_on_finish?"),
        ("# training\n%%notify_on_finish\n1", "%%notify_on_finish belongs on the first line of its cell"),
        ("%notify_on_finish resnet50", "to send an alert for a whole cell, write two %: %%notify_on_finish resnet50"),
        ("%notify_on_finish", "for a whole cell write two %: %%notify_on_finish"),
        ("%notify_on_finish --mim 5m 1", "--mim is not an option; did you mean --min?"),
        ("%notify_all off", "off is not an option; did you mean --off?"),
        ("%cwnotify doctr", "did you mean %cwnotify doctor?"),
        ("%cwnotify deploy", "all other commands are for a terminal: cwnotify --help"),
        ("%cwnotify help", "%cwnotify login     ask for the Slack webhook"),
        ("%cwnotify login", "this front end has no field to type into; in a terminal: cwnotify login"),
    ],
)
def test_misspelled_option_gets_suggestion(code: str, message: str, kernel: Kernel, slack: Slack) -> None:
    assert message in kernel.run(code).text
    wait_for_pending_alerts(kernel, slack)


@pytest.mark.parametrize("help_request", ["%%notify_on_finish?", "?%%notify_on_finish", "%notify_on_finish?"])
def test_help_lists_options(help_request: str, kernel: Kernel, slack: Slack) -> None:
    before = len(slack.delivered)
    result = kernel.run(help_request)

    assert result.status == "ok"
    for option in ("--min", "--on", "--mention", "--show", "--tail", "--lang", "--channel", "--together"):
        assert option in result.pager_text
    wait_for_pending_alerts(kernel, slack)
    assert len(slack.delivered) == before + 1


def test_lsmagic_lists_magics(kernel: Kernel) -> None:
    listed = kernel.run("%lsmagic").displays or kernel.run("%lsmagic").values

    for magic in ("%%notify_on_finish", "%notify_on_finish", "%notify_all", "%cwnotify"):
        assert magic in listed[0].split()


@dataclass(frozen=True)
class Statement:
    """A statement after ``%notify_on_finish``, its value, and the outcome that the alert must report."""

    code: str
    value: str = ""
    outcome: str = "finished"


@pytest.mark.parametrize(
    "statement",
    [
        Statement("%notify_on_finish len('four')", "4"),
        Statement("x = %notify_on_finish len('four')\nx + 1", "5"),
        Statement("%notify_on_finish --min 0 --on always print('said')"),
        Statement("%notify_on_finish made = 7"),
        Statement("def f(n):\n    return 1 / n\n\n%notify_on_finish f(0)", outcome="failed"),
    ],
    ids=lambda statement: statement.code,
)
def test_statement_is_reported_and_returns_value(statement: Statement, kernel: Kernel, slack: Slack) -> None:
    before = len(slack.delivered)
    result = kernel.run(statement.code)

    assert result.values == ([statement.value] if statement.value else [])
    assert (result.status == "error") == (statement.outcome == "failed")
    slack.wait_for(before + 1)
    wait_for_pending_alerts(kernel, slack)
    assert alert_outcome(slack.payloads[before]) == statement.outcome
    assert len(slack.payloads) == before + 2


@pytest.mark.parametrize(
    ("cell", "output"),
    [
        ("x = 5\n%notify_on_finish print('{x}', '$x', '{{x}}')", "{x} $x {{x}}\n"),
        ("x = 5\n%notify_on_finish print(f'{x + 1}')", "6\n"),
        ("def f(n):\n    %notify_on_finish print(n)\n\nf(3)", "3\n"),
        ("def f(n):\n    %notify_on_finish print(n, x)\n\nx = 9\nf(3)", "3 9\n"),
        ("def f(n):\n    value = %notify_on_finish n + 1\n    print(value)\n\nf(3)", "4\n"),
    ],
)
def test_statement_runs_as_written(cell: str, output: str, kernel: Kernel, slack: Slack) -> None:
    before = len(slack.delivered)
    result = kernel.run(cell)
    timed = kernel.run(cell.replace("%notify_on_finish", "%time"))
    slack.wait_for(before + 1)

    assert result.stdout == output
    assert output in timed.stdout
    assert alert_outcome(slack.payloads[before]) == "finished"


def test_statement_shows_local_names_and_tail(kernel: Kernel, slack: Slack) -> None:
    before = len(slack.delivered)
    kernel.run(
        "def f(rate):\n    for line in ('one', 'two', 'three'):\n        print('outside', line)\n"
        "    %notify_on_finish --tail 2 --show rate print('a\\nb\\nc')\n    print('after')\n\nf(0.25)"
    )
    slack.wait_for(before + 1)
    text = alert_text(slack.payloads[before])

    assert "*rate*\n0.25" in text
    assert "```\nb\nc\n```" in text


def test_braces_in_header_are_evaluated_after_cell(kernel: Kernel, slack: Slack, name: str) -> None:
    kernel.run("epoch = 1")
    kernel.run(f'%%notify_on_finish {name} --show f"{{epoch}}/90", {{"a": epoch}}["a"]\nepoch = 7')

    assert "7/90" in alert_text(wait_for_alert(slack, name))
    assert '*{"a": epoch}["a"]*\n7' in alert_text(wait_for_alert(slack, name))


def test_other_magics_expand_names(kernel: Kernel) -> None:
    assert "does not know 'nothing'" in kernel.run("word = 'nothing'\n%cwnotify {word}").text


def test_statement_assigns_in_notebook(kernel: Kernel, slack: Slack) -> None:
    kernel.run("%notify_on_finish assigned = 7")

    assert kernel.run("assigned").values == ["7"]
    wait_for_alert(slack, "assigned = 7")


def test_notify_all_reports_long_cells_until_off(kernel: Kernel, slack: Slack, name: str) -> None:
    kernel.run("%notify_all --min 0.6s")
    before = len(slack.delivered)
    long = kernel.run("import time\ntime.sleep(0.7)\n'long'")
    short = kernel.run("'short'")
    kernel.run(f"%%notify_on_finish {name}\ntime.sleep(0.7)")
    kernel.run("%notify_all --off")
    kernel.run("time.sleep(0.7)")
    wait_for_pending_alerts(kernel, slack)

    plain, registered, _ = slack.payloads[before:]
    assert f"Cell [{long.execution_count}]" in plain["text"]
    assert alert_outcome(plain) == "finished"
    assert registered == wait_for_alert(slack, name)
    assert short.values == ["'short'"]


def test_notify_all_leaves_failing_cell_unchanged(kernel: Kernel, slack: Slack) -> None:
    kernel.run("%notify_all --min 0")
    before = len(slack.delivered)
    bare = kernel.run("# nothing but a cell\n1 / 0")
    slack.wait_for(before + 1)
    kernel.run("%notify_all --off")

    assert bare.error.name == "ZeroDivisionError"
    assert alert_outcome(slack.payloads[before]) == "failed"
    assert "cwnotify" not in bare.error.traceback


def test_min_suppresses_short_cell(kernel: Kernel, slack: Slack, name: str) -> None:
    other = next(NAMES)
    kernel.run(f"%%notify_on_finish {name} --min 1h\n1")
    kernel.run(f"%%notify_on_finish {other} --min 0.1s\nimport time; time.sleep(0.15)")

    wait_for_alert(slack, other)
    assert not delivered_alerts(slack, name)


@pytest.mark.parametrize(
    ("when", "body", "is_sent"),
    [
        ("finish", "1", True),
        ("finish", "1 / 0", False),
        ("error", "1", False),
        ("error", "1 / 0", True),
        ("error", "for for for", True),
        ("always", "1", True),
        ("always", "1 / 0", True),
    ],
)
def test_on_selects_outcomes(when: str, body: str, is_sent: bool, kernel: Kernel, slack: Slack, name: str) -> None:
    kernel.run(f"%%notify_on_finish {name} --on {when}\n{body}")
    wait_for_pending_alerts(kernel, slack)

    assert len(delivered_alerts(slack, name)) == is_sent


@pytest.mark.parametrize(
    ("mention", "ping"),
    [
        ("@here", "<!here>"),
        ("@channel", "<!channel>"),
        ("U0123ABCD", "<@U0123ABCD>"),
        ("S0123ABCD", "<!subteam^S0123ABCD>"),
    ],
)
def test_mention_pings(mention: str, ping: str, kernel: Kernel, slack: Slack, name: str) -> None:
    kernel.run(f"%%notify_on_finish {name} --mention {mention}\n1")

    assert wait_for_alert(slack, name)["text"].endswith(f" {ping}")


def test_show_value_that_fails_does_not_reach_cell(kernel: Kernel, slack: Slack, name: str) -> None:
    expressions = 'loss, metrics["acc"], f(1, 2), nowhere, 1 / 0, leave(), "x" * 9000, "a" in metrics, stop()'
    result = kernel.run(
        f"%%notify_on_finish {name} --show {expressions}\n"
        "import sys\nloss, metrics = 0.123456789, {'acc': 0.9}\n"
        "def f(a, b): return a + b\ndef leave(): sys.exit(5)\ndef stop(): raise KeyboardInterrupt\n'value'"
    )
    text = alert_text(wait_for_only_alert(kernel, slack, name))

    assert (result.status, result.values, result.text) == ("ok", ["'value'"], "")
    assert "0.123457" in text
    assert 'metrics["acc"] = 0.9' in text
    assert "f(1, 2) = 3" in text
    assert "nowhere = NameError" in text
    assert "1 / 0 = ZeroDivisionError" in text
    assert "leave() = SystemExit" in text
    assert '"a" in metrics = False' in text
    assert "stop() = KeyboardInterrupt" in text
    assert "x" * 400 in text
    assert "x" * 600 not in text


def test_show_evaluates_after_failed_cell(kernel: Kernel, slack: Slack, name: str) -> None:
    kernel.run(f"%%notify_on_finish {name} --show epoch\nfor epoch in range(9):\n    1 / (5 - epoch)")

    text = alert_text(wait_for_alert(slack, name))
    assert "epoch\n5" in text.replace("*", "")


@dataclass(frozen=True)
class Printed:
    """A cell that prints, the value of ``--tail``, and how the lines in the alert begin."""

    code: str
    tail: int
    lines: str


PRINTED = {
    "both streams": Printed("import sys\nprint('one')\nprint('two', file=sys.stderr)\nprint('three')", 2, "two\nthree"),
    "fewer lines than requested": Printed("print('one')", 5, "one"),
    "no end of line": Printed("print('one')\nprint('two', end='')", 1, "two"),
    "progress bar": Printed(
        "for i in range(101):\n    print(f'\\r{i}% of it', end='', flush=True)\nprint('\\ndone')", 2, "100% of it\ndone"
    ),
    "megabytes": Printed("for i in range(20_000):\n    print('line', i)", 2, "line 19998\nline 19999"),
    "an error after it": Printed("print('one')\n1 / 0", 1, "one"),
    "a magic beneath": Printed("%%time\nprint('one')\nprint('two')", 9, "one\ntwo\nCPU times"),
    "a shell's output": Printed("!echo one; echo two", 1, "two"),
    # A thread of ipykernel's copies what is written to the descriptor, so the cell sleeps briefly.
    "C's own output": Printed("import os, time\nos.system('echo one; echo two')\ntime.sleep(0.1)", 2, "one\ntwo"),
    "the descriptor's": Printed("import os, time\nos.write(1, b'one\\ntwo\\n');\ntime.sleep(0.1)", 1, "two"),
}


@pytest.mark.parametrize("case", PRINTED.values(), ids=PRINTED)
def test_tail_sends_last_lines(case: Printed, kernel: Kernel, slack: Slack, name: str) -> None:
    bare = kernel.run(case.code)
    result = kernel.run(f"%%notify_on_finish {name} --tail {case.tail}\n{case.code}")

    block = alert_text(wait_for_alert(slack, name)).rpartition("Last output")[2]
    assert block.strip("\n`").startswith(case.lines)
    assert visible_outputs(result, with_tracebacks=False) == visible_outputs(bare, with_tracebacks=False)


def test_output_is_not_sent_without_tail(kernel: Kernel, slack: Slack, name: str) -> None:
    kernel.run(f"%%notify_on_finish {name}\nprint('hush')")

    assert "hush" not in alert_text(wait_for_alert(slack, name)).replace("print('hush')", "")


def test_korean_alert(kernel: Kernel, slack: Slack, name: str) -> None:
    result = kernel.run(f"%%notify_on_finish {name} --lang ko\n1 / 0")

    assert f"*{name}* 실행이" in wait_for_alert(slack, name)["text"]
    assert "실패했어요: `ZeroDivisionError`" in wait_for_alert(slack, name)["text"]
    assert result.error.name == "ZeroDivisionError"


def test_channel_is_sent_only_if_set(kernel: Kernel, slack: Slack, name: str) -> None:
    other = next(NAMES)
    kernel.run(f"%%notify_on_finish {name} --channel '#training'\n1")
    kernel.run(f"%%notify_on_finish {other}\n1")

    assert wait_for_alert(slack, name)["channel"] == "#training"
    assert "channel" not in wait_for_alert(slack, other)


def test_alert_names_prompt_number(kernel: Kernel, slack: Slack, name: str) -> None:
    for body in ("1", "1 / 0", "for for for", "%%time\n1"):
        result = kernel.run(f"%%notify_on_finish {name}{name_suffix(body)}\n{body}")

        assert f"In [{result.execution_count}]" in alert_text(wait_for_alert(slack, f"{name}{name_suffix(body)}"))


def name_suffix(body: str) -> str:
    """Return the letters and digits in `body`."""
    return re.sub(r"\W", "", body)


# --together


def combined_cells(*names: str, last: str = "1") -> list[str]:
    """Return cells with ``--together``; `last` is the body of the last one."""
    bodies = ["1"] * (len(names) - 1) + [last]
    return [f"%%notify_on_finish {name} --together\n{body}" for name, body in zip(names, bodies, strict=True)]


def test_together_sends_one_alert_after_two_quiet_seconds(kernel: Kernel, slack: Slack) -> None:
    before = len(slack.delivered)
    names = [next(NAMES) for _ in range(3)]
    kernel.run_all(*combined_cells(*names))
    ended_at = time.time()
    slack.wait_for(before + 1)

    (alert,) = slack.delivered[before:]
    assert 1.9 < alert.at - ended_at < 3.0
    assert "3 cells finished" in alert.payload["text"]
    assert [name for name in names if f"{name} ·" in alert_text(alert.payload)] == names
    wait_for_pending_alerts(kernel, slack)
    assert len(slack.delivered) == before + 2


def test_together_survives_slow_plain_cells_of_run_all(kernel: Kernel, slack: Slack) -> None:
    before = len(slack.delivered)
    names = [next(NAMES) for _ in range(3)]
    first, second, third = combined_cells(*names)
    slow = "import time\ntime.sleep(2.6)"
    kernel.run_all(first, slow, second, "1", third, slow)
    ended_at = time.time()
    slack.wait_for(before + 1)

    (alert,) = slack.delivered[before:]
    assert 1.9 < alert.at - ended_at < 3.0
    assert "3 cells finished" in alert.payload["text"]
    wait_for_pending_alerts(kernel, slack)
    assert len(slack.delivered) == before + 2


def test_together_does_not_wait_for_later_plain_cell(kernel: Kernel, slack: Slack) -> None:
    before = len(slack.delivered)
    kernel.run_all(*combined_cells(next(NAMES), next(NAMES)))
    ended_at = time.time()
    time.sleep(1.2)
    kernel.run("import time\ntime.sleep(2.2)")

    (alert,) = slack.delivered[before:]
    assert alert.at - ended_at < 3.0


def test_together_ends_when_plain_cell_fails(kernel: Kernel, slack: Slack) -> None:
    before = len(slack.delivered)
    names = [next(NAMES) for _ in range(3)]
    first, second, third = combined_cells(*names)
    results = kernel.run_all(first, second, "import time\ntime.sleep(2.6)\n1 / 0", third)
    slack.wait_for(before + 1)

    assert [result.status for result in results] == ["ok", "ok", "error", "aborted"]
    assert "2 cells finished" in slack.delivered[before].payload["text"]


def test_together_reports_failure_at_once(kernel: Kernel, slack: Slack) -> None:
    before = len(slack.delivered)
    names = [next(NAMES) for _ in range(3)]
    results = kernel.run_all(*combined_cells(*names[:2], last="1 / 0"), *combined_cells(names[2]))
    ended_at = time.time()
    slack.wait_for(before + 1)

    (alert,) = slack.delivered[before:]
    assert [result.status for result in results] == ["ok", "error", "aborted"]
    assert alert.at - ended_at < 1.0
    assert f"*{names[1]}* failed" in alert.payload["text"]
    assert f"{names[0]} ·" in alert_text(alert.payload)
    assert names[2] not in alert_text(alert.payload)
    wait_for_pending_alerts(kernel, slack)
    assert len(slack.delivered) == before + 2


def test_together_reports_killed_kernel_at_once(slack: Slack, tmp_path: Path) -> None:
    names = [next(NAMES) for _ in range(2)]
    with World(tmp_path, slack.url) as world, Kernel(world) as kernel:
        kernel.run("%load_ext cwnotify")
        before = len(slack.delivered)
        first, second = combined_cells(*names, last=LONG_RUNNING_CODE)
        kernel.run(first)
        cell = kernel.submit_cell(second)
        cell.wait_for_output("begun")
        killed_at = kernel.kill()
        slack.wait_for(before + 1)
        world.wait_for_sidecars_to_exit()

    (alert,) = slack.delivered[before:]
    # A new sidecar may first look up its instance.
    assert alert.at - killed_at < 1.0 + INSTANCE_LOOKUP_TIMEOUT
    assert f"*{names[1]}* was lost" in alert.payload["text"]
    assert f"{names[0]} ·" in alert_text(alert.payload)
