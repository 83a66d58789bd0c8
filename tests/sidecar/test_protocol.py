"""The pipe: messages are read as they were written, no writer blocks, and no other file is touched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cwnotify.alerts.events.runs import CapturedValue, RunResult
from cwnotify.alerts.serialization import from_json_dict, to_json_dict
from cwnotify.errors import ProtocolError
from cwnotify.sidecar.event_size import encode_within_limit
from cwnotify.sidecar.protocol import (
    MAX_READ_LINE_BYTES,
    MAX_WRITTEN_LINE_BYTES,
    Pipe,
    PipeMessage,
    PipeMessageReader,
    decode_pipe_message,
    encode_pipe_message,
)
from tests.support.events import any_run_ended, any_text

# Messages


@given(any_text(), st.dictionaries(st.sampled_from("abc"), st.none() | st.integers() | any_text()))
def test_message_is_read_as_it_was_written(kind: str, values: dict[str, object]) -> None:
    line = encode_pipe_message(kind, **values)

    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert line.isascii()
    # Compared as JSON, because two adjacent lone surrogates become one character.
    assert json.dumps(decode_pipe_message(line)) == json.dumps({"kind": kind, **values})


@pytest.mark.parametrize(
    "line",
    [b"", b"x", b"{", b"[]", b"null", b'"kind"', b"{}", b'{"kind": 1}', b"\xff\xfe", b"[" * 100_000, b"9" * 5000],
)
def test_line_that_is_not_a_message_is_rejected(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_pipe_message(line)


GOOD = [encode_pipe_message("started", id=f"r{number}", text="가" * number) for number in range(3)]
BAD = [b"\n", b"no json\n", b'{"kindless": 1}\n', b"\xff\xfe\x00\n"]


@given(st.lists(st.sampled_from(GOOD + BAD), max_size=8), st.data())
def test_messages_are_whole_wherever_reads_split_them(lines: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    reader = PipeMessageReader()
    messages: list[PipeMessage] = []

    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        messages += reader.feed(stream[start:end])

    assert messages == [decode_pipe_message(line) for line in lines if line in GOOD]
    assert reader.dropped_count == sum(line in BAD for line in lines)


def test_message_is_returned_only_when_complete() -> None:
    reader = PipeMessageReader()

    assert reader.feed(b'{"kind": "a"}') == []
    assert reader.feed(b"\n") == [{"kind": "a"}]


# Long messages


def encode_without_limit(**values: object) -> bytes:
    """Return a line as a version without limits would write it."""
    return json.dumps(values, separators=(",", ":")).encode() + b"\n"


LONG_RESULT = {"shown": [{"value": "x" * 500}] * 2500, "run": {"name": '"outcome":"lost"'}, "outcome": "failed"}


def test_long_message_of_another_version_is_read_whole() -> None:
    line = encode_without_limit(kind="ended", id="abc ended", ended=LONG_RESULT)
    assert len(line) > MAX_WRITTEN_LINE_BYTES

    assert PipeMessageReader().feed(line) == [decode_pipe_message(line)]


OVERSIZED = encode_without_limit(kind="ended", id="abc ended", ended={"tail": "x" * MAX_READ_LINE_BYTES} | LONG_RESULT)
OVERSIZED_SUMMARY = {"kind": "too long", "was": "ended", "id": "abc ended", "outcome": "failed"}


@pytest.mark.parametrize("size", [3 * MAX_READ_LINE_BYTES, MAX_READ_LINE_BYTES + 100, 1 << 16, 99_991])
def test_oversized_message_still_has_the_outcome_of_the_run(size: int) -> None:
    reader = PipeMessageReader()
    messages: list[PipeMessage] = []
    stream = GOOD[0] + OVERSIZED + GOOD[1]

    for start in range(0, len(stream), size):
        messages += reader.feed(stream[start : start + size])

    assert messages == [decode_pipe_message(GOOD[0]), OVERSIZED_SUMMARY, decode_pipe_message(GOOD[1])]
    assert reader.dropped_count == 0


def test_rest_of_oversized_line_is_not_read_as_a_message() -> None:
    reader = PipeMessageReader()

    assert reader.feed(b"x" * (MAX_READ_LINE_BYTES + 1)) == []
    assert reader.feed(b'{"kind": "goodbye"}\n') == []
    assert reader.feed(GOOD[0]) == [decode_pipe_message(GOOD[0])]
    assert reader.dropped_count == 1


def test_longest_allowed_line_is_read() -> None:
    line = encode_without_limit(kind="a", text="")
    line = encode_without_limit(kind="a", text="x" * (MAX_READ_LINE_BYTES + 1 - len(line)))
    assert len(line) == MAX_READ_LINE_BYTES + 1

    assert PipeMessageReader().feed(line) == [decode_pipe_message(line)]


LIMITS = st.integers(4_000, 20_000)


@given(any_run_ended(any_text()), st.sampled_from((0, 1, 3_000)), st.sampled_from(("", "가", "<")), LIMITS)
def test_any_result_fits_into_a_line_with_its_outcome(ended: RunResult, count: int, character: str, limit: int) -> None:
    values = [CapturedValue(f"v{n}", character * 500) for n in range(count)]
    ended = replace(ended, shown=(*ended.shown, *values))

    line = encode_within_limit({"kind": "ended", "id": "a", "ended": to_json_dict(ended)}, limit)

    assert len(line) <= limit
    short = from_json_dict(RunResult, decode_pipe_message(line)["ended"])
    assert (short.outcome, short.seconds, short.ended) == (ended.outcome, ended.seconds, ended.ended)
    assert (short.run.id, short.run.job, short.run.kind) == (ended.run.id, ended.run.job, ended.run.kind)
    assert short.run.options.mention in ("", ended.run.options.mention)
    assert len(short.shown) + short.values_left_out == len(ended.shown) + ended.values_left_out


def test_longest_parts_are_cut_and_short_ones_are_not() -> None:
    run = {"id": "abc", "name": "train", "options": {"channel": "#" * 9000, "show": ["loss"]}}
    record = {"kind": "ended", "ended": {"run": run, "outcome": "finished", "tail": "y" * 9000, "shown": []}}

    short = json.loads(encode_within_limit(record, 5_000))["ended"]

    assert short["run"] == {"id": "abc", "name": "train", "options": {"channel": "", "show": ["loss"]}}
    assert short["tail"] == "y" * 4095 + "…"


@pytest.mark.parametrize("kind", ["webhook", "hello"])
def test_webhook_is_never_cut(kind: str) -> None:
    line = encode_pipe_message(kind, webhook="https://x/" + "y" * 2 * MAX_WRITTEN_LINE_BYTES)

    assert decode_pipe_message(line) == {"kind": kind, "webhook": ""}


def test_environment_variable_that_is_too_long_is_left_out() -> None:
    environ = {"AWS_REGION": "eu-west-1", "AWS_NOISE": "x" * 2 * MAX_WRITTEN_LINE_BYTES}

    assert decode_pipe_message(encode_pipe_message("watch", environ=environ))["environ"] == {"AWS_REGION": "eu-west-1"}


def test_message_within_the_limit_is_unchanged() -> None:
    ended = {"shown": [{"value": "x" * 5000}] * 60}

    assert decode_pipe_message(encode_pipe_message("ended", ended=ended))["ended"] == ended


# Pipes


@pytest.fixture
def ends() -> Iterator[tuple[Pipe, int]]:
    """A writing end, and the descriptor of the reading end."""
    reading_end, writing_end = os.pipe()
    pipe = Pipe(writing_end, is_writer=True)
    yield pipe, reading_end
    pipe.close()
    try:
        os.close(reading_end)
    except OSError:
        # The test closed it.
        pass


def read_available(descriptor: int) -> bytes:
    os.set_blocking(descriptor, False)
    data = b""
    try:
        while chunk := os.read(descriptor, 1 << 16):
            data += chunk
    except BlockingIOError:
        pass
    return data


def test_sent_lines_are_written_at_once(ends: tuple[Pipe, int]) -> None:
    pipe, reading_end = ends

    pipe.send(b"one\n")
    pipe.send(b"two\n")

    assert read_available(reading_end) == b"one\ntwo\n"
    assert pipe.flush()


def test_full_pipe_blocks_no_writer_and_loses_nothing(ends: tuple[Pipe, int]) -> None:
    pipe, reading_end = ends
    lines = [b"%06d " % number + b"x" * 1000 + b"\n" for number in range(300)]

    def send_all() -> None:
        for line in lines:
            pipe.send(line)

    thread = threading.Thread(target=send_all, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive(), "the writer waited for a reader"
    assert not pipe.flush()

    received = read_available(reading_end)
    assert 0 < len(received) < sum(map(len, lines))
    while not pipe.flush():
        received += read_available(reading_end)
    received += read_available(reading_end)

    assert received == b"".join(lines)


def test_sending_without_reader_is_a_broken_pipe(ends: tuple[Pipe, int]) -> None:
    pipe, reading_end = ends
    os.close(reading_end)

    with pytest.raises(BrokenPipeError):
        pipe.send(b"one\n")


def test_closed_descriptor_is_a_broken_pipe(ends: tuple[Pipe, int]) -> None:
    pipe, _ = ends
    os.close(pipe.fileno())

    assert pipe.fileno() == -1
    with pytest.raises(BrokenPipeError):
        pipe.send(b"one\n")
    assert pipe.read() == b""
    pipe.close()


def test_users_file_under_the_same_number_is_not_touched(ends: tuple[Pipe, int], tmp_path: Path) -> None:
    pipe, _ = ends
    number = pipe.fileno()
    users_file = tmp_path / "results.csv"
    users_file.write_text("epoch,loss\n")
    opened = os.open(users_file, os.O_RDWR)
    os.dup2(opened, number)

    with pytest.raises(BrokenPipeError):
        pipe.send(b"one\n")
    assert pipe.read() == b""
    pipe.close()

    assert users_file.read_text() == "epoch,loss\n"
    assert os.read(number, 5) == b"epoch", "the user's file is still open, at its beginning"
    os.close(number)
    os.close(opened)


def test_rest_of_a_line_is_not_written_to_the_users_file(ends: tuple[Pipe, int], tmp_path: Path) -> None:
    pipe, _ = ends
    number = pipe.fileno()
    pipe.send(b"x" * (1 << 20))
    assert not pipe.flush()
    opened = os.open(tmp_path / "users_file", os.O_RDWR | os.O_CREAT)
    os.dup2(opened, number)

    with pytest.raises(BrokenPipeError):
        pipe.flush()

    assert (tmp_path / "users_file").read_bytes() == b""
    os.close(number)
    os.close(opened)


def test_another_pipe_under_the_same_number_is_not_touched(ends: tuple[Pipe, int]) -> None:
    pipe, _ = ends
    number = pipe.fileno()
    other_reading_end, other_writing_end = os.pipe()
    os.dup2(other_writing_end, number)

    with pytest.raises(BrokenPipeError):
        pipe.send(b"one\n")

    assert read_available(other_reading_end) == b""
    for descriptor in (number, other_reading_end, other_writing_end):
        os.close(descriptor)


def test_reader_waits_for_bytes_and_sees_the_end() -> None:
    reading_end, writing_end = os.pipe()
    reader, writer = Pipe(reading_end, is_writer=False), Pipe(writing_end, is_writer=True)
    timer = threading.Timer(0.05, writer.send, [b"late\n"])
    timer.start()

    assert reader.read() == b"late\n"

    timer.join()
    writer.close()
    assert reader.read() == b""
    reader.close()
    reader.close()
    assert reader.fileno() == -1


def test_messages_reach_another_process_whole() -> None:
    script = "import sys; sys.stdout.write(sys.stdin.read())"
    lines = [encode_pipe_message("started", text="<\ud800 가\n>" * 500, number=number) for number in range(100)]
    echo = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    stdin, stdout = echo.stdin, echo.stdout
    assert stdin is not None
    assert stdout is not None
    pipe, reader = Pipe(stdin.fileno(), is_writer=True), PipeMessageReader()
    messages: list[PipeMessage] = []

    def send_all() -> None:
        for line in lines:
            pipe.send(line)
        while not pipe.flush():
            pass
        stdin.close()

    threading.Thread(target=send_all, daemon=True).start()
    while data := os.read(stdout.fileno(), 4000):
        messages += reader.feed(data)

    assert messages == [decode_pipe_message(line) for line in lines]
    assert reader.dropped_count == 0
    assert echo.wait(10) == 0
    stdout.close()
