"""The README is correct: its commands run, its options and variables exist."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from cwnotify.notebook.arguments import notify_all_parser, notify_on_finish_parser
from cwnotify.settings import load_settings
from cwnotify.view.options import panel_parser
from tests.support.ministack import Ministack
from tests.support.slack import Slack

TOP = Path(__file__).parents[1]
README = (TOP / "README.md").read_text()
SETTINGS_PAGE = (TOP / "docs" / "settings.md").read_text()
BIN = Path(sys.executable).parent

# CI, tests/e2e/test_demo.py and tests/test_package.py run these; here only their existence is checked.
MAKE = {"make demo", "make test", "make quick", "make lint", "make lab", "make bench"}
# Run in this order, because each needs the results of those before.
AWS = (
    "cwnotify deploy --plan",
    "cwnotify deploy",
    "cwnotify test --lambda",
    "cwnotify stack",
    "cwnotify deploy --alarm disk-full",
    "cwnotify deploy --tag team=ml",
    "cwnotify deploy --fleet --prefix train-",
    "cwnotify redrive",
    "cwnotify teardown",
)
# These variables name paths, not settings.
PATH_VARIABLES = {"CWNOTIFY_STATE_DIR", "CWNOTIFY_TEAM_CONFIG"}
# `cwnotify watch` does not end by itself: tests/e2e/test_watch_command.py.
TESTED_ELSEWHERE = {*MAKE, *AWS, "pip install .", "cwnotify watch"}


def blocks(language: str) -> list[str]:
    """Return the README's code blocks in one language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands() -> list[str]:
    """Return every command line in the README."""
    inline = re.findall(r"`((?:cwnotify|make) [^`]*)`", README)
    typed = [line for block in blocks("sh") for line in block.splitlines() if line.strip()]
    return sorted({*typed, *inline})


@pytest.mark.parametrize("command", [command for command in commands() if command not in TESTED_ELSEWHERE])
def test_command_runs(command: str, tmp_path: Path) -> None:
    program, *words = shlex.split(command)
    with Slack() as slack:
        (tmp_path / "train.py").write_text("print('trained')")
        environment = {
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "CWNOTIFY_WEBHOOK_URL": slack.url,
            "CWNOTIFY_STATE_DIR": str(tmp_path / "state"),
        }
        typed = f"{slack.url}\n" if "login" in words else ""
        extra = ["--stdin"] if "login" in words else []

        process = subprocess.run(
            [BIN / program, *words, *extra],
            cwd=tmp_path,
            env=environment,
            input=typed,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

        assert process.returncode == 0, process.stdout + process.stderr
        assert slack.url not in process.stdout + process.stderr
        if "run" in words:
            # The sidecar must deliver before the stand-in stops.
            slack.wait_for(1)


def test_aws_commands_run_in_order(tmp_path: Path) -> None:
    assert set(AWS) <= set(commands())
    with Slack() as slack, Ministack(tmp_path) as aws:
        tags = [{"ResourceType": "instance", "Tags": [{"Key": "team", "Value": "ml"}]}]
        environment = {
            **aws.environ(),
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "CWNOTIFY_WEBHOOK_URL": slack.url,
            "CWNOTIFY_INSTANCE": aws.run_instance(TagSpecifications=tags),
        }
        aws.client("cloudwatch").put_metric_alarm(
            AlarmName="disk-full",
            Namespace="CWAgent",
            MetricName="disk_used_percent",
            Statistic="Maximum",
            Period=60,
            EvaluationPeriods=1,
            Threshold=95.0,
            ComparisonOperator="GreaterThanThreshold",
        )
        before = aws.list_resources()
        for command in AWS:
            program, *words = command.split()
            # Without a terminal, teardown needs --yes.
            confirmation = ["--yes"] if words == ["teardown"] else []
            process = subprocess.run(
                [BIN / program, *words, *confirmation],
                cwd=tmp_path,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert process.returncode == 0, command + process.stdout + process.stderr
            assert slack.url not in process.stdout + process.stderr
        assert aws.list_resources() == before


@pytest.mark.parametrize("command", sorted(MAKE))
def test_make_target_exists(command: str) -> None:
    target = command.removeprefix("make ")

    assert re.search(rf"^{target}:", (TOP / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("flag", sorted(set(re.findall(r"`(--[a-z-]+)", README))))
def test_option_exists(flag: str) -> None:
    known = "".join(parser().format_help() for parser in (notify_on_finish_parser, notify_all_parser, panel_parser))
    assert flag in re.findall("--[a-z-]+", known)


@pytest.mark.parametrize("variable", sorted(set(re.findall(r"`(CWNOTIFY_[A-Z_]+)`", SETTINGS_PAGE)) - PATH_VARIABLES))
def test_variable_changes_settings(variable: str, tmp_path: Path) -> None:
    samples = {
        "CWNOTIFY_WEBHOOK_URL": "https://example.test/x",
        "CWNOTIFY_LANG": "ko",
        "CWNOTIFY_MENTION": "@here",
        "CWNOTIFY_MIN_DURATION": "5m",
        "CWNOTIFY_ROUND": "1m",
        "CWNOTIFY_TZ": "Asia/Seoul",
    }
    home = {"HOME": str(tmp_path)}

    settings, problems = load_settings({**home, variable: samples.get(variable, "x")})

    assert not problems
    assert settings != load_settings(home)[0]


@pytest.mark.parametrize("block", blocks("python"))
def test_python_block_is_valid_cell(block: str) -> None:
    from cwnotify.notebook.arguments import parse_cell_arguments
    from cwnotify.view.options import build_panel_request, parse_panel_arguments

    first = block.splitlines()[0]
    if first.startswith("%cwnotify"):
        assert build_panel_request(**parse_panel_arguments(first.removeprefix("%cwnotify")))
    elif first.startswith("%%notify_on_finish"):
        assert parse_cell_arguments(first.removeprefix("%%notify_on_finish")).name
    else:
        assert first == "%load_ext cwnotify"
