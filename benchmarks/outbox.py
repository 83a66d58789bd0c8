"""What the outbox can take: put, claim and done, on top of more and more rows."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from benchmarks.harness import (
    BenchmarkResult,
    Curve,
    Row,
    Summary,
    format_significant,
    summarize,
    temporary_disk_folder,
)
from cwnotify.alerts.events.runs import Outcome, Run, RunResult
from cwnotify.alerts.messages.run import run_message
from cwnotify.store.outbox import Outbox

MEMORY_DIR = Path("/dev/shm")
SAMPLE_RUN_ENDED = RunResult(Run("id", "resnet50", 1_795_000_000.0), Outcome.FINISHED, 3600.0, 1_795_003_600.0)


def measure(quick: bool) -> BenchmarkResult:
    """On a file in memory, which shows what the code costs, and on this disk, which waits for the platter."""
    sizes, rounds = ((10, 1000), 200) if quick else ((10, 100, 1000, 10_000, 100_000), 500)
    found = BenchmarkResult()
    with temporary_disk_folder() as disk:
        in_memory = _rates(MEMORY_DIR / disk.name, sizes, rounds)
        on_disk = _rates(disk / "durable", sizes[:: len(sizes) - 1], max(rounds // 10, 20))
        raw, file = _fsyncs(disk, 60), _file(disk, 20 if quick else 200)
    small, large = in_memory[sizes[0]], in_memory[sizes[-1]]
    slowest = min(one.median for one in in_memory.values())
    found.rows.append(
        Row(
            "outbox: put + claim + done, the disk's waiting left out",
            f"over 2,000 a second, flat from 10 to {sizes[-1]:,} rows",
            f"{small.format('/s')} at 10 rows, {large.format('/s')} at {sizes[-1]:,} rows",
            slowest > 2000 and large.median > 0.7 * small.median,
            (f"a JSON file rewritten for each: {file.format('/s')} at {20 if quick else 200} rows, less with more",),
        )
    )
    found.rows.append(
        Row(
            "the same with each commit on this disk, as it is used",
            "what the disk gives: three waits for it",
            f"{on_disk[sizes[0]].format('/s')} at 10 rows, {on_disk[sizes[-1]].format('/s')} at {sizes[-1]:,} rows",
            None,
            (f"the limit, three bare `fsync`: {format_significant(raw.median / 3)} /s",),
        )
    )
    found.notes.append(
        "Outbox: an alert is on disk before it is acknowledged, so each commit waits for the disk, three times an "
        "alert. Slack takes one message a second, so this is no limit in use."
    )
    points = [(size, one.quartiles[0], one.median, one.quartiles[1]) for size, one in in_memory.items()]
    found.curves.append(
        Curve("rows", "Put + claim + done, on top of so many rows", "rows", "alerts a second", {"cwnotify": points})
    )
    return found


def _rates(path: Path, sizes: tuple[int, ...], rounds: int) -> dict[int, Summary]:
    """Alerts a second on top of so many delivered ones."""
    path.mkdir(parents=True)
    try:
        return {size: _rate(path / f"{size}.sqlite3", size, rounds) for size in sizes}
    finally:
        for left in path.iterdir():
            left.unlink()
        path.rmdir()


def _rate(path: Path, size: int, rounds: int, blocks: int = 5) -> Summary:
    outbox = Outbox(path)
    payload = run_message(SAMPLE_RUN_ENDED)
    with outbox.transaction():
        for row in range(size):
            outbox.enqueue(f"old {row}", "slack", payload, 1.0)
            outbox.mark_delivered(f"old {row}", 2.0)
    rates = []
    for block in range(blocks):
        began = time.perf_counter()
        for row in range(rounds):
            outbox.enqueue(f"{block} {row}", "slack", payload, 10.0)
            message = outbox.claim_next("slack", "me", 11.0)
            assert message
            outbox.mark_delivered(message.id, 12.0)
        rates.append(rounds / (time.perf_counter() - began))
    outbox.close()
    return summarize(rates)


def _fsyncs(disk: Path, count: int) -> Summary:
    """How often a second this disk can be waited for, with 4 kB at a time."""
    rates = []
    with (disk / "bare").open("wb", buffering=0) as file:
        for _ in range(count):
            began = time.perf_counter()
            file.write(bytes(4096))
            os.fsync(file.fileno())
            rates.append(1 / (time.perf_counter() - began))
    return summarize(rates)


def _file(disk: Path, rows: int) -> Summary:
    """What one would write in an afternoon: all alerts in one file, put, taken and struck off, each time anew."""
    path, alerts = disk / "alerts.json", {f"old {row}": run_message(SAMPLE_RUN_ENDED) for row in range(rows)}
    rates = []
    for number_ in range(20):
        began = time.perf_counter()
        for state in ("pending", "claimed", "done"):
            alerts["new"] = run_message(SAMPLE_RUN_ENDED) | {"state": f"{state} {number_}"}
            path.write_text(json.dumps(alerts))
            alerts = json.loads(path.read_text())
        rates.append(1 / (time.perf_counter() - began))
    return summarize(rates)
