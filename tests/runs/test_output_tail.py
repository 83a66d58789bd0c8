"""The last lines of the output, captured while every stream keeps working."""

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
    """A stream that takes no attributes."""

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
    """A stream implemented in Python, like ipykernel's."""


def create_c_stream() -> io.TextIOWrapper:
    """Create a stream implemented in C, like a program's standard output."""
    return io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)


def read_text(stream: Any) -> str:
    is_wrapper = isinstance(stream, io.TextIOWrapper)
    return str(stream.buffer.getvalue().decode() if is_wrapper else stream.getvalue())


@contextmanager
def redirect_streams(create_stream: Callable[[], Any]) -> Iterator[tuple[Any, Any]]:
    """Redirect the output to new streams. Not a fixture, because pytest replaces the streams before each test."""
    out, err = create_stream(), create_stream()
    with redirect_stdout(out), redirect_stderr(err):
        yield out, err


patchable_streams = pytest.mark.parametrize("create_stream", [PythonStream, create_c_stream])
all_streams = pytest.mark.parametrize("create_stream", [PythonStream, create_c_stream, Slotted])


def capture(lines: int, *pieces: str) -> str:
    """Return what the alert shows of `pieces`."""
    tail = OutputTail(lines)
    for piece in pieces:
        tail.add_output(piece)
    return redact_last_lines(tail.stop(), lines)


@pytest.mark.parametrize(
    ("lines", "pieces", "expected"),
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
def test_tail_holds_the_last_lines_as_displayed(lines: int, pieces: list[str], expected: str) -> None:
    assert capture(lines, *pieces) == expected


def test_long_output_uses_little_memory() -> None:
    tail = OutputTail(3)
    for number in range(20_000):
        tail.add_output(f"line {number}\n")
    tail.add_output("x" * 10**7 + "\nlast\n")

    assert sum(map(len, tail._pieces)) <= 2 * MAX_BUFFERED_CHARS
    text = tail.stop()
    assert text.endswith("x\nlast")
    assert len(text) == OUTPUT_TAIL_WINDOW


@given(st.lists(any_text(), max_size=10), st.integers(1, 5))
def test_tail_holds_the_end_of_any_output(pieces: list[str], lines: int) -> None:
    tail = OutputTail(lines)
    for piece in pieces:
        tail.add_output(piece)
    text = tail.stop()

    assert len(text) <= OUTPUT_TAIL_WINDOW
    assert "".join(pieces).rstrip().endswith(text.rpartition("\n")[2])
    redacted = redact_last_lines(text, lines)
    assert len(redacted) <= MAX_OUTPUT_TAIL_LENGTH
    assert redacted.count("\n") < lines


@all_streams
def test_both_streams_are_captured_in_order_and_still_print(create_stream: Callable[[], Any]) -> None:
    tail = OutputTail(5)
    with redirect_streams(create_stream) as (out, err):
        tail.start()
        print("one")
        print("two", file=sys.stderr)
        sys.stdout.write("three\n")

        assert tail.stop() == "one\ntwo\nthree"
    assert (read_text(out), read_text(err)) == ("one\nthree\n", "two\n")


@all_streams
def test_stop_restores_the_streams(create_stream: Callable[[], Any]) -> None:
    tail = OutputTail(5)
    with redirect_streams(create_stream) as (out, err):
        tail.start()
        tail.stop()
        print("after")

        assert sys.stdout is out
        assert sys.stderr is err
    assert not getattr(out, "__dict__", {})
    assert tail.stop() == ""


@all_streams
def test_write_returns_and_raises_as_the_stream_does(create_stream: Callable[[], Any]) -> None:
    tail = OutputTail(5)
    with redirect_streams(create_stream) as (out, _):
        tail.start()

        assert sys.stdout.write("four") == 4
        with pytest.raises(TypeError):
            sys.stdout.write(4)  # type: ignore[arg-type]
        assert tail.stop() == "four"
    assert read_text(out) == "four"


@all_streams
def test_stream_that_the_cell_replaced_stays(create_stream: Callable[[], Any]) -> None:
    tail, replacement = OutputTail(5), PythonStream()
    with redirect_streams(create_stream):
        tail.start()
        sys.stdout = replacement
        print("elsewhere")

        assert tail.stop() == ""
        assert sys.stdout is replacement
    assert replacement.getvalue() == "elsewhere\n"


@all_streams
def test_stream_with_both_names_is_captured_once(create_stream: Callable[[], Any]) -> None:
    tail, both = OutputTail(5), create_stream()
    with redirect_stdout(both), redirect_stderr(both):
        tail.start()
        print("one")
        print("two", file=sys.stderr)

        assert tail.stop() == "one\ntwo"
        assert sys.stdout is both
        assert sys.stderr is both
    assert read_text(both) == "one\ntwo\n"
    assert not getattr(both, "__dict__", {})


@patchable_streams
def test_write_that_another_library_shadowed_is_restored(create_stream: Callable[[], Any]) -> None:
    # As wandb does: it shadows `write` of the current stream.
    captured: list[str] = []
    tail = OutputTail(5)
    with redirect_streams(create_stream) as (out, _):
        write = out.write

        def theirs(text: str) -> int:
            captured.append(text)
            return int(write(text))

        out.write = theirs
        tail.start()
        print("during")
        assert tail.stop() == "during"
        print("after")

    assert out.write is theirs
    assert "".join(captured) == "during\nafter\n"
    assert read_text(out) == "during\nafter\n"


@patchable_streams
def test_write_that_the_cell_shadowed_stays(create_stream: Callable[[], Any]) -> None:
    tail = OutputTail(5)
    with redirect_streams(create_stream) as (out, _):
        tail.start()
        write = out.write
        out.write = theirs = lambda text: write(text.upper())
        print("during")
        assert tail.stop() == "DURING"
        print("after")

    assert out.write is theirs
    assert read_text(out) == "DURING\nAFTER\n"


@all_streams
def test_nested_tail_captures_its_own_part(create_stream: Callable[[], Any]) -> None:
    outer, inner = OutputTail(5), OutputTail(5)
    with redirect_streams(create_stream) as (out, err):
        outer.start()
        print("before")
        inner.start()
        print("within")
        assert inner.stop() == "within"
        print("after")
        assert outer.stop() == "before\nwithin\nafter"

        assert sys.stdout is out
        assert sys.stderr is err
    assert read_text(out) == "before\nwithin\nafter\n"


@pytest.mark.parametrize("missing", [None, object()])
def test_stream_that_cannot_be_captured_is_skipped(missing: Any) -> None:
    tail, err = OutputTail(5), PythonStream()
    with redirect_stdout(missing), redirect_stderr(err):
        tail.start()
        print("captured", file=sys.stderr)

        assert tail.stop() == "captured"
        assert sys.stdout is missing


PROGRAM = """
import faulthandler, subprocess, sys
from cwnotify.runs.output_tail import OutputTail
before = sys.stdout
tail = OutputTail(3)
tail.start()
print("printed")
sys.stdout.flush()
sys.stdout.buffer.write(b"raw\\n")
assert sys.stdout.encoding and sys.stdout.fileno() == 1 and not sys.stdout.closed
subprocess.run(["echo", "a child's"], stdout=sys.stdout, check=True)
faulthandler.enable(sys.stderr)
print("last")
text = tail.stop()
assert sys.stdout is before
print(repr(text))
"""


def test_streams_of_a_real_program_keep_working() -> None:
    result = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)

    assert result.stderr == ""
    assert sorted(result.stdout.splitlines()) == sorted(["printed", "raw", "a child's", "last", "'printed\\nlast'"])
