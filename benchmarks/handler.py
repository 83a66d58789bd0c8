"""The Lambda function: its cold import, a warm call and the size of its zip."""

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
from typing import Any

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
# The imports of terraform-aws-notify-slack's function, which no package index has.
TERRAFORM_IMPORT = "import os, boto3, json, base64, urllib.request, urllib.parse, logging, pprint, re"


def measure(quick: bool) -> BenchmarkResult:
    """Measure imports in new interpreters, in turn, then calls in this one."""
    result = BenchmarkResult()
    rounds = 5 if quick else 25
    statements = (BASELINE_IMPORT, CWNOTIFY_IMPORT, TERRAFORM_IMPORT)
    imports = measure_interleaved({code: partial(_measure_cold, code) for code in statements}, rounds)
    baseline = imports[BASELINE_IMPORT]
    ours = excess_over_median(imports[CWNOTIFY_IMPORT].values, baseline.values)
    peers = {"terraform-aws-notify-slack": excess_over_median(imports[TERRAFORM_IMPORT].values, baseline.values)}
    result.rows.append(
        threshold_row("handler: cold import, beyond `import json, urllib.request`", ours, "ms", 10.0, peers)
    )
    result.notes.append(
        f"Handler: {BASELINE_IMPORT} takes {baseline.format('ms')}, the whole import of cwnotify "
        f"{imports[CWNOTIFY_IMPORT].format('ms')}. No package index has terraform-aws-notify-slack; a line with the "
        "same imports replaces it."
    )
    warm = _measure_warm(50 if quick else 500)
    result.rows.append(threshold_row("handler: warm call without the network", warm, "ms", 1.0))
    result.rows.append(_measure_unpacked_zip(rounds))
    size = summarize([len(make_zip()) / 1000])
    slack_sdk_size = summarize([_zip_kilobytes(Path(slack_sdk.__file__).parent)])
    result.rows.append(threshold_row("zip", size, "kB", 40.0, {"slack_sdk alone": slack_sdk_size}))
    result.curves.append(_measure_many_alarms((1, 10, 100) if quick else (1, 10, 100, 1000, 10_000)))
    return result


def _measure_cold(code: str, *options: str, folder: Path | None = None) -> float:
    """Return the milliseconds of `code` in a new interpreter."""
    process = subprocess.run(
        [sys.executable, *options, "-c", TIMING_TEMPLATE.format(code)],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/bin:/bin"},
        cwd=folder,
    )
    return float(process.stdout)


def _measure_unpacked_zip(rounds: int) -> Row:
    """Measure the import as on Lambda: from the unpacked zip, compiled again at every start."""
    names = [
        name
        for name in collect_zip_files()
        if name.removesuffix(".py").replace("/", ".") not in (*LAZY_MODULES, "cwnotify.alerts.locale.ko")
    ]
    compile_only = f"[compile(open(name, 'rb').read(), name, 'exec') for name in {names}]"
    statements = (BASELINE_IMPORT, "import lambda_function", compile_only)
    with temporary_disk_folder() as task:
        zipfile.ZipFile(io.BytesIO(make_zip())).extractall(task)
        variants = {code: partial(_measure_cold, code, "-B", folder=task) for code in statements}
        imports = measure_interleaved(variants, rounds)
    ours = excess_over_median(imports["import lambda_function"].values, imports[BASELINE_IMPORT].values)
    peers: dict[str, Summary | str] = {
        "the limit, compiling the source": imports[compile_only],
        "bytecode in the zip": f"{format_significant(_bytecode_kilobytes())} kB, for one version of Python only",
    }
    return threshold_row("the same where bytecode cannot be cached, as on Lambda", ours, "ms", 10.0, peers)


def _bytecode_kilobytes() -> float:
    """Return the kilobytes of a zip with bytecode instead of source."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, source in collect_zip_files().items():
            archive.writestr(f"{name}c", marshal.dumps(compile(source, name, "exec", optimize=2)))
    return len(buffer.getvalue()) / 1000


def _measure_warm(rounds: int) -> Summary:
    """Return the milliseconds from an event to the payloads for Slack."""
    event = json.loads(EVENT_PATH.read_bytes())
    times = []
    for _ in range(rounds):
        started_at = time.perf_counter()
        payloads = render_payloads(event, "en")
        times.append(1000 * (time.perf_counter() - started_at))
    assert [respond_to_webhook(json.dumps(payload).encode()).body for payload in payloads] == ["ok"]
    return summarize(times)


def _zip_kilobytes(package: Path) -> float:
    """Return the kilobytes of a package's modules in a zip with the same compression as ours."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in sorted(package.rglob("*.py")):
            archive.write(path, path.relative_to(package.parent))
    return len(buffer.getvalue()) / 1000


def _measure_many_alarms(counts: tuple[int, ...]) -> Curve:
    """Measure one call with `counts` alarms, without the network."""
    record = json.loads(EVENT_PATH.read_bytes())["Records"][0]
    points = []
    for count in counts:
        records = [_with_alarm_name(record, f"train-{index:05}-busy") for index in range(count)]
        started_at = time.perf_counter()
        payloads = render_payloads({"Records": records}, "en")
        points.append((count, 1000 * (time.perf_counter() - started_at)))
        assert payloads
    return Curve("alarms", "Time of one call of the function", "alarms in the call", "ms", {"cwnotify": points})


def _with_alarm_name(record: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a copy of `record` about the alarm `name`."""
    old_name = json.loads(record["Sns"]["Message"])["AlarmName"]
    renamed: dict[str, Any] = json.loads(json.dumps(record).replace(old_name, name))
    return renamed
