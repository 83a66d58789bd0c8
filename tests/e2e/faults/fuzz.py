"""Invalid pipe lines, outbox rows, settings files and AWS events: cwnotify survives them all.

``python -m tests.e2e.faults fuzz [--long]`` tries 10,000 of each, or a million. A failure is printed with its seed and
ends the run.
"""

from __future__ import annotations

import json
import logging
import os
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks import fuzz_events
from benchmarks.fuzz_events import mutate_value
from cwnotify import settings
from cwnotify.alerts.events.run_options import RunOptions
from cwnotify.alerts.events.runs import Outcome, Run, RunKind, RunLocation, RunResult
from cwnotify.alerts.serialization import to_json_dict
from cwnotify.host.processes import identify_process
from cwnotify.sidecar.protocol import Pipe, PipeMessageReader, encode_pipe_message
from cwnotify.sidecar.supervisor import Sidecar
from cwnotify.slack.retry_policy import MAX_DELIVERY_AGE
from cwnotify.store.outbox import Outbox

DEFAULT_CASES, LONG_RUN_CASES, CASES_PER_PROCESS = 10_000, 1_000_000, 100_000
NOW = 1_795_316_400.0
DESTINATION = "webhook-1"
SAMPLE_RUN = Run("r1", "train", NOW, RunKind.CELL, RunLocation(), RunOptions())
SAMPLE_RUN_ENDED = RunResult(SAMPLE_RUN, Outcome.FINISHED, 60.0, NOW + 60)
SPLINTERS = (b"", b"\xff", b'"', b"[", b"=", b"1e999", b"\n", "가".encode())
Fuzzer = Callable[[int, int], None]


def fuzz_pipe_lines(count: int, seed: int) -> None:
    """Send pipe lines, mutated as JSON and as bytes, to one sidecar."""
    corpus = [
        {"kind": "started", "id": "1", "run": to_json_dict(SAMPLE_RUN)},
        {"kind": "ended", "id": "2", "ended": to_json_dict(SAMPLE_RUN_ENDED), "hold": True},
        {"kind": "noted", "ended": to_json_dict(SAMPLE_RUN_ENDED)},
        {"kind": "webhook", "webhook": "https://hooks.slack.com/services/T/B/x"},
        {"kind": "mute", "seconds": 60},
        {"kind": "greet"},
        {"kind": "refresh"},
        {"kind": "unwatch", "panel": "p"},
    ]
    # Each invalid line is logged.
    logging.getLogger("cwnotify.sidecar").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        (_, answers), (lines, source) = os.pipe(), os.pipe()
        os.set_blocking(lines, False)
        sidecar = Sidecar(Pipe(lines, is_writer=False), Pipe(answers, is_writer=True), os.getpid(), -1, Path(folder))
        # The answers have no reader.
        sidecar._answers.close()
        reader = PipeMessageReader()
        for number in range(count):
            dice = random.Random(f"{seed} {number}")
            line = mutate_value(dice, dice.choice(corpus), corpus, dice.randint(0, 6))
            raw = bytearray(_bytes(line))
            if dice.random() < 0.2:
                raw[dice.randrange(len(raw))] = dice.randrange(256)
            os.write(source, bytes(raw[: 1 << 15]) + b"\n")
            with _CaseReport("line", seed, number, line):
                sidecar._read_messages(reader, until_end=False)
        whole = replace(SAMPLE_RUN_ENDED, run=replace(SAMPLE_RUN, id="whole"))
        os.write(source, b"\n" + encode_pipe_message("ended", id="3", ended=to_json_dict(whole)))
        sidecar._read_messages(reader, until_end=False)
        with closing(sidecar):
            messages = sidecar._store.current.list_messages()
            assert "whole" in [message.id for message in messages], "a valid line must still be stored"


def fuzz_outbox_rows(count: int, seed: int) -> None:
    """Damage outbox rows. A readable row is sent, an unreadable one is dead, and neither blocks the others."""
    watched = asdict(identify_process(os.getpid()))
    corpus = [{"text": "x", "blocks": []}, watched, to_json_dict(SAMPLE_RUN), to_json_dict(SAMPLE_RUN_ENDED)]
    outbox = Outbox("file:/fuzz-rows?vfs=memdb")
    with closing(outbox), closing(sqlite3.connect("file:/fuzz-rows?vfs=memdb", uri=True, isolation_level=None)) as db:
        for number in range(count):
            dice = random.Random(f"{seed} {number}")
            texts = [
                _bytes(mutate_value(dice, value, corpus, dice.randint(0, 5))).decode() for value in (*corpus, corpus[1])
            ]
            payload, process, run, result, owner = (text[: dice.choice((5, 1 << 20))] for text in texts)
            with _CaseReport("row", seed, number, texts):
                outbox.enqueue("damaged", DESTINATION, {"text": "x"}, NOW)
                outbox.enqueue("whole", DESTINATION, {"text": "y"}, NOW + 1)
                db.execute("UPDATE messages SET payload = ? WHERE id = 'damaged'", (payload,))
                db.execute(
                    "INSERT OR REPLACE INTO runs (id, watched, owner, destination, run, seen, vitals, ended) "
                    "VALUES ('1', ?, ?, ?, ?, ?, NULL, ?)",
                    (process, owner, DESTINATION, run, NOW, result),
                )
                claimed = [outbox.claim_next(DESTINATION, "me", NOW + 1) for _ in range(3)]
                assert "whole" in [message.id for message in claimed if message]
                assert len(outbox.list_messages()) == 2
                outbox.list_open_runs()
                outbox.expire_messages(NOW + 1, MAX_DELIVERY_AGE)
                db.execute("DELETE FROM messages")


def fuzz_settings_files(count: int, seed: int) -> None:
    """Load damaged settings files. Each is read or reported."""
    whole = (
        'lang = "ko"\nmention = "@here"\nmin_duration = "5m"\ntimezone = "Asia/Seoul"\nchannel = "#train"\n'
        '[words.en]\n"run.finished" = "{name} is done"\n[other]\nx = [1, 2, {y = 3}]\n'
    )
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        path = Path(folder) / "cwnotify" / "config.toml"
        path.parent.mkdir()
        # Opened once, because ext4 syncs a file that is truncated, written and closed.
        file = stack.enter_context(path.open("wb", buffering=0))
        for number in range(count):
            dice = random.Random(f"{seed} {number}")
            text = bytearray(whole.encode())
            for _ in range(dice.randint(1, 6)):
                at = dice.randrange(len(text))
                text[at : at + dice.randint(0, 9)] = dice.choice(
                    (b"", b"\xff", b'"', b"[", b"=", b"1e999", b"\n", "ë".encode())
                )
            os.pwrite(file.fileno(), text, 0)
            file.truncate(len(text))
            with _CaseReport("file", seed, number, bytes(text)):
                settings.load_settings(environ={"XDG_CONFIG_HOME": folder, "HOME": folder})


class _CaseReport:
    """Add the case to an exception that it causes."""

    def __init__(self, kind: str, seed: int, number: int, case: object) -> None:
        self._description = f"{kind} {number} of seed {seed}: {case!r:.2000}"

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception):
            raise AssertionError(self._description) from error


def _bytes(value: Any) -> bytes:
    try:
        return json.dumps(value).encode()
    except (ValueError, TypeError, RecursionError):
        return encode_pipe_message("odd")


def fuzz_aws_events(count: int, seed: int) -> None:
    """Parse mutated AWS events."""
    fuzz_events.fuzz(count, seed)


FUZZERS: dict[str, Fuzzer] = {
    "lines": fuzz_pipe_lines,
    "rows": fuzz_outbox_rows,
    "files": fuzz_settings_files,
    "events": fuzz_aws_events,
}


def main(count: int, seed: int = 1) -> None:
    """Run every fuzzer on all processors and print how long each takes."""
    share = min(count, CASES_PER_PROCESS)
    seeds = range(seed, seed + count // share)
    with ProcessPoolExecutor() as pool:
        for name, act in FUZZERS.items():
            start = time.monotonic()
            # `list` raises the exception of a failed process here.
            list(pool.map(act, [share] * len(seeds), seeds))
            print(f"fuzz: {count:,} {name} without a failure in {time.monotonic() - start:.0f} s", flush=True)
