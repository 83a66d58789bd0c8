"""Notebooks run by programs: exit codes stay, alerts arrive though the kernel leaves at once, and nothing leaks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from tests.support.kernel import ROOT, World, alert_outcome, alert_text, delivered_alerts, wait_for_alert
from tests.support.slack import Answer, Slack

# The programs drive kernels in processes of their own.
pytestmark = pytest.mark.flaky(reruns=1)
GOOD = "%%notify_on_finish good\nprint('trained')"
BAD = "%%notify_on_finish bad\nraise ValueError('too small')"
AFTER = "%%notify_on_finish after\n'never'"


@pytest.fixture
def world(slack: Slack, tmp_path: Path) -> Iterator[World]:
    with World(tmp_path / "world", slack.url) as one:
        yield one


def notebook(path: Path, *cells: str) -> Path:
    """Write a notebook that loads cwnotify and then holds `cells`."""
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    sources = ["%load_ext cwnotify", *cells]
    nbformat.write(new_notebook(cells=[new_code_cell(source) for source in sources], metadata=kernel), path)
    return path


def run_by(runner: str, world: World, path: Path) -> tuple[CompletedProcess[str], Path]:
    """Execute `path` and give the runner that ended and the executed notebook."""
    out = path.with_name("executed.ipynb")
    commands = {
        "jupyter execute": [Path(sys.executable).with_name("jupyter-execute"), path, "--output", "executed"],
        "papermill": ["python", "-m", "papermill", "--no-progress-bar", path, out],
    }
    return world.execute(*commands[runner], timeout=120), out


@pytest.mark.parametrize("runner", ["jupyter execute", "papermill"])
def test_notebook_finishes(runner: str, world: World, slack: Slack, tmp_path: Path) -> None:
    done, executed = run_by(runner, world, notebook(tmp_path / "train.ipynb", GOOD))

    assert done.returncode == 0
    assert alert_outcome(wait_for_alert(slack, "good")) == "finished"
    outputs = [cell.get("outputs") for cell in nbformat.read(executed, as_version=4).cells]
    assert outputs[0] == []
    assert [output["text"] for output in outputs[-1]] == ["trained\n"]


@pytest.mark.parametrize("runner", ["jupyter execute", "papermill"])
def test_failing_notebook_stops_with_nonzero_exit_code(runner: str, world: World, slack: Slack, tmp_path: Path) -> None:
    done, _ = run_by(runner, world, notebook(tmp_path / "train.ipynb", GOOD, BAD, AFTER))

    assert done.returncode != 0
    assert "too small" in done.stdout + done.stderr
    assert alert_outcome(wait_for_alert(slack, "good")) == "finished"
    assert alert_outcome(wait_for_alert(slack, "bad")) == "failed"
    world.wait_for_sidecars_to_exit()
    assert not delivered_alerts(slack, "after")


@pytest.mark.parametrize("runner", ["jupyter execute", "papermill"])
def test_webhook_is_left_nowhere(runner: str, world: World, slack: Slack, tmp_path: Path) -> None:
    secret = slack.canary
    slack.next_answers += [Answer(500, "rollup_error")]
    done, executed = run_by(runner, world, notebook(tmp_path / "train.ipynb", GOOD, BAD))
    wait_for_alert(slack, "bad")
    world.wait_for_sidecars_to_exit()

    files = [path for path in tmp_path.rglob("*") if path.is_file()]

    # jupyter execute writes no notebook that failed.
    assert (executed in files) == (runner == "papermill")
    assert any(path.name.startswith("outbox") for path in files)
    assert not [path for path in files if secret.encode() in path.read_bytes()]
    assert secret not in done.stdout + done.stderr


EXECUTE = "import sys; from pathlib import Path; from cwnotify.demo.notebook import execute_notebook; execute_notebook(Path(sys.argv[1]))"
SHIPPED = {
    "training.ipynb": {"spirals": "accuracy", "too-fast": "loss", "sweep": "rate 2.0", "night-run": "epoch"},
    "panel.ko.ipynb": {"학습": "norm"},
    "quickstart.ko.ipynb": {
        "예열": "",
        "학습": "loss",
        "다시-학습": "ValueError",
        "끝없는-셀": "",
        "밤샘-학습": "SIGKILL",
    },
}


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_notebook_sends_expected_alerts(name: str, world: World, slack: Slack) -> None:
    done = world.execute("python", "-c", EXECUTE, ROOT / "notebooks" / name, timeout=120)

    assert done.returncode == 0, done.stderr
    told = {run: alert_text(wait_for_alert(slack, run)) for run in SHIPPED[name]}
    assert all(value in told[run] for run, value in SHIPPED[name].items()), told
    world.wait_for_sidecars_to_exit()
    assert len(slack.payloads) == len(told)


SAID = {
    "alarms.ipynb": ["-busy is in ALARM", "The function succeeded", "Nothing is left."],
    "fleet.ipynb": ["highest of 40", " alarms changed", "Nothing is left."],
}
PRINT = (
    "outputs = execute(Path(sys.argv[1]))\n"
    "print(*(one.get('text') or one.get('data', one).get('text/plain', one) for one in outputs), sep='\\n')"
)


@pytest.mark.parametrize("name", SAID)
def test_borrowing_notebook_shows_expected_output(name: str, tmp_path: Path) -> None:
    # No webhook and no account: the notebook's first cell brings both.
    with World(tmp_path / "world", "") as world:
        script = EXECUTE.rpartition("; ")[0] + "\n" + PRINT
        done = world.execute("python", "-c", script, ROOT / "notebooks" / name, timeout=150)

    assert done.returncode == 0, done.stderr
    assert not [words for words in SAID[name] if words not in done.stdout], done.stdout
    assert "Traceback" not in done.stdout


def test_borrowed_account_in_lab_uses_existing_slack(slack: Slack, tmp_path: Path) -> None:
    with World(tmp_path / "world", slack.url) as world:
        script = EXECUTE.rpartition("; ")[0] + "\n" + PRINT
        done = world.execute("python", "-c", script, ROOT / "notebooks" / "alarms.ipynb", timeout=150)

    assert done.returncode == 0, done.stderr
    assert "what Slack receives is on the page whose address make lab printed" in done.stdout
    assert "a cell set another webhook" not in done.stdout
    assert "Traceback" not in done.stdout
    assert any("-busy* is in ALARM" in payload["text"] for payload in slack.payloads)
    assert slack.canary not in done.stdout


def test_borrowed_account_sends_nothing_to_own_slack(tmp_path: Path) -> None:
    with World(tmp_path / "world", "https://hooks.slack.com/services/T000/B000/canary") as world:
        done = world.execute("python", "-c", "from cwnotify.demo.fake_account import borrow; borrow()")

    assert done.returncode == 1
    assert "SettingsError: your alerts go to your own Slack (CWNOTIFY_WEBHOOK_URL)" in done.stderr
    assert "canary" not in done.stderr + done.stdout
