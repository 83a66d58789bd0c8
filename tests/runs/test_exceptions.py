"""The description of an exception in an alert, however hostile the exception is."""

from __future__ import annotations

import asyncio
import builtins
import linecache
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

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


def catch(code: str, filename: str = "/home/me/train.py", **names: object) -> BaseException:
    """Return the exception that `code` raises, as if it were in `filename`."""
    linecache.cache[filename] = (len(code), None, code.splitlines(keepends=True), filename)
    try:
        exec(compile(code, filename, "exec"), {"__name__": "__main__", **names})
    except BaseException as error:
        trace = sys.exc_info()[2]
        assert trace
        # Without the frame of this function.
        return BaseException.with_traceback(error, trace.tb_next)
    raise AssertionError("it raised nothing")


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
def test_outcome_follows_from_the_exception(error: BaseException | None, outcome: Outcome) -> None:
    assert determine_outcome(error) is outcome


def test_description_holds_type_message_and_last_frames() -> None:
    error = catch("def train(model):\n    loss = model / 0\n\ntrain(1)\n")

    assert describe_exception(error) == RunFailure(
        "ZeroDivisionError",
        "division by zero",
        "train.py, line 4, in <module>\n    train(1)\ntrain.py, line 2, in train\n    loss = model / 0",
    )


@pytest.mark.parametrize("filename", ["<ipython-input-11-abc>", "/tmp/ipykernel_4242/123.py"])
def test_frames_of_the_cell_show_its_number(filename: str) -> None:
    error = catch("1 / 0", filename)

    assert describe_exception(error, cell=11).frames == "In [11], line 1, in <module>\n    1 / 0"
    assert describe_exception(error).frames == "the cell, line 1, in <module>\n    1 / 0"


def test_frames_of_machinery_are_left_out() -> None:
    names: dict[str, Callable[..., Any]] = {}
    exec(compile("def work():\n    1 / 0\n", "/home/me/loop.py", "exec"), names)
    error = catch("work()", "/venv/site-packages/IPython/core/shell.py", work=names["work"])

    assert describe_exception(error).frames == "loop.py, line 2, in work"


def test_only_frames_of_this_package_are_own_machinery() -> None:
    error = catch("1 / 0", "/home/me/cwnotify/train.py", work=lambda: None)

    with pytest.raises(UsageError) as usage_error:
        parse_duration("soon")
    assert describe_exception(error).frames.startswith("train.py, line 1")
    assert "options.py" not in describe_exception(usage_error.value).frames


def test_last_frame_is_shown_if_all_are_machinery() -> None:
    error = catch("1 / 0", "/venv/site-packages/IPython/core/magic.py")

    assert describe_exception(error).frames.startswith("IPython/core/magic.py, line 1")


def test_recursion_is_shown_once_with_its_depth() -> None:
    error = catch("def deeper():\n    deeper()\n\ndeeper()\n")

    lines = describe_exception(error).frames.splitlines()

    assert lines[:2] == ["train.py, line 4, in <module>", "    deeper()"]
    assert re.fullmatch(r"train.py, line 2, in deeper \(\d{3,4} times\)", lines[2])
    assert lines[3:] == ["    deeper()"]


def test_long_line_and_long_message_are_cut() -> None:
    failure = describe_exception(catch("raise ValueError('x' * 10**7)  # " + "y" * 2000))

    assert failure.message.rstrip("…") == "x" * (MAX_ERROR_MESSAGE_LENGTH + REDACTION_MARGIN)
    assert max(map(len, failure.frames.splitlines())) == len("    ") + MAX_FRAME_LINE_LENGTH + REDACTION_MARGIN


def test_exception_that_was_never_raised_has_no_frames() -> None:
    assert describe_exception(ValueError("why")) == RunFailure("ValueError", "why", "")


def test_syntax_error_shows_its_line_and_no_frames_of_the_compiler() -> None:
    with pytest.raises(SyntaxError) as syntax_error:
        compile("x = 1\nif x\n    pass\n", "<ipython-input-3-abc>", "exec")

    assert describe_exception(syntax_error.value, cell=3) == RunFailure(
        "SyntaxError", "expected ':'", "In [3], line 2\n    if x"
    )


@pytest.mark.parametrize("error", [SyntaxError(), SyntaxError("why"), SyntaxError("why", ("f", None, None, None))])
def test_syntax_error_without_a_place_has_no_frames(error: SyntaxError) -> None:
    failure = describe_exception(error)

    assert failure.type == "SyntaxError"
    assert failure.frames == ""


@given(any_text())
def test_any_message_is_shown(message: str) -> None:
    failure = describe_exception(ValueError(message))

    lines = message.strip("\n")[:MAX_UNREDACTED_MESSAGE].split("\n")
    assert failure.message.split("\n")[0].startswith(lines[0])
    assert len(failure.message) <= MAX_UNREDACTED_MESSAGE + 3
    assert failure.message.count("\n") < MAX_FAILURE_LINES


# Hostile exceptions


class NamelessType(type):
    """A class whose name cannot be read."""

    @property
    def __name__(cls) -> NoReturn:  # type: ignore[override]
        raise RuntimeError("no name")


class NamelessError(Exception, metaclass=NamelessType):
    """The name of its class raises."""


class MisnamedError(Exception):
    """Its class has a very long name."""


MisnamedError.__name__ = "X" * 10**6


class RaisingError(Exception):
    """Its text raises."""

    def __str__(self) -> str:
        raise ValueError("no text")


class ExitingError(Exception):
    """Its text ends the program."""

    def __str__(self) -> str:
        raise SystemExit(3)


class InterruptingError(Exception):
    """Its text is interrupted."""

    def __str__(self) -> str:
        raise KeyboardInterrupt


class EndlessError(Exception):
    """Its text recurses."""

    def __str__(self) -> str:
        return str(self)


class WrongTypeError(Exception):
    """Its text is a number."""

    def __str__(self) -> Any:
        return 3


class BadString(str):
    """A string whose items and length cannot be read."""

    def __getitem__(self, index: object) -> NoReturn:
        raise RuntimeError("no items")

    def __len__(self) -> int:
        raise RuntimeError("no length")


class UncutError(Exception):
    """Its text is an instance of a hostile string class."""

    def __str__(self) -> str:
        return BadString("x" * 10**5)


class NoTracebackError(Exception):
    """Its traceback cannot be read."""

    @property
    def __traceback__(self) -> NoReturn:  # type: ignore[override]
        raise RuntimeError("no traceback")


class LyingTracebackError(Exception):
    """Its traceback is a number."""

    __traceback__ = 3  # type: ignore[assignment]


class LyingClassError(Exception):
    """Its class cannot be read."""

    @property  # type: ignore[misc]
    def __class__(self) -> NoReturn:  # type: ignore[override]
        raise RuntimeError("no class")


class BadSyntaxError(SyntaxError):
    """A syntax error whose attributes raise."""

    msg = property(lambda self: 1 / 0)
    lineno = property(lambda self: 1 / 0)
    filename = property(lambda self: 1 / 0)


HOSTILE = [
    NamelessError,
    MisnamedError,
    RaisingError,
    ExitingError,
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
def test_hostile_exception_is_described(kind: type[Exception]) -> None:
    error = catch("raise kind('why')", kind=kind)

    assert determine_outcome(error) is Outcome.FAILED
    failure = describe_exception(error, cell=3)

    parts = (failure.type, failure.message, failure.frames)
    assert [type(part) for part in parts] == [str] * 3
    assert failure.type
    assert len(failure.type) <= MAX_ERROR_TYPE_LENGTH + REDACTION_MARGIN
    assert len(failure.message) <= MAX_FAILURE_LINES * (MAX_UNREDACTED_MESSAGE + 1)
    assert len(failure.frames) < 20_000


def test_unreadable_message_is_replaced_and_the_rest_shown() -> None:
    failure = describe_exception(catch("raise kind()", kind=RaisingError))

    assert failure == RunFailure(
        "RaisingError", "(its message cannot be shown)", "train.py, line 1, in <module>\n    raise kind()"
    )


def test_unreadable_source_is_left_out() -> None:
    class Loader:
        def get_source(self, name: str) -> str:
            raise KeyboardInterrupt

    error = catch("raise ValueError('why')", "/home/me/zipped.py", __loader__=Loader())
    linecache.cache.pop("/home/me/zipped.py")

    assert describe_exception(error).frames == "zipped.py, line 1, in <module>"


@pytest.mark.parametrize(
    "kind", [kind for kind in vars(builtins).values() if isinstance(kind, type) and issubclass(kind, BaseException)]
)
def test_every_builtin_exception_is_described(kind: type[BaseException]) -> None:
    arguments: dict[str, tuple[object, ...]] = {
        "UnicodeDecodeError": ("utf-8", b"\xff", 0, 1, "why"),
        "UnicodeEncodeError": ("ascii", "가", 0, 1, "why"),
    }
    arguments["UnicodeTranslateError"] = ("가", 0, 1, "why")
    group_arguments = ("why", [ValueError() if kind is ExceptionGroup else KeyboardInterrupt()])
    is_group = issubclass(kind, BaseExceptionGroup)
    error = kind(*(group_arguments if is_group else arguments.get(kind.__name__, ("why",))))

    assert describe_exception(error).type == kind.__name__


def test_description_leaves_the_exception_unchanged() -> None:
    error = catch("raise ValueError('why')")
    before = traceback.format_exception(error)

    describe_exception(error)

    assert traceback.format_exception(error) == before
    assert error.__context__ is None


# Errors in libraries, in other processes, with causes, notes and members

LIBRARY = "/venv/lib/python3.11/site-packages/joblib/parallel.py"


def create_function(code: str, name: str, path: str = LIBRARY) -> Callable[..., Any]:
    """Return the function `name` of a module at `path` with the source `code`."""
    names: dict[str, Callable[..., Any]] = {}
    linecache.cache[path] = (len(code), None, code.splitlines(keepends=True), path)
    exec(compile(code, path, "exec"), {"__name__": "joblib.parallel"}, names)
    return names[name]


def format_lines(failure: RunFailure) -> list[str]:
    """Return the lines of the alert's code block."""
    head = f"{failure.frames}\n" if failure.frames else ""
    return f"{head}{failure.type}: {failure.message}".split("\n")


FIT_SOURCE = (
    "def fit(n):\n    if n: return fit_more(n - 1)\n    raise ValueError('bad shape')\ndef fit_more(n): return fit(n)\n"
)


def test_error_in_a_library_shows_user_frames_and_the_last_frame() -> None:
    names: dict[str, Callable[..., Any]] = {}
    exec(compile(FIT_SOURCE, LIBRARY, "exec"), names)
    error = catch("def train():\n    fit(9)\n\ntrain()\n", "<ipython-input-7-abc>", fit=names["fit"])

    assert format_lines(describe_exception(error, 7)) == [
        "In [7], line 4, in <module>",
        "    train()",
        "In [7], line 2, in train",
        "    fit(9)",
        "joblib/parallel.py, line 3, in fit",
        "ValueError: bad shape",
    ]


def test_frame_of_an_earlier_cell_shows_its_own_number() -> None:
    earlier = create_function("def train():\n    1 / 0\n", "train", "<ipython-input-3-abc>")
    error = catch("train()", "<ipython-input-7-abc>", train=earlier)

    assert format_lines(describe_exception(error, 7))[2] == "In [3], line 2, in train"


def test_deepest_cause_is_shown_with_its_place() -> None:
    code = (
        "def build(config):\n    return config['lr']\n\n"
        "try:\n    try:\n        build({})\n    except KeyError as error:\n"
        "        raise ValueError('bad config') from error\n"
        "except ValueError as error:\n    raise RuntimeError('training failed') from error\n"
    )

    assert format_lines(describe_exception(catch(code))) == [
        "train.py, line 10, in <module>",
        "    raise RuntimeError('training failed') from error",
        "RuntimeError: training failed",
        "Caused by KeyError: 'lr'",
        "train.py, line 6, in <module>",
        "    build({})",
        "train.py, line 2, in build",
        "    return config['lr']",
    ]


def test_error_while_handling_another_shows_both() -> None:
    code = "try:\n    {}['lr']\nexcept KeyError:\n    raise ValueError('no lr')\n"

    assert "While handling KeyError: 'lr'" in format_lines(describe_exception(catch(code)))


def test_suppressed_cause_is_left_out() -> None:
    code = "try:\n    {}['lr']\nexcept KeyError:\n    raise ValueError('no lr') from None\n"

    assert "lr']" not in str(describe_exception(catch(code)))


def test_cause_with_the_same_message_is_left_out() -> None:
    code = "try:\n    {}['lr']\nexcept KeyError as error:\n    raise KeyError('lr') from error\n"

    assert format_lines(describe_exception(catch(code)))[-1] == "KeyError: 'lr'"


def test_notes_are_shown_below_the_message() -> None:
    code = (
        "error = ValueError('bad row')\nerror.add_note('row 17 of train.csv')\nerror.add_note('a\\nb')\nraise error\n"
    )

    assert format_lines(describe_exception(catch(code)))[-4:] == [
        "ValueError: bad row",
        "row 17 of train.csv",
        "a",
        "b",
    ]


def test_members_of_a_group_are_counted_and_the_first_has_a_place() -> None:
    code = (
        "def fetch(n):\n    raise ValueError('bad row') if n else OSError('no disk')\n"
        "errors = []\nfor n in (1, 1, 0):\n    try:\n        fetch(n)\n    except Exception as error:\n"
        "        errors.append(error)\n"
        "raise ExceptionGroup('loading', [errors[0], ExceptionGroup('more', errors[1:])])\n"
    )

    assert format_lines(describe_exception(catch(code)))[2:] == [
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
    """The worker's traceback as text, as in `concurrent.futures` and joblib."""

    def __str__(self) -> str:
        return REMOTE


def test_traceback_of_a_worker_process_is_shown() -> None:
    code = "def retrieve(cause):\n    raise ValueError('invalid literal') from cause\n"
    error = catch(
        "retrieve(cause)",
        "/tmp/ipykernel_1/2.py",
        retrieve=create_function(code, "retrieve"),
        cause=RemoteTracebackError(),
    )

    assert format_lines(describe_exception(error, 5)) == [
        "In [5], line 1, in <module>",
        "    retrieve(cause)",
        "joblib/parallel.py, line 2, in retrieve",
        "    raise ValueError('invalid literal') from cause",
        "ValueError: invalid literal",
        "In another process:",
        "train.py, line 3, in load",
        "    return int(row)",
    ]


def test_traceback_in_the_message_is_shown() -> None:
    message = (
        "Caught KeyError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
        '  File "/venv/lib/python3.11/site-packages/torch/utils/data/_utils/worker.py", line 351, in _worker_loop\n'
        "    data = fetcher.fetch(index)\n"
        '  File "/home/me/data.py", line 12, in __getitem__\n    return self.rows[index]["label"]\n'
        "           ~~~~~~~~~~~~~~~~^^^^^^^^^\nKeyError: 'label'\n"
    )

    error = catch("raise KeyError(message)", message=type("Text", (str,), {"__repr__": str.__str__})(message))
    assert format_lines(describe_exception(error)) == [
        "train.py, line 1, in <module>",
        "    raise KeyError(message)",
        "KeyError: Caught KeyError in DataLoader worker process 0.",
        "Caused by KeyError: 'label'",
        "data.py, line 12, in __getitem__",
        '    return self.rows[index]["label"]',
    ]


def test_first_of_several_tracebacks_in_a_text_is_shown() -> None:
    tracebacks = REMOTE.strip('\n"') + (
        "\n\nThe above exception was the direct cause of the following exception:\n\n"
        "Traceback (most recent call last):\n"
        '  File "/home/me/train.py", line 9, in work\n    raise RuntimeError\nRuntimeError: load failed\n'
    )
    error = catch("raise RuntimeError(message)", message=f"worker 3 failed\n\n{tracebacks}")

    assert format_lines(describe_exception(error))[2:5] == [
        "RuntimeError: worker 3 failed",
        "Caused by ValueError: invalid literal",
        "train.py, line 3, in load",
    ]


def test_error_in_a_process_pool_shows_the_line_in_the_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rows.py").write_text("def load(row):\n    return int(row)\n")
    monkeypatch.syspath_prepend(tmp_path)
    code = (
        "import concurrent.futures, multiprocessing, rows\n"
        "with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context('fork')) as pool:\n"
        "    list(pool.map(rows.load, ['1', 'x']))\n"
    )

    lines = format_lines(describe_exception(catch(code)))

    assert lines[:2] == ["train.py, line 3, in <module>", "    list(pool.map(rows.load, ['1', 'x']))"]
    assert lines[-3:] == ["In another process:", "rows.py, line 2, in load", "    return int(row)"]
    assert len(lines) <= MAX_FAILURE_LINES


def test_cycle_of_causes_ends() -> None:
    first, second = ValueError("first"), TypeError("second")
    first.__cause__, second.__cause__ = second, first

    assert format_lines(describe_exception(first)) == ["ValueError: first", "Caused by TypeError: second"]


LINES = st.lists(
    st.sampled_from(["x", "", '  File "a.py", line 3, in f', "Traceback (most recent call last):", "y" * 3000])
)


@st.composite
def errors(draw: st.DrawFn, depth: int = 3) -> BaseException:
    """Draw an error with notes, causes and members, raised in any kind of place."""
    message = "\n".join(draw(LINES))
    if depth and draw(st.booleans()):
        error: BaseException = BaseExceptionGroup("g", draw(st.lists(errors(depth=0), min_size=1, max_size=5)))
    else:
        error = draw(st.sampled_from([ValueError, KeyError, SyntaxError, KeyboardInterrupt, NoTracebackError]))(message)
    for note in draw(LINES):
        error.add_note(note)
    if draw(st.booleans()):
        error = catch(
            "def f(n):\n    if n: f(n - 1)\n    raise e\nf(3)", draw(st.sampled_from([LIBRARY, "/a.py", "x"])), e=error
        )
    if depth and draw(st.booleans()):
        error.__cause__ = draw(errors(depth=depth - 1))
    if depth and draw(st.booleans()):
        error.__context__ = draw(errors(depth=depth - 1))
    return error


@given(errors())
def test_any_error_fits_the_line_limit(error: BaseException) -> None:
    failure = describe_exception(error, 3)

    assert failure.frames.count("\n") + 1 + failure.message.count("\n") + 1 <= MAX_FAILURE_LINES + (not failure.frames)
    assert len(failure.message) <= MAX_FAILURE_LINES * (MAX_UNREDACTED_MESSAGE + 1)


@pytest.mark.parametrize("place", range(MAX_ERROR_MESSAGE_LENGTH - 25, MAX_ERROR_MESSAGE_LENGTH + 3))
def test_secret_at_the_cut_of_a_long_message_is_redacted(place: int) -> None:
    error = catch(f"raise ValueError('x' * {place} + ' password=hunter2X9hush, ' + 'y' * 5000)")
    run = Run("r1", "", 0.0)

    redacted = redact_run_result(RunResult(run, Outcome.FAILED, 1.0, 1.0, failure=describe_exception(error)))

    assert redacted.failure
    assert "hunt" not in redacted.failure.message
    assert len(redacted.failure.message) <= MAX_ERROR_MESSAGE_LENGTH
