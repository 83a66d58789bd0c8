"""Failures: what an alert can say of an exception, however strange the exception is."""

from __future__ import annotations

import asyncio
import builtins
import linecache
import sys
import traceback
from collections.abc import Callable

import pytest
from hypothesis import given

from cwnotify.alerts.events import Failure, Outcome, Run, RunEnded
from cwnotify.alerts.limits import MARGIN, MAX_FRAME_LINE, MAX_MESSAGE, MAX_TYPE
from cwnotify.alerts.options import duration
from cwnotify.alerts.scrub import scrub_ended
from cwnotify.errors import UsageError
from cwnotify.failures import MOST_FRAMES, describe, outcome_of
from tests.support.events import texts


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
        (asyncio.CancelledError(), Outcome.INTERRUPTED),
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
    assert outcome_of(error) is outcome


# What is told


def test_the_type_the_message_and_the_users_last_frames_are_told():
    error = raised("def train(model):\n    loss = model / 0\n\ntrain(1)\n")

    assert describe(error) == Failure(
        "ZeroDivisionError",
        "division by zero",
        "train.py, line 4, in <module>\n    train(1)\ntrain.py, line 2, in train\n    loss = model / 0",
    )


@pytest.mark.parametrize("filename", ["<ipython-input-11-abc>", "/tmp/ipykernel_4242/123.py"])
def test_frames_of_the_cell_are_called_by_its_number(filename):
    error = raised("1 / 0", filename)

    assert describe(error, cell=11).frames == "In [11], line 1, in <module>\n    1 / 0"
    assert describe(error).frames == "the cell, line 1, in <module>\n    1 / 0"


def test_machinery_between_the_code_and_the_top_is_left_out():
    inner = "def work():\n    1 / 0\n"
    names: dict[str, Callable] = {}
    exec(compile(inner, "/home/me/loop.py", "exec"), names)
    error = raised("work()", "/venv/site-packages/IPython/core/shell.py", work=names["work"])

    assert describe(error).frames == "loop.py, line 2, in work"


def test_only_our_own_package_is_machinery_of_ours():
    error = raised("1 / 0", "/home/me/cwnotify/train.py", work=lambda: None)

    with pytest.raises(UsageError) as caught:
        duration("soon")
    assert describe(error).frames.startswith("train.py, line 1")
    assert "options.py" not in describe(caught.value).frames


def test_where_there_is_nothing_but_machinery_its_last_frame_is_told():
    error = raised("1 / 0", "/venv/site-packages/IPython/core/magic.py")

    assert describe(error).frames.startswith("magic.py, line 1")


def test_of_a_deep_recursion_the_last_frames_are_told():
    error = raised("def deeper():\n    deeper()\n\ndeeper()\n")

    lines = describe(error).frames.splitlines()

    assert len(lines) == 2 * MOST_FRAMES
    assert set(lines) == {"train.py, line 2, in deeper", "    deeper()"}


def test_a_long_line_and_a_long_message_are_cut():
    failure = describe(raised("raise ValueError('x' * 10**7)  # " + "y" * 2000))

    assert failure.message == "x" * (MAX_MESSAGE + MARGIN)
    assert max(map(len, failure.frames.splitlines())) == len("    ") + MAX_FRAME_LINE + MARGIN


def test_an_exception_that_was_never_raised_has_no_frames():
    assert describe(ValueError("why")) == Failure("ValueError", "why", "")


def test_a_syntax_error_is_told_with_its_line_and_not_with_the_frames_of_the_compiler():
    with pytest.raises(SyntaxError) as caught:
        compile("x = 1\nif x\n    pass\n", "<ipython-input-3-abc>", "exec")

    assert describe(caught.value, cell=3) == Failure("SyntaxError", "expected ':'", "In [3], line 2\n    if x")


@pytest.mark.parametrize("error", [SyntaxError(), SyntaxError("why"), SyntaxError("why", ("f", None, None, None))])
def test_a_syntax_error_that_somebody_made_up_is_told_too(error):
    failure = describe(error)

    assert failure.type == "SyntaxError"
    assert failure.frames == ""


@given(texts())
def test_any_message_is_told(message):
    failure = describe(ValueError(message))

    assert failure.message.startswith(message[:MAX_MESSAGE])
    assert len(failure.message) <= MAX_MESSAGE + MARGIN


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

    assert outcome_of(error) is Outcome.FAILED
    failure = describe(error, cell=3)

    parts = (failure.type, failure.message, failure.frames)
    assert [type(part) for part in parts] == [str] * 3
    assert failure.type
    assert len(failure.type) <= MAX_TYPE + MARGIN
    assert len(failure.message) <= MAX_MESSAGE + MARGIN
    assert len(failure.frames) < 10_000


def test_what_cannot_be_shown_is_told_as_that_with_all_the_rest():
    failure = describe(raised("raise kind()", kind=RaisingError))

    assert failure == Failure(
        "RaisingError", "(its message cannot be shown)", "train.py, line 1, in <module>\n    raise kind()"
    )


def test_a_source_that_cannot_be_read_costs_only_the_source():
    class Loader:
        def get_source(self, name: str) -> str:
            raise KeyboardInterrupt

    error = raised("raise ValueError('why')", "/home/me/zipped.py", __loader__=Loader())
    linecache.cache.pop("/home/me/zipped.py")

    assert describe(error).frames == "zipped.py, line 1, in <module>"


@pytest.mark.parametrize(
    "kind", [kind for kind in vars(builtins).values() if isinstance(kind, type) and issubclass(kind, BaseException)]
)
def test_every_exception_of_pythons_own_is_described(kind):
    made = {"UnicodeDecodeError": ("utf-8", b"\xff", 0, 1, "why"), "UnicodeEncodeError": ("ascii", "가", 0, 1, "why")}
    made["UnicodeTranslateError"] = ("가", 0, 1, "why")
    groups = ("why", [ValueError() if kind is ExceptionGroup else KeyboardInterrupt()])
    error = kind(*(groups if issubclass(kind, BaseExceptionGroup) else made.get(kind.__name__, ("why",))))

    assert describe(error).type == kind.__name__


def test_describing_leaves_the_exception_as_it_was():
    error = raised("raise ValueError('why')")
    before = traceback.format_exception(error)

    describe(error)

    assert traceback.format_exception(error) == before
    assert error.__context__ is None


@pytest.mark.parametrize("place", range(MAX_MESSAGE - 25, MAX_MESSAGE + 3))
def test_a_secret_at_the_end_of_a_long_message_is_whole_until_it_is_redacted(place):
    error = raised(f"raise ValueError('x' * {place} + ' password=hunter2X9hush, ' + 'y' * 5000)")
    run = Run("r1", "", 0.0)

    after = scrub_ended(RunEnded(run, Outcome.FAILED, 1.0, 1.0, failure=describe(error)))

    assert "hunt" not in after.failure.message
    assert len(after.failure.message) <= MAX_MESSAGE
