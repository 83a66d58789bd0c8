"""Failures: what an alert can say of an exception, however strange the exception is."""

from __future__ import annotations

import asyncio
import builtins
import linecache
import re
import sys
import traceback
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cwnotify.alerts.events.run_options import parse_duration
from cwnotify.alerts.events.runs import Outcome, Run, RunFailure, RunResult
from cwnotify.alerts.redaction.run_events import redact_run_result
from cwnotify.alerts.text_limits import (
    MAX_ERROR_MESSAGE_LENGTH,
    MAX_ERROR_TYPE_LENGTH,
    MAX_FRAME_LINE_LENGTH,
    REDACTION_MARGIN,
)
from cwnotify.errors import UsageError
from cwnotify.runs.exceptions import MAX_FAILURE_LINES, MAX_UNREDACTED_MESSAGE, describe_exception
from cwnotify.runs.outcome import determine_outcome
from tests.support.events import any_text


def raised(code: str, filename: str = "/home/me/train.py", **names: object) -> BaseException:
    """What running `code` raises, as if it stood in `filename`."""
    linecache.cache[filename] = (len(code), None, code.splitlines(keepends=True), filename)
    try:
        exec(compile(code, filename, "exec"), {"__name__": "__main__", **names})
    except BaseException as error:
        # Without this function's own frame.
        return BaseException.with_traceback(error, sys.exc_info()[2].tb_next)
    raise AssertionError("it raised nothing")


# How it ended


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, Outcome.FINISHED),
        (KeyboardInterrupt(), Outcome.INTERRUPTED),
        (asyncio.CancelledError(), Outcome.FAILED),
        (ValueError(), Outcome.FAILED),
        (SystemExit(0), Outcome.FAILED),
        (GeneratorExit(), Outcome.FAILED),
        (MemoryError(), Outcome.FAILED),
        (ExceptionGroup("several", [ValueError()]), Outcome.FAILED),
        (type("Mine", (KeyboardInterrupt,), {})(), Outcome.INTERRUPTED),
    ],
    ids=repr,
)
def test_the_outcome_follows_from_the_exception(error, outcome):
    assert determine_outcome(error) is outcome


# What is told


def test_the_type_the_message_and_the_users_last_frames_are_told():
    error = raised("def train(model):\n    loss = model / 0\n\ntrain(1)\n")

    assert describe_exception(error) == RunFailure(
        "ZeroDivisionError",
        "division by zero",
        "train.py, line 4, in <module>\n    train(1)\ntrain.py, line 2, in train\n    loss = model / 0",
    )


@pytest.mark.parametrize("filename", ["<ipython-input-11-abc>", "/tmp/ipykernel_4242/123.py"])
def test_frames_of_the_cell_are_called_by_its_number(filename):
    error = raised("1 / 0", filename)

    assert describe_exception(error, cell=11).frames == "In [11], line 1, in <module>\n    1 / 0"
    assert describe_exception(error).frames == "the cell, line 1, in <module>\n    1 / 0"


def test_machinery_between_the_code_and_the_top_is_left_out():
    inner = "def work():\n    1 / 0\n"
    names: dict[str, Callable] = {}
    exec(compile(inner, "/home/me/loop.py", "exec"), names)
    error = raised("work()", "/venv/site-packages/IPython/core/shell.py", work=names["work"])

    assert describe_exception(error).frames == "loop.py, line 2, in work"


def test_only_our_own_package_is_machinery_of_ours():
    error = raised("1 / 0", "/home/me/cwnotify/train.py", work=lambda: None)

    with pytest.raises(UsageError) as caught:
        parse_duration("soon")
    assert describe_exception(error).frames.startswith("train.py, line 1")
    assert "options.py" not in describe_exception(caught.value).frames


def test_where_there_is_nothing_but_machinery_its_last_frame_is_told():
    error = raised("1 / 0", "/venv/site-packages/IPython/core/magic.py")

    assert describe_exception(error).frames.startswith("IPython/core/magic.py, line 1")


def test_a_deep_recursion_is_told_once_with_its_depth():
    error = raised("def deeper():\n    deeper()\n\ndeeper()\n")

    lines = describe_exception(error).frames.splitlines()

    assert lines[:2] == ["train.py, line 4, in <module>", "    deeper()"]
    assert re.fullmatch(r"train.py, line 2, in deeper \(\d{3,4} times\)", lines[2])
    assert lines[3:] == ["    deeper()"]


def test_a_long_line_and_a_long_message_are_cut():
    failure = describe_exception(raised("raise ValueError('x' * 10**7)  # " + "y" * 2000))

    assert failure.message.rstrip("…") == "x" * (MAX_ERROR_MESSAGE_LENGTH + REDACTION_MARGIN)
    assert max(map(len, failure.frames.splitlines())) == len("    ") + MAX_FRAME_LINE_LENGTH + REDACTION_MARGIN


def test_an_exception_that_was_never_raised_has_no_frames():
    assert describe_exception(ValueError("why")) == RunFailure("ValueError", "why", "")


def test_a_syntax_error_is_told_with_its_line_and_not_with_the_frames_of_the_compiler():
    with pytest.raises(SyntaxError) as caught:
        compile("x = 1\nif x\n    pass\n", "<ipython-input-3-abc>", "exec")

    assert describe_exception(caught.value, cell=3) == RunFailure(
        "SyntaxError", "expected ':'", "In [3], line 2\n    if x"
    )


@pytest.mark.parametrize("error", [SyntaxError(), SyntaxError("why"), SyntaxError("why", ("f", None, None, None))])
def test_a_syntax_error_that_somebody_made_up_is_told_too(error):
    failure = describe_exception(error)

    assert failure.type == "SyntaxError"
    assert failure.frames == ""


@given(any_text())
def test_any_message_is_told(message):
    failure = describe_exception(ValueError(message))

    lines = message.strip("\n")[:MAX_UNREDACTED_MESSAGE].split("\n")
    assert failure.message.split("\n")[0].startswith(lines[0])
    assert len(failure.message) <= MAX_UNREDACTED_MESSAGE + 3
    assert failure.message.count("\n") < MAX_FAILURE_LINES


# Hostile exceptions


class Refuses(type):
    """A class that does not tell its name."""

    @property
    def __name__(cls):
        raise RuntimeError("no name")


class NamelessError(Exception, metaclass=Refuses):
    """Its class raises when asked for its name."""


class MisnamedError(Exception):
    """Its class bears any number of names."""


MisnamedError.__name__ = "X" * 10**6


class RaisingError(Exception):
    """Cannot be shown."""

    def __str__(self) -> str:
        raise ValueError("not even this")


class LeavingError(Exception):
    """Ends the program when it is shown."""

    def __str__(self) -> str:
        raise SystemExit(3)


class InterruptingError(Exception):
    """Is interrupted while it is being shown."""

    def __str__(self) -> str:
        raise KeyboardInterrupt


class EndlessError(Exception):
    """Recurses when it is shown."""

    def __str__(self) -> str:
        return str(self)


class WrongTypeError(Exception):
    """Shows itself as a number."""

    def __str__(self):
        return 3


class BadString(str):
    """A string that cannot be cut."""

    def __getitem__(self, index):
        raise RuntimeError("do not touch")

    def __len__(self) -> int:
        raise RuntimeError("do not measure")


class UncutError(Exception):
    """Its message is a string of its own kind."""

    def __str__(self) -> str:
        return BadString("x" * 10**5)


class NoTracebackError(Exception):
    """Hides where it came from."""

    @property
    def __traceback__(self):
        raise RuntimeError("nowhere")


class LyingTracebackError(Exception):
    """Says that it came from a number."""

    __traceback__ = 3


class LyingClassError(Exception):
    """Raises when asked what it is."""

    @property
    def __class__(self):
        raise RuntimeError("nothing")


class BadSyntaxError(SyntaxError):
    """A syntax error of which every part is bad."""

    msg = property(lambda self: 1 / 0)
    lineno = property(lambda self: 1 / 0)
    filename = property(lambda self: 1 / 0)


HOSTILE = [
    NamelessError,
    MisnamedError,
    RaisingError,
    LeavingError,
    InterruptingError,
    EndlessError,
    WrongTypeError,
    UncutError,
    NoTracebackError,
    LyingTracebackError,
    LyingClassError,
    BadSyntaxError,
]


@pytest.mark.parametrize("kind", HOSTILE, ids=range(len(HOSTILE)))
def test_no_exception_can_break_its_description(kind):
    error = raised("raise kind('why')", kind=kind)

    assert determine_outcome(error) is Outcome.FAILED
    failure = describe_exception(error, cell=3)

    parts = (failure.type, failure.message, failure.frames)
    assert [type(part) for part in parts] == [str] * 3
    assert failure.type
    assert len(failure.type) <= MAX_ERROR_TYPE_LENGTH + REDACTION_MARGIN
    assert len(failure.message) <= MAX_FAILURE_LINES * (MAX_UNREDACTED_MESSAGE + 1)
    assert len(failure.frames) < 20_000


def test_what_cannot_be_shown_is_told_as_that_with_all_the_rest():
    failure = describe_exception(raised("raise kind()", kind=RaisingError))

    assert failure == RunFailure(
        "RaisingError", "(its message cannot be shown)", "train.py, line 1, in <module>\n    raise kind()"
    )


def test_a_source_that_cannot_be_read_costs_only_the_source():
    class Loader:
        def get_source(self, name: str) -> str:
            raise KeyboardInterrupt

    error = raised("raise ValueError('why')", "/home/me/zipped.py", __loader__=Loader())
    linecache.cache.pop("/home/me/zipped.py")

    assert describe_exception(error).frames == "zipped.py, line 1, in <module>"


@pytest.mark.parametrize(
    "kind", [kind for kind in vars(builtins).values() if isinstance(kind, type) and issubclass(kind, BaseException)]
)
def test_every_exception_of_pythons_own_is_described(kind):
    made = {"UnicodeDecodeError": ("utf-8", b"\xff", 0, 1, "why"), "UnicodeEncodeError": ("ascii", "가", 0, 1, "why")}
    made["UnicodeTranslateError"] = ("가", 0, 1, "why")
    groups = ("why", [ValueError() if kind is ExceptionGroup else KeyboardInterrupt()])
    error = kind(*(groups if issubclass(kind, BaseExceptionGroup) else made.get(kind.__name__, ("why",))))

    assert describe_exception(error).type == kind.__name__


def test_describing_leaves_the_exception_as_it_was():
    error = raised("raise ValueError('why')")
    before = traceback.format_exception(error)

    describe_exception(error)

    assert traceback.format_exception(error) == before
    assert error.__context__ is None


# Errors in libraries, in other processes, with causes, notes and members

LIBRARY = "/venv/lib/python3.11/site-packages/joblib/parallel.py"


def library(code: str, name: str, path: str = LIBRARY) -> Callable:
    """The function `name` of a library that holds `code`."""
    names: dict[str, Callable] = {}
    linecache.cache[path] = (len(code), None, code.splitlines(keepends=True), path)
    exec(compile(code, path, "exec"), {"__name__": "joblib.parallel"}, names)
    return names[name]


def text(failure: RunFailure) -> list[str]:
    """What the alert shows in its code block, line by line."""
    head = f"{failure.frames}\n" if failure.frames else ""
    return f"{head}{failure.type}: {failure.message}".split("\n")


DEEP = (
    "def fit(n):\n    if n: return fit_more(n - 1)\n    raise ValueError('bad shape')\ndef fit_more(n): return fit(n)\n"
)


def test_of_an_error_deep_in_a_library_the_users_line_and_the_last_frame_are_told():
    names: dict[str, Callable] = {}
    exec(compile(DEEP, LIBRARY, "exec"), names)
    error = raised("def train():\n    fit(9)\n\ntrain()\n", "<ipython-input-7-abc>", fit=names["fit"])

    assert text(describe_exception(error, 7)) == [
        "In [7], line 4, in <module>",
        "    train()",
        "In [7], line 2, in train",
        "    fit(9)",
        "joblib/parallel.py, line 3, in fit",
        "ValueError: bad shape",
    ]


def test_a_frame_of_an_earlier_cell_is_called_by_its_own_number():
    earlier = library("def train():\n    1 / 0\n", "train", "<ipython-input-3-abc>")
    error = raised("train()", "<ipython-input-7-abc>", train=earlier)

    assert text(describe_exception(error, 7))[2] == "In [3], line 2, in train"


def test_the_deepest_cause_is_told_with_its_place():
    code = (
        "def build(config):\n    return config['lr']\n\n"
        "try:\n    try:\n        build({})\n    except KeyError as error:\n"
        "        raise ValueError('bad config') from error\n"
        "except ValueError as error:\n    raise RuntimeError('training failed') from error\n"
    )

    assert text(describe_exception(raised(code))) == [
        "train.py, line 10, in <module>",
        "    raise RuntimeError('training failed') from error",
        "RuntimeError: training failed",
        "Caused by KeyError: 'lr'",
        "train.py, line 6, in <module>",
        "    build({})",
        "train.py, line 2, in build",
        "    return config['lr']",
    ]


def test_an_error_while_another_is_handled_tells_of_that_one():
    code = "try:\n    {}['lr']\nexcept KeyError:\n    raise ValueError('no lr')\n"

    assert "While handling KeyError: 'lr'" in text(describe_exception(raised(code)))


def test_what_a_cause_was_hidden_for_stays_hidden():
    code = "try:\n    {}['lr']\nexcept KeyError:\n    raise ValueError('no lr') from None\n"

    assert "lr']" not in str(describe_exception(raised(code)))


def test_a_cause_that_says_the_same_is_told_once():
    code = "try:\n    {}['lr']\nexcept KeyError as error:\n    raise KeyError('lr') from error\n"

    assert text(describe_exception(raised(code)))[-1] == "KeyError: 'lr'"


def test_notes_are_told_below_the_message():
    code = (
        "error = ValueError('bad row')\nerror.add_note('row 17 of train.csv')\nerror.add_note('a\\nb')\nraise error\n"
    )

    assert text(describe_exception(raised(code)))[-4:] == ["ValueError: bad row", "row 17 of train.csv", "a", "b"]


def test_the_members_of_a_group_are_counted_and_the_first_is_placed():
    code = (
        "def fetch(n):\n    raise ValueError('bad row') if n else OSError('no disk')\n"
        "errors = []\nfor n in (1, 1, 0):\n    try:\n        fetch(n)\n    except Exception as error:\n"
        "        errors.append(error)\n"
        "raise ExceptionGroup('loading', [errors[0], ExceptionGroup('more', errors[1:])])\n"
    )

    assert text(describe_exception(raised(code)))[2:] == [
        "ExceptionGroup: loading (2 sub-exceptions)",
        "2 × ValueError: bad row",
        "train.py, line 2, in fetch",
        "    raise ValueError('bad row') if n else OSError('no disk')",
        "1 × OSError: no disk",
    ]


REMOTE = '''
"""
Traceback (most recent call last):
  File "/venv/lib/python3.11/site-packages/joblib/externals/loky/process_executor.py", line 428, in _process_worker
    r = call_item()
        ^^^^^^^^^^^
  File "/home/me/train.py", line 3, in load
    return int(row)
           ^^^^^^^^
ValueError: invalid literal
"""'''


class RemoteTracebackError(Exception):
    """As `concurrent.futures` and joblib have it: the worker's traceback as text."""

    def __str__(self) -> str:
        return REMOTE


def test_a_workers_traceback_is_read():
    code = "def retrieve(cause):\n    raise ValueError('invalid literal') from cause\n"
    error = raised(
        "retrieve(cause)", "/tmp/ipykernel_1/2.py", retrieve=library(code, "retrieve"), cause=RemoteTracebackError()
    )

    assert text(describe_exception(error, 5)) == [
        "In [5], line 1, in <module>",
        "    retrieve(cause)",
        "joblib/parallel.py, line 2, in retrieve",
        "    raise ValueError('invalid literal') from cause",
        "ValueError: invalid literal",
        "In another process:",
        "train.py, line 3, in load",
        "    return int(row)",
    ]


def test_a_traceback_in_the_message_is_read():
    message = (
        "Caught KeyError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
        '  File "/venv/lib/python3.11/site-packages/torch/utils/data/_utils/worker.py", line 351, in _worker_loop\n'
        "    data = fetcher.fetch(index)\n"
        '  File "/home/me/data.py", line 12, in __getitem__\n    return self.rows[index]["label"]\n'
        "           ~~~~~~~~~~~~~~~~^^^^^^^^^\nKeyError: 'label'\n"
    )

    assert text(
        describe_exception(
            raised("raise KeyError(message)", message=type("Said", (str,), {"__repr__": str.__str__})(message))
        )
    ) == [
        "train.py, line 1, in <module>",
        "    raise KeyError(message)",
        "KeyError: Caught KeyError in DataLoader worker process 0.",
        "Caused by KeyError: 'label'",
        "data.py, line 12, in __getitem__",
        '    return self.rows[index]["label"]',
    ]


def test_of_several_tracebacks_in_a_text_the_first_is_the_deepest():
    text_of_two = REMOTE.strip('\n"') + (
        "\n\nThe above exception was the direct cause of the following exception:\n\n"
        "Traceback (most recent call last):\n"
        '  File "/home/me/train.py", line 9, in work\n    raise RuntimeError\nRuntimeError: load failed\n'
    )
    error = raised("raise RuntimeError(said)", said=f"worker 3 failed\n\n{text_of_two}")

    assert text(describe_exception(error))[2:5] == [
        "RuntimeError: worker 3 failed",
        "Caused by ValueError: invalid literal",
        "train.py, line 3, in load",
    ]


def test_a_pool_of_processes_names_the_workers_line(tmp_path, monkeypatch):
    (tmp_path / "rows.py").write_text("def load(row):\n    return int(row)\n")
    monkeypatch.syspath_prepend(tmp_path)
    code = (
        "import concurrent.futures, multiprocessing, rows\n"
        "with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context('fork')) as pool:\n"
        "    list(pool.map(rows.load, ['1', 'x']))\n"
    )

    lines = text(describe_exception(raised(code)))

    assert lines[:2] == ["train.py, line 3, in <module>", "    list(pool.map(rows.load, ['1', 'x']))"]
    assert lines[-3:] == ["In another process:", "rows.py, line 2, in load", "    return int(row)"]
    assert len(lines) <= MAX_FAILURE_LINES


def test_a_cycle_of_causes_ends():
    one, other = ValueError("one"), TypeError("other")
    one.__cause__, other.__cause__ = other, one

    assert text(describe_exception(one)) == ["ValueError: one", "Caused by TypeError: other"]


LINES = st.lists(
    st.sampled_from(["x", "", '  File "a.py", line 3, in f', "Traceback (most recent call last):", "y" * 3000])
)


@st.composite
def errors(draw: st.DrawFn, depth: int = 3) -> BaseException:
    """An error with notes, causes and members, raised in places of all kinds."""
    message = "\n".join(draw(LINES))
    if depth and draw(st.booleans()):
        error: BaseException = BaseExceptionGroup("g", draw(st.lists(errors(depth=0), min_size=1, max_size=5)))
    else:
        error = draw(st.sampled_from([ValueError, KeyError, SyntaxError, KeyboardInterrupt, NoTracebackError]))(message)
    for note in draw(LINES):
        error.add_note(note)
    if draw(st.booleans()):
        error = raised(
            "def f(n):\n    if n: f(n - 1)\n    raise e\nf(3)", draw(st.sampled_from([LIBRARY, "/a.py", "x"])), e=error
        )
    if depth and draw(st.booleans()):
        error.__cause__ = draw(errors(depth=depth - 1))
    if depth and draw(st.booleans()):
        error.__context__ = draw(errors(depth=depth - 1))
    return error


@given(errors())
def test_whatever_it_is_it_takes_twelve_lines(error):
    failure = describe_exception(error, 3)

    assert failure.frames.count("\n") + 1 + failure.message.count("\n") + 1 <= MAX_FAILURE_LINES + (not failure.frames)
    assert len(failure.message) <= MAX_FAILURE_LINES * (MAX_UNREDACTED_MESSAGE + 1)


@pytest.mark.parametrize("place", range(MAX_ERROR_MESSAGE_LENGTH - 25, MAX_ERROR_MESSAGE_LENGTH + 3))
def test_a_secret_at_the_end_of_a_long_message_is_whole_until_it_is_redacted(place):
    error = raised(f"raise ValueError('x' * {place} + ' password=hunter2X9hush, ' + 'y' * 5000)")
    run = Run("r1", "", 0.0)

    after = redact_run_result(RunResult(run, Outcome.FAILED, 1.0, 1.0, failure=describe_exception(error)))

    assert "hunt" not in after.failure.message
    assert len(after.failure.message) <= MAX_ERROR_MESSAGE_LENGTH
