"""The zip: reproducible, small, and complete."""

from __future__ import annotations

import ast
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

from click.testing import CliRunner

from cwnotify.cli import cwnotify
from cwnotify.deploy.bundle import collect_zip_files, make_zip

ROOT = Path(__file__).parents[2]


def test_same_source_gives_same_bytes(tmp_path: Path) -> None:
    code = "import sys; from cwnotify.deploy.bundle import make_zip; sys.stdout.buffer.write(make_zip())"
    environ = {**os.environ, "TZ": "Asia/Seoul", "PYTHONHASHSEED": "7", "PYTHONPATH": str(ROOT)}
    process = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environ, capture_output=True, check=True)
    assert process.stdout == make_zip()


def test_zip_is_small_sorted_and_uncompressed() -> None:
    content = make_zip()
    assert len(content) < 280_000
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        # Versions of zlib compress differently, and the zip's hash must be the same on every machine.
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        assert archive.namelist() == sorted(archive.namelist())
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {entry.external_attr >> 16 for entry in archive.infolist()} == {0o100644}


def test_statements_keep_their_line_numbers() -> None:
    for path, content in collect_zip_files().items():
        if not path.startswith("cwnotify/"):
            continue
        original = {
            node.lineno for node in ast.walk(ast.parse((ROOT / path).read_text())) if isinstance(node, ast.stmt)
        }
        shipped = {node.lineno for node in ast.walk(ast.parse(content)) if isinstance(node, ast.stmt)}
        assert shipped == original


def test_zip_contains_exactly_the_loaded_modules(tmp_path: Path) -> None:
    zipfile.ZipFile(io.BytesIO(make_zip())).extractall(tmp_path)
    # Every kind of event in every language.
    code = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); import lambda_function\n"
        "from cwnotify.alerts.payloads import render_payloads\n"
        "for lang in ('en', 'ko'):\n"
        "    for event in json.loads(sys.argv[2]): print(render_payloads(event, lang))\n"
        "print(json.dumps("
        "[module.__file__ for module in list(sys.modules.values()) if getattr(module, '__file__', None)]))"
    )
    alarms = [{"AlarmName": f"train-{n}", "NewStateValue": "ALARM", "OldStateValue": "OK"} for n in range(9)]
    storm = {"Records": [{"Sns": {"Message": json.dumps(alarm)}} for alarm in alarms]}
    notice = {"detail-type": "EC2 Spot Instance Interruption Warning", "detail": {"instance-id": "i-0abc12f9"}}
    described = alarms[0] | {"AlarmDescription": "**busy**"}
    failure = {"requestContext": {"functionArn": "arn:aws:lambda:us-east-1:123456789012:function:job"}}
    events = json.dumps([described, storm, notice, failure, "Ping", "password=madeUp1"])
    # With -I and -S, neither this tree nor an installed package can be imported.
    command = [sys.executable, "-I", "-S", "-c", code, str(tmp_path), events]
    *output, last = subprocess.run(command, capture_output=True, check=True).stdout.splitlines()
    assert sum("요정" in line.decode() for line in output) >= 1
    loaded = json.loads(last)
    files = {Path(file).relative_to(tmp_path).as_posix() for file in loaded if file.startswith(str(tmp_path))}
    assert files == set(collect_zip_files())


def test_command_writes_the_zip(tmp_path: Path) -> None:
    path = tmp_path / "cwnotify.zip"
    result = CliRunner().invoke(cwnotify, ["bundle", "-o", str(path)])
    assert result.exit_code == 0
    assert "lambda_function.lambda_handler" in result.output
    assert "python3.10 to python3.14" in result.output
    assert path.read_bytes() == make_zip()
