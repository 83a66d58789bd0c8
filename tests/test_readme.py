"""The README keeps its word: its commands run, its links lead somewhere, its options exist."""

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

# Run by CI itself, by tests/e2e/test_demo.py and by tests/test_package.py; here it is seen that they exist.
MAKE = {"make demo", "make test", "make quick", "make lint", "make lab", "make bench"}
# Run one after the other, in this order: each needs what those before it made.
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
# It ends when it is told to: tests/e2e/test_watch_command.py.
# They name a place, and no setting.
PLACES = {"CWNOTIFY_STATE_DIR", "CWNOTIFY_TEAM_CONFIG"}
ELSEWHERE = {*MAKE, *AWS, "pip install .", "cwnotify watch"}


def blocks(language: str) -> list[str]:
    """The code blocks of the README in one language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands() -> list[str]:
    """Every command line that the README tells a person to type."""
    inline = re.findall(r"`((?:cwnotify|make) [^`]*)`", README)
    typed = [line for block in blocks("sh") for line in block.splitlines() if line.strip()]
    return sorted({*typed, *inline})


@pytest.mark.parametrize("command", [command for command in commands() if command not in ELSEWHERE])
def test_a_command_runs(command: str, tmp_path: Path) -> None:
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

        done = subprocess.run(
            [BIN / program, *words, *extra],
            cwd=tmp_path,
            env=environment,
            input=typed,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

        assert done.returncode == 0, done.stdout + done.stderr
        assert slack.url not in done.stdout + done.stderr
        if "run" in words:
            # Else its alert, and with it its sidecar, would wait for a Slack that is gone.
            slack.wait_for(1)


def test_the_commands_for_aws_run(tmp_path: Path) -> None:
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
            # A person is asked whether to remove it all; nobody is here to answer.
            answered = ["--yes"] if words == ["teardown"] else []
            done = subprocess.run(
                [BIN / program, *words, *answered],
                cwd=tmp_path,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 0, command + done.stdout + done.stderr
            assert slack.url not in done.stdout + done.stderr
        assert aws.list_resources() == before


@pytest.mark.parametrize("command", sorted(MAKE))
def test_a_make_target_exists(command: str) -> None:
    target = command.removeprefix("make ")

    assert re.search(rf"^{target}:", (TOP / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#]+)\)", README))
def test_a_link_leads_somewhere(link: str) -> None:
    if not link.startswith("https://"):
        assert (TOP / link).exists()


@pytest.mark.parametrize("flag", sorted(set(re.findall(r"`(--[a-z-]+)", README))))
def test_an_option_exists(flag: str) -> None:
    known = "".join(parser().format_help() for parser in (notify_on_finish_parser, notify_all_parser, panel_parser))
    assert flag in re.findall("--[a-z-]+", known)


@pytest.mark.parametrize("variable", sorted(set(re.findall(r"`(CWNOTIFY_[A-Z_]+)`", SETTINGS_PAGE)) - PLACES))
def test_a_variable_is_read(variable: str, tmp_path: Path) -> None:
    samples = {
        "CWNOTIFY_WEBHOOK_URL": "https://example.test/x",
        "CWNOTIFY_LANG": "ko",
        "CWNOTIFY_MENTION": "@here",
        "CWNOTIFY_MIN_DURATION": "5m",
        "CWNOTIFY_ROUND": "1m",
        "CWNOTIFY_TZ": "Asia/Seoul",
    }
    home = {"HOME": str(tmp_path)}

    settings, troubles = load_settings({**home, variable: samples.get(variable, "x")})

    assert not troubles
    assert settings != load_settings(home)[0]


@pytest.mark.parametrize("block", blocks("python"))
def test_python_in_it_is_what_a_cell_takes(block: str) -> None:
    from cwnotify.notebook.arguments import parse_cell_arguments
    from cwnotify.view.options import build_panel_request, parse_panel_arguments

    first = block.splitlines()[0]
    if first.startswith("%cwnotify"):
        assert build_panel_request(**parse_panel_arguments(first.removeprefix("%cwnotify")))
    elif first.startswith("%%notify_on_finish"):
        assert parse_cell_arguments(first.removeprefix("%%notify_on_finish")).name
    else:
        assert first == "%load_ext cwnotify"
