"""Tail: the last lines that were printed, while every stream stays what it is."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cwnotify.alerts.redaction.run_events import redact_last_lines
from cwnotify.alerts.text_limits import MAX_OUTPUT_TAIL_LENGTH, OUTPUT_TAIL_WINDOW
from cwnotify.runs.output_tail import MAX_BUFFERED_CHARS, OutputTail
from tests.support.events import any_text


class Slotted:
    """A stream on which nobody can put anything."""

    __slots__ = ("_written",)

    def __init__(self) -> None:
        self._written: list[str] = []

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError
        self._written.append(text)
        return len(text)

    def getvalue(self) -> str:
        return "".join(self._written)


class PythonStream(io.StringIO):
    """As ipykernel's, a stream in Python."""


def c_stream() -> io.TextIOWrapper:
    """As a program's own, a stream in C."""
    return io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)


def text_of(stream: Any) -> str:
    return stream.buffer.getvalue().decode() if isinstance(stream, io.TextIOWrapper) else stream.getvalue()


@contextmanager
def streams(kind: Callable[[], Any]) -> Iterator[tuple[Any, Any]]:
    """Fresh streams for what is printed within; a fixture would not do, for pytest changes them before the test."""
    out, err = kind(), kind()
    with redirect_stdout(out), redirect_stderr(err):
        yield out, err


open_to_others = pytest.mark.parametrize("kind", [PythonStream, c_stream])
any_kind = pytest.mark.parametrize("kind", [PythonStream, c_stream, Slotted])


def printed(lines: int, *pieces: str) -> str:
    tail = OutputTail(lines)
    for piece in pieces:
        tail.add_output(piece)
    return redact_last_lines(tail.stop(), lines)


# What is kept


@pytest.mark.parametrize(
    ("lines", "pieces", "kept"),
    [
        (2, ["a\nb\nc\n"], "b\nc"),
        (2, ["a", "\n", "b\nc", "\n\n\n"], "b\nc"),
        (9, ["a\nb"], "a\nb"),
        (1, [], ""),
        (0, ["a\n"], ""),
        (2, ["epoch 1\n", "\r 10%", "\r 50%", "\r100%\n"], "epoch 1\n100%"),
        (1, ["\r 10%", "\r 50%"], " 50%"),
        (2, ["one\r\ntwo\r\n"], "one\ntwo"),
        (2, ["a\n\nb\n"], "\nb"),
    ],
)
def test_the_last_lines_are_kept_as_a_person_saw_them(lines, pieces, kept):
    assert printed(lines, *pieces) == kept


def test_endless_output_takes_little_room():
    tail = OutputTail(3)
    for number in range(20_000):
        tail.add_output(f"line {number}\n")
    tail.add_output("x" * 10**7 + "\nlast\n")

    assert sum(map(len, tail._pieces)) <= 2 * MAX_BUFFERED_CHARS
    kept = tail.stop()
    assert kept.endswith("x\nlast")
    assert len(kept) == OUTPUT_TAIL_WINDOW


@given(st.lists(any_text(), max_size=10), st.integers(1, 5))
def test_whatever_is_printed_its_end_is_kept(pieces, lines):
    tail = OutputTail(lines)
    for piece in pieces:
        tail.add_output(piece)
    kept = tail.stop()

    assert len(kept) <= OUTPUT_TAIL_WINDOW
    assert "".join(pieces).rstrip().endswith(kept.rpartition("\n")[2])
    shown = redact_last_lines(kept, lines)
    assert len(shown) <= MAX_OUTPUT_TAIL_LENGTH
    assert shown.count("\n") < lines


# Listening


@any_kind
def test_both_streams_are_heard_in_their_order_and_still_print(kind):
    tail = OutputTail(5)
    with streams(kind) as (out, err):
        tail.start()
        print("one")
        print("two", file=sys.stderr)
        sys.stdout.write("three\n")

        assert tail.stop() == "one\ntwo\nthree"
    assert (text_of(out), text_of(err)) == ("one\nthree\n", "two\n")


@any_kind
def test_afterwards_every_stream_is_as_it_was(kind):
    tail = OutputTail(5)
    with streams(kind) as (out, err):
        tail.start()
        tail.stop()
        print("after")

        assert sys.stdout is out
        assert sys.stderr is err
    assert not getattr(out, "__dict__", {})
    assert tail.stop() == ""


@any_kind
def test_a_write_gives_what_the_stream_gives(kind):
    tail = OutputTail(5)
    with streams(kind) as (out, _):
        tail.start()

        assert sys.stdout.write("four") == 4
        with pytest.raises(TypeError):
            sys.stdout.write(4)
        assert tail.stop() == "four"
    assert text_of(out) == "four"


@any_kind
def test_what_the_cell_put_in_place_of_a_stream_stays(kind):
    tail, mine = OutputTail(5), PythonStream()
    with streams(kind):
        tail.start()
        sys.stdout = mine
        print("elsewhere")

        assert tail.stop() == ""
        assert sys.stdout is mine
    assert mine.getvalue() == "elsewhere\n"


@any_kind
def test_one_stream_under_both_names_is_heard_once(kind):
    tail, both = OutputTail(5), kind()
    with redirect_stdout(both), redirect_stderr(both):
        tail.start()
        print("one")
        print("two", file=sys.stderr)

        assert tail.stop() == "one\ntwo"
        assert sys.stdout is both
        assert sys.stderr is both
    assert text_of(both) == "one\ntwo\n"
    assert not getattr(both, "__dict__", {})


@open_to_others
def test_who_listened_before_us_listens_after_us(kind):
    # As wandb does: it puts its own write on the stream that it finds.
    heard: list[str] = []
    tail = OutputTail(5)
    with streams(kind) as (out, _):
        write = out.write
        out.write = theirs = lambda text: heard.append(text) or write(text)
        tail.start()
        print("during")
        assert tail.stop() == "during"
        print("after")

    assert out.write is theirs
    assert "".join(heard) == "during\nafter\n"
    assert text_of(out) == "during\nafter\n"


@open_to_others
def test_what_the_cell_put_on_a_stream_stays(kind):
    tail = OutputTail(5)
    with streams(kind) as (out, _):
        tail.start()
        write = out.write
        out.write = theirs = lambda text: write(text.upper())
        print("during")
        assert tail.stop() == "DURING"
        print("after")

    assert out.write is theirs
    assert text_of(out) == "DURING\nAFTER\n"


@any_kind
def test_a_tail_within_a_tail_hears_its_own_part(kind):
    outer, inner = OutputTail(5), OutputTail(5)
    with streams(kind) as (out, err):
        outer.start()
        print("before")
        inner.start()
        print("within")
        assert inner.stop() == "within"
        print("after")
        assert outer.stop() == "before\nwithin\nafter"

        assert sys.stdout is out
        assert sys.stderr is err
    assert text_of(out) == "before\nwithin\nafter\n"


@pytest.mark.parametrize("missing", [None, object()])
def test_a_stream_that_cannot_be_listened_to_is_left_alone(missing):
    tail, err = OutputTail(5), PythonStream()
    with redirect_stdout(missing), redirect_stderr(err):
        tail.start()
        print("heard", file=sys.stderr)

        assert tail.stop() == "heard"
        assert sys.stdout is missing


REAL = """
import faulthandler, subprocess, sys
from cwnotify.runs.output_tail import OutputTail
before = sys.stdout
tail = Tail(3)
tail.start()
print("printed")
sys.stdout.flush()
sys.stdout.buffer.write(b"raw\\n")
assert sys.stdout.encoding and sys.stdout.fileno() == 1 and not sys.stdout.closed
subprocess.run(["echo", "a child's"], stdout=sys.stdout, check=True)
faulthandler.enable(sys.stderr)
print("last")
kept = tail.stop()
assert sys.stdout is before
print(repr(kept))
"""


def test_the_streams_of_a_real_program_do_all_that_they_did():
    done = subprocess.run([sys.executable, "-c", REAL], capture_output=True, text=True, check=False)

    assert done.stderr == ""
    assert sorted(done.stdout.splitlines()) == sorted(["printed", "raw", "a child's", "last", "'printed\\nlast'"])
