"""The throughput of the outbox: enqueue, claim and mark delivered, with a growing number of rows."""

from __future__ import annotations

import json
import os
import shutil
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
    """Measure a file in memory, which shows the cost of the code, and a file on this disk."""
    sizes, rounds = ((10, 1000), 200) if quick else ((10, 100, 1000, 10_000, 100_000), 500)
    result = BenchmarkResult()
    with temporary_disk_folder() as disk:
        in_memory = _measure_sizes(MEMORY_DIR / disk.name, sizes, rounds)
        on_disk = _measure_sizes(disk / "durable", sizes[:: len(sizes) - 1], max(rounds // 10, 20))
        fsync, json_file = _measure_fsync(disk, 60), _measure_json_file(disk, 20 if quick else 200)
    small, large = in_memory[sizes[0]], in_memory[sizes[-1]]
    slowest = min(rate.median for rate in in_memory.values())
    result.rows.append(
        Row(
            "outbox: enqueue + claim + mark delivered, without the disk",
            f"over 2,000 per second, equal from 10 to {sizes[-1]:,} rows",
            f"{small.format('/s')} at 10 rows, {large.format('/s')} at {sizes[-1]:,} rows",
            slowest > 2000 and large.median > 0.7 * small.median,
            (f"a JSON file, rewritten each time: {json_file.format('/s')} at {20 if quick else 200} rows",),
        )
    )
    result.rows.append(
        Row(
            "the same with each commit on this disk, as in use",
            "the speed of the disk: three syncs per alert",
            f"{on_disk[sizes[0]].format('/s')} at 10 rows, {on_disk[sizes[-1]].format('/s')} at {sizes[-1]:,} rows",
            None,
            (f"the limit, three bare `fsync`: {format_significant(fsync.median / 3)} /s",),
        )
    )
    result.notes.append(
        "Outbox: an alert is on disk before it is acknowledged. Each of its three commits waits for the disk. Slack "
        "accepts one message per second, so the outbox is never the limit."
    )
    points = [(size, rate.quartiles[0], rate.median, rate.quartiles[1]) for size, rate in in_memory.items()]
    result.curves.append(
        Curve(
            "rows", "Enqueue + claim + mark delivered", "rows in the outbox", "alerts per second", {"cwnotify": points}
        )
    )
    return result


def _measure_sizes(path: Path, sizes: tuple[int, ...], rounds: int) -> dict[int, Summary]:
    """Return the alerts per second for each number of delivered messages in the outbox."""
    path.mkdir(parents=True)
    try:
        return {size: _measure_outbox(path / f"{size}.sqlite3", size, rounds) for size in sizes}
    finally:
        shutil.rmtree(path)


def _measure_outbox(path: Path, size: int, rounds: int, blocks: int = 5) -> Summary:
    outbox = Outbox(path)
    payload = run_message(SAMPLE_RUN_ENDED)
    with outbox.transaction():
        for row in range(size):
            outbox.enqueue(f"old {row}", "slack", payload, 1.0)
            outbox.mark_delivered(f"old {row}", 2.0)
    rates = []
    for block in range(blocks):
        started_at = time.perf_counter()
        for row in range(rounds):
            outbox.enqueue(f"{block} {row}", "slack", payload, 10.0)
            message = outbox.claim_next("slack", "me", 11.0)
            assert message
            outbox.mark_delivered(message.id, 12.0)
        rates.append(rounds / (time.perf_counter() - started_at))
    outbox.close()
    return summarize(rates)


def _measure_fsync(disk: Path, count: int) -> Summary:
    """Return how many writes of 4 kB per second this disk can sync."""
    rates = []
    with (disk / "bare").open("wb", buffering=0) as file:
        for _ in range(count):
            started_at = time.perf_counter()
            file.write(bytes(4096))
            os.fsync(file.fileno())
            rates.append(1 / (time.perf_counter() - started_at))
    return summarize(rates)


def _measure_json_file(disk: Path, rows: int) -> Summary:
    """Return the alerts per second of the simplest alternative: one JSON file, rewritten for each change of state."""
    path, alerts = disk / "alerts.json", {f"old {row}": run_message(SAMPLE_RUN_ENDED) for row in range(rows)}
    rates = []
    for number in range(20):
        started_at = time.perf_counter()
        for state in ("pending", "claimed", "done"):
            alerts["new"] = run_message(SAMPLE_RUN_ENDED) | {"state": f"{state} {number}"}
            path.write_text(json.dumps(alerts))
            alerts = json.loads(path.read_text())
        rates.append(1 / (time.perf_counter() - started_at))
    return summarize(rates)
