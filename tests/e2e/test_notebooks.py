"""Programs that run notebooks: exit codes stay, alerts arrive after the kernel exits, and no secret leaks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from tests.support.kernel import ROOT, World, alert_outcome, alert_text, delivered_alerts, wait_for_alert
from tests.support.slack import Answer, Slack

# The programs drive kernels in their own processes.
pytestmark = pytest.mark.flaky(reruns=1)
RUNNERS = ["jupyter execute", "papermill"]
GOOD = "%%notify_on_finish good\nprint('trained')"
BAD = "%%notify_on_finish bad\nraise ValueError('too small')"
AFTER = "%%notify_on_finish after\n'never'"


@pytest.fixture
def world(slack: Slack, tmp_path: Path) -> Iterator[World]:
    with World(tmp_path / "world", slack.url) as world:
        yield world


def write_notebook(path: Path, *cells: str) -> Path:
    """Write a notebook that loads cwnotify and then has `cells`."""
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    sources = ["%load_ext cwnotify", *cells]
    nbformat.write(new_notebook(cells=[new_code_cell(source) for source in sources], metadata=kernel), path)
    return path


def run_by(runner: str, world: World, path: Path) -> tuple[CompletedProcess[str], Path]:
    """Execute `path`. Return the finished runner and the path of the executed notebook."""
    executed = path.with_name("executed.ipynb")
    commands: dict[str, list[str | Path]] = {
        "jupyter execute": [Path(sys.executable).with_name("jupyter-execute"), path, "--output", "executed"],
        "papermill": ["python", "-m", "papermill", "--no-progress-bar", path, executed],
    }
    return world.execute(*commands[runner], timeout=120), executed


@pytest.mark.parametrize("runner", RUNNERS)
def test_notebook_finishes(runner: str, world: World, slack: Slack, tmp_path: Path) -> None:
    result, executed = run_by(runner, world, write_notebook(tmp_path / "train.ipynb", GOOD))

    assert result.returncode == 0
    assert alert_outcome(wait_for_alert(slack, "good")) == "finished"
    outputs = [cell.get("outputs") for cell in nbformat.read(executed, as_version=4).cells]
    assert outputs[0] == []
    assert [output["text"] for output in outputs[-1]] == ["trained\n"]


@dataclass(frozen=True)
class FailedNotebook:
    """A notebook that failed under `runner`. Every sidecar has exited. Slack answered the first request with 500."""

    runner: str
    folder: Path
    slack: Slack
    result: CompletedProcess[str]
    executed: Path


@pytest.fixture(scope="module", params=RUNNERS)
def failed_notebook(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FailedNotebook]:
    folder = tmp_path_factory.mktemp("failed")
    with Slack() as slack, World(folder / "world", slack.url) as world:
        slack.next_answers += [Answer(500, "rollup_error")]
        result, executed = run_by(request.param, world, write_notebook(folder / "train.ipynb", GOOD, BAD, AFTER))
        wait_for_alert(slack, "bad")
        world.wait_for_sidecars_to_exit()
        yield FailedNotebook(request.param, folder, slack, result, executed)


def test_failing_notebook_stops_with_nonzero_exit_code(failed_notebook: FailedNotebook) -> None:
    result, slack = failed_notebook.result, failed_notebook.slack

    assert result.returncode != 0
    assert "too small" in result.stdout + result.stderr
    assert alert_outcome(wait_for_alert(slack, "good")) == "finished"
    assert alert_outcome(wait_for_alert(slack, "bad")) == "failed"
    assert not delivered_alerts(slack, "after")


def test_webhook_is_left_nowhere(failed_notebook: FailedNotebook) -> None:
    secret, result = failed_notebook.slack.canary, failed_notebook.result
    files = [path for path in failed_notebook.folder.rglob("*") if path.is_file()]

    # jupyter execute writes no file for a notebook that failed.
    assert (failed_notebook.executed in files) == (failed_notebook.runner == "papermill")
    assert any(path.name.startswith("outbox") for path in files)
    assert not [path for path in files if secret.encode() in path.read_bytes()]
    assert secret not in result.stdout + result.stderr


EXECUTE = """
import sys
from pathlib import Path
from cwnotify.demo.notebook import execute_notebook
outputs = execute_notebook(Path(sys.argv[1]))
print(*(output.get('text') or output.get('data', output).get('text/plain', output) for output in outputs), sep='\\n')
"""
EXPECTED_VALUES = {
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


def execute_shipped(name: str, world: World) -> str:
    """Execute a notebook from ``notebooks/`` and return its output."""
    result = world.execute("python", "-c", EXECUTE, ROOT / "notebooks" / name, timeout=150)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("name", EXPECTED_VALUES)
def test_shipped_notebook_sends_expected_alerts(name: str, world: World, slack: Slack) -> None:
    execute_shipped(name, world)

    texts = {run: alert_text(wait_for_alert(slack, run)) for run in EXPECTED_VALUES[name]}
    assert all(value in texts[run] for run, value in EXPECTED_VALUES[name].items()), texts
    world.wait_for_sidecars_to_exit()
    assert len(slack.payloads) == len(texts)


def test_borrowed_account_brings_its_own_slack(tmp_path: Path) -> None:
    # Neither a webhook nor an account is configured. The notebook's first cell starts both.
    with World(tmp_path / "world", "") as world:
        output = execute_shipped("fleet.ipynb", world)

    expected = ["highest of 40", " alarms changed", "Nothing is left."]
    assert not [text for text in expected if text not in output], output
    assert "Traceback" not in output


def test_borrowed_account_in_lab_uses_existing_slack(world: World, slack: Slack) -> None:
    output = execute_shipped("alarms.ipynb", world)

    expected = [
        "-busy is in ALARM",
        "The function succeeded",
        "Nothing is left.",
        "what Slack receives is on the page whose address make lab printed",
    ]
    assert not [text for text in expected if text not in output], output
    assert "a cell set another webhook" not in output
    assert "Traceback" not in output
    assert any("-busy* is in ALARM" in payload["text"] for payload in slack.payloads)
    assert slack.canary not in output


def test_borrowed_account_sends_nothing_to_own_slack(tmp_path: Path) -> None:
    with World(tmp_path / "world", "https://hooks.slack.com/services/T000/B000/canary") as world:
        result = world.execute("python", "-c", "from cwnotify.demo.fake_account import borrow; borrow()")

    assert result.returncode == 1
    assert "SettingsError: your alerts go to your own Slack (CWNOTIFY_WEBHOOK_URL)" in result.stderr
    assert "canary" not in result.stderr + result.stdout
