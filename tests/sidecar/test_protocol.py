"""The pipe: lines come out as they went in, nobody waits for anybody, and no foreign file is touched."""

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
    PipeMessageReader,
    decode_pipe_message,
    encode_pipe_message,
)
from tests.support.events import any_run_ended, any_text

# Lines


@given(any_text(), st.dictionaries(st.sampled_from("abc"), st.none() | st.integers() | any_text()))
def test_a_line_is_read_as_it_was_written(kind, values):
    line = encode_pipe_message(kind, **values)

    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert line.isascii()
    # Two lone surrogates that stand side by side are one character afterwards, and no worse.
    assert json.dumps(decode_pipe_message(line)) == json.dumps({"kind": kind, **values})


@pytest.mark.parametrize(
    "line",
    [b"", b"x", b"{", b"[]", b"null", b'"kind"', b"{}", b'{"kind": 1}', b"\xff\xfe", b"[" * 100_000, b"9" * 5000],
)
def test_what_is_no_line_of_ours_is_refused(line):
    with pytest.raises(ProtocolError):
        decode_pipe_message(line)


GOOD = [encode_pipe_message("started", id=f"r{number}", text="가" * number) for number in range(3)]
BAD = [b"\n", b"no json\n", b'{"kindless": 1}\n', b"\xff\xfe\x00\n"]


@given(st.lists(st.sampled_from(GOOD + BAD), max_size=8), st.data())
def test_lines_come_out_whole_wherever_the_reads_happened_to_split_them(lines, data):
    stream = b"".join(lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    reader, found = PipeMessageReader(), []

    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += reader.feed(stream[start:end])

    assert found == [decode_pipe_message(line) for line in lines if line in GOOD]
    assert reader.dropped_count == sum(line in BAD for line in lines)


def test_a_line_comes_out_only_when_it_is_complete():
    reader = PipeMessageReader()

    assert reader.feed(b'{"kind": "a"}') == []
    assert reader.feed(b"\n") == [{"kind": "a"}]


def raw(**values: object) -> bytes:
    """A line as a version without limits writes it."""
    return json.dumps(values, separators=(",", ":")).encode() + b"\n"


# As an older version wrote it, with 2,500 values.
LONG_END = {"shown": [{"value": "x" * 500}] * 2500, "run": {"name": '"outcome":"lost"'}, "outcome": "failed"}


def test_a_long_line_of_another_version_comes_out_whole():
    line = raw(kind="ended", id="abc ended", ended=LONG_END)
    assert len(line) > MAX_WRITTEN_LINE_BYTES

    assert PipeMessageReader().feed(line) == [decode_pipe_message(line)]


TOO_LONG = raw(kind="ended", id="abc ended", ended={"tail": "x" * MAX_READ_LINE_BYTES} | LONG_END)
NAMED = {"kind": "too long", "was": "ended", "id": "abc ended", "outcome": "failed"}


@pytest.mark.parametrize("size", [3 * MAX_READ_LINE_BYTES, MAX_READ_LINE_BYTES + 100, 1 << 16, 99_991])
def test_a_line_beyond_all_limits_still_says_how_a_run_ended(size):
    reader, found = PipeMessageReader(), []
    stream = GOOD[0] + TOO_LONG + GOOD[1]

    for start in range(0, len(stream), size):
        found += reader.feed(stream[start : start + size])

    assert found == [decode_pipe_message(GOOD[0]), NAMED, decode_pipe_message(GOOD[1])]
    assert reader.dropped_count == 0


def test_what_is_left_of_a_line_that_is_too_long_is_not_taken_for_a_line():
    reader = PipeMessageReader()

    assert reader.feed(b"x" * (MAX_READ_LINE_BYTES + 1)) == []
    assert reader.feed(b'{"kind": "goodbye"}\n') == []
    assert reader.feed(GOOD[0]) == [decode_pipe_message(GOOD[0])]
    assert reader.dropped_count == 1


def test_a_line_as_long_as_it_may_be_comes_out():
    line = raw(kind="a", text="")
    line = raw(kind="a", text="x" * (MAX_READ_LINE_BYTES + 1 - len(line)))
    assert len(line) == MAX_READ_LINE_BYTES + 1

    assert PipeMessageReader().feed(line) == [decode_pipe_message(line)]


LIMITS = st.integers(4_000, 20_000)


@given(any_run_ended(any_text()), st.sampled_from((0, 1, 3_000)), st.sampled_from(("", "가", "<")), LIMITS)
def test_any_end_fits_into_a_line_and_keeps_its_outcome(ended, count, character, limit):
    ended = replace(ended, shown=(*ended.shown, *[CapturedValue(f"v{n}", character * 500) for n in range(count)]))

    line = encode_within_limit({"kind": "ended", "id": "a", "ended": to_json_dict(ended)}, limit)

    assert len(line) <= limit
    read = from_json_dict(RunResult, decode_pipe_message(line)["ended"])
    same = ("outcome", "seconds", "ended")
    assert [getattr(read, name) for name in same] == [getattr(ended, name) for name in same]
    assert (read.run.id, read.run.job, read.run.kind) == (ended.run.id, ended.run.job, ended.run.kind)
    assert read.run.options.mention in ("", ended.run.options.mention)
    assert len(read.shown) + read.values_left_out == len(ended.shown) + ended.values_left_out


def test_the_longest_parts_are_cut_and_the_short_ones_stay():
    run = {"id": "abc", "name": "train", "options": {"channel": "#" * 9000, "show": ["loss"]}}
    record = {"kind": "ended", "ended": {"run": run, "outcome": "finished", "tail": "y" * 9000, "shown": []}}

    short = json.loads(encode_within_limit(record, 5_000))["ended"]

    assert short["run"] == {"id": "abc", "name": "train", "options": {"channel": "", "show": ["loss"]}}
    assert short["tail"] == "y" * 4095 + "…"


@pytest.mark.parametrize("kind", ["webhook", "hello"])
def test_a_webhook_is_whole_or_none(kind):
    assert decode_pipe_message(encode_pipe_message(kind, webhook="https://x/" + "y" * 2 * MAX_WRITTEN_LINE_BYTES)) == {
        "kind": kind,
        "webhook": "",
    }


def test_of_an_environment_the_variables_that_are_too_long_are_left_out():
    environ = {"AWS_REGION": "eu-west-1", "AWS_NOISE": "x" * 2 * MAX_WRITTEN_LINE_BYTES}

    assert decode_pipe_message(encode_pipe_message("watch", environ=environ))["environ"] == {"AWS_REGION": "eu-west-1"}


def test_what_fits_is_not_touched():
    ended = {"shown": [{"value": "x" * 5000}] * 60}

    assert decode_pipe_message(encode_pipe_message("ended", ended=ended))["ended"] == ended


# Pipes


@pytest.fixture
def ends() -> Iterator[tuple[Pipe, int]]:
    """A writing end, and the descriptor to read what it wrote."""
    theirs, ours = os.pipe()
    pipe = Pipe(ours, is_writer=True)
    yield pipe, theirs
    pipe.close()
    for descriptor in (theirs,):
        try:
            os.close(descriptor)
        except OSError:
            continue


def drained(descriptor: int) -> bytes:
    os.set_blocking(descriptor, False)
    data = b""
    try:
        while piece := os.read(descriptor, 1 << 16):
            data += piece
    except BlockingIOError:
        pass
    return data


def test_what_is_sent_is_at_once_out_of_the_process(ends):
    pipe, theirs = ends

    pipe.send(b"one\n")
    pipe.send(b"two\n")

    assert drained(theirs) == b"one\ntwo\n"
    assert pipe.flush()


def test_a_full_pipe_makes_nobody_wait_and_loses_nothing(ends):
    pipe, theirs = ends
    lines = [b"%06d " % number + b"x" * 1000 + b"\n" for number in range(300)]
    sent = threading.Thread(target=lambda: [pipe.send(line) for line in lines], daemon=True)
    sent.start()
    sent.join(10)
    assert not sent.is_alive(), "it waited for a reader"
    assert not pipe.flush()

    received = drained(theirs)
    assert 0 < len(received) < sum(map(len, lines))
    while not pipe.flush():
        received += drained(theirs)
    received += drained(theirs)

    assert received == b"".join(lines)


def test_nobody_reads_any_more(ends):
    pipe, theirs = ends
    os.close(theirs)

    with pytest.raises(BrokenPipeError):
        pipe.send(b"one\n")


def test_a_closed_descriptor_is_a_broken_pipe(ends):
    pipe, _ = ends
    os.close(pipe.fileno())

    assert pipe.fileno() == -1
    with pytest.raises(BrokenPipeError):
        pipe.send(b"one\n")
    assert pipe.read() == b""
    pipe.close()


def test_a_file_of_the_cells_under_the_same_number_is_never_touched(ends, tmp_path: Path):
    pipe, _ = ends
    number = pipe.fileno()
    foreign = tmp_path / "results.csv"
    foreign.write_text("epoch,loss\n")
    opened = os.open(foreign, os.O_RDWR)
    os.dup2(opened, number)

    with pytest.raises(BrokenPipeError):
        pipe.send(b"one\n")
    assert pipe.read() == b""
    pipe.close()

    assert foreign.read_text() == "epoch,loss\n"
    assert os.read(number, 5) == b"epoch", "what the cell opened is still open, and at its place"
    os.close(number)
    os.close(opened)


def test_what_the_full_pipe_did_not_take_is_not_written_to_a_foreign_file_later(ends, tmp_path: Path):
    pipe, _ = ends
    pipe.send(b"x" * (1 << 20))
    assert not pipe.flush()
    opened = os.open(tmp_path / "foreign", os.O_RDWR | os.O_CREAT)
    os.dup2(opened, pipe.fileno())

    with pytest.raises(BrokenPipeError):
        pipe.flush()

    assert (tmp_path / "foreign").read_bytes() == b""
    os.close(pipe._descriptor)
    os.close(opened)


def test_another_pipe_under_the_same_number_is_foreign_too(ends):
    pipe, _ = ends
    number = pipe.fileno()
    foreign_in, foreign_out = os.pipe()
    os.dup2(foreign_out, number)

    with pytest.raises(BrokenPipeError):
        pipe.send(b"one\n")

    assert drained(foreign_in) == b""
    for descriptor in (number, foreign_in, foreign_out):
        os.close(descriptor)


def test_the_reading_end_waits_for_bytes_and_sees_the_end():
    theirs, ours = os.pipe()
    reader, writer = Pipe(theirs, is_writer=False), Pipe(ours, is_writer=True)
    timer = threading.Timer(0.05, writer.send, [b"late\n"])
    timer.start()

    assert reader.read() == b"late\n"

    timer.join()
    writer.close()
    assert reader.read() == b""
    reader.close()
    reader.close()
    assert reader.fileno() == -1


def test_lines_cross_to_another_process_whole():
    script = "import sys; sys.stdout.write(sys.stdin.read())"
    lines = [encode_pipe_message("started", text="<\ud800 가\n>" * 500, number=number) for number in range(100)]
    echo = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    pipe, reader, found = Pipe(echo.stdin.fileno(), is_writer=True), PipeMessageReader(), []

    def send() -> None:
        for line in lines:
            pipe.send(line)
        while not pipe.flush():
            pass
        echo.stdin.close_all()

    threading.Thread(target=send, daemon=True).start()
    while data := os.read(echo.stdout.fileno(), 4000):
        found += reader.feed(data)

    assert found == [decode_pipe_message(line) for line in lines]
    assert reader.dropped_count == 0
    assert echo.wait(10) == 0
    echo.stdout.close_all()
