"""The Lambda function: its cold import, a warm call, and its zip."""

from __future__ import annotations

import io
import json
import marshal
import subprocess
import sys
import time
import zipfile
from functools import partial
from pathlib import Path

import slack_sdk

from benchmarks.harness import (
    BenchmarkResult,
    Curve,
    Row,
    Summary,
    excess_over_median,
    format_significant,
    measure_interleaved,
    summarize,
    temporary_disk_folder,
    threshold_row,
)
from cwnotify.alerts.payloads import render_payloads
from cwnotify.demo.slack_rules import respond_to_webhook
from cwnotify.deploy.bundle import LAZY_MODULES, collect_zip_files, make_zip

EVENT_PATH = Path(__file__).parents[1] / "tests" / "data" / "envelopes" / "sns_busy.json"
TIMING_TEMPLATE = "import time; began = time.perf_counter(); {}; print(1000 * (time.perf_counter() - began))"
BASELINE_IMPORT = "import json, urllib.request"
CWNOTIFY_IMPORT = "import cwnotify.lambda_function"
# terraform-aws-notify-slack's function is on no package index. This is what it imports as it starts.
TERRAFORM_IMPORT = "import os, boto3, json, base64, urllib.request, urllib.parse, logging, pprint, re"


def measure(quick: bool) -> BenchmarkResult:
    """In fresh interpreters, in turn; then in this one."""
    found = BenchmarkResult()
    rounds = 5 if quick else 25
    imports = measure_interleaved(
        {code: lambda code=code: _cold(code) for code in (BASELINE_IMPORT, CWNOTIFY_IMPORT, TERRAFORM_IMPORT)}, rounds
    )
    ours = excess_over_median(imports[CWNOTIFY_IMPORT].values, imports[BASELINE_IMPORT].values)
    terraform = excess_over_median(imports[TERRAFORM_IMPORT].values, imports[BASELINE_IMPORT].values)
    peers = {"terraform-aws-notify-slack": terraform}
    found.rows.append(
        threshold_row("handler: cold import, beyond `import json, urllib.request`", ours, "ms", 10.0, peers)
    )
    found.notes.append(
        f"Handler: {BASELINE_IMPORT} takes {imports[BASELINE_IMPORT].format('ms')}, ours in all {imports[CWNOTIFY_IMPORT].format('ms')}. "
        "terraform-aws-notify-slack is on no package index: a line with the same imports stands for it."
    )
    found.rows.append(threshold_row("handler: warm call without the network", _warm(50 if quick else 500), "ms", 1.0))
    found.rows.append(_from_the_zip(rounds))
    size = summarize([len(make_zip()) / 1000])
    found.rows.append(
        threshold_row(
            "zip", size, "kB", 40.0, {"slack_sdk alone": summarize([_zipped(Path(slack_sdk.__file__).parent)])}
        )
    )
    found.curves.append(_many((1, 10, 100) if quick else (1, 10, 100, 1000, 10_000)))
    return found


def _cold(code: str, *options: str, folder: Path | None = None) -> float:
    done = subprocess.run(
        [sys.executable, *options, "-c", TIMING_TEMPLATE.format(code)],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/bin:/bin"},
        cwd=folder,
    )
    return float(done.stdout)


def _from_the_zip(rounds: int) -> Row:
    """As on Lambda: unpacked where nothing can be written, so that every start compiles anew."""
    names = [
        name
        for name in collect_zip_files()
        if name.removesuffix(".py").replace("/", ".") not in (*LAZY_MODULES, "cwnotify.alerts.locale.ko")
    ]
    alone = f"[compile(open(name, 'rb').read(), name, 'exec') for name in {names}]"
    with temporary_disk_folder() as task:
        zipfile.ZipFile(io.BytesIO(make_zip())).extractall(task)
        cold = partial(_cold, folder=task)
        variants = {code: partial(cold, code, "-B") for code in (BASELINE_IMPORT, "import lambda_function", alone)}
        imports = measure_interleaved(variants, rounds)
    ours = excess_over_median(imports["import lambda_function"].values, imports[BASELINE_IMPORT].values)
    peers: dict[str, Summary | str] = {
        "the limit, to compile the source": imports[alone],
        "bytecode in the zip": f"it would take {format_significant(_with_bytecode())} kB, and serve one version of Python",
    }
    return threshold_row("the same where bytecode cannot be cached, as on Lambda", ours, "ms", 10.0, peers)


def _with_bytecode() -> float:
    """Kilobytes of a zip that holds bytecode instead of source."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, source in collect_zip_files().items():
            archive.writestr(f"{name}c", marshal.dumps(compile(source, name, "exec", optimize=2)))
    return len(buffer.getvalue()) / 1000


def _warm(rounds: int) -> Summary:
    """From an event to the payloads that Slack would get."""
    event = json.loads(EVENT_PATH.read_bytes())
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        told = render_payloads(event, "en")
        times.append(1000 * (time.perf_counter() - began))
    assert [respond_to_webhook(json.dumps(one).encode()).body for one in told] == ["ok"]
    return summarize(times)


def _zipped(package: Path) -> float:
    """Kilobytes of a package's modules in a zip such as ours."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in sorted(package.rglob("*.py")):
            archive.write(path, path.relative_to(package.parent))
    return len(buffer.getvalue()) / 1000


def _many(counts: tuple[int, ...]) -> Curve:
    """The whole function's work for so many alarms at once, without the network."""
    record = json.loads(EVENT_PATH.read_bytes())["Records"][0]
    points = []
    for count in counts:
        records = [_named(record, f"train-{index:05}-busy") for index in range(count)]
        began = time.perf_counter()
        told = render_payloads({"Records": records}, "en")
        points.append((count, 1000 * (time.perf_counter() - began)))
        assert told
    return Curve("alarms", "The function's own time for so many alarms at once", "alarms", "ms", {"cwnotify": points})


def _named(record: dict[str, object], name: str) -> dict[str, object]:
    """The record, about another alarm."""
    text = json.dumps(record)
    return json.loads(text.replace(json.loads(record["Sns"]["Message"])["AlarmName"], name))  # type: ignore[index,no-any-return]
