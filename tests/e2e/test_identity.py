"""Each run gets its own alert, and the ranks of one distributed job share one."""

from __future__ import annotations

import sys

import pytest

from tests.support.kernel import LONG_RUNNING_CODE, Kernel, World, alert_outcome, alert_text, wait_for_alert
from tests.support.slack import Slack

BATCH = {"SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}
TORCH = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}
PYTHON = {"PYTHON": sys.executable}
RETRIES = """
from cwnotify import notify
for attempt in range(3):
    try:
        with notify('train'):
            raise ValueError(f'attempt {attempt}')
    except ValueError:
        pass
"""
# Two ranks, each in a shell that retries. Both fail in every attempt.
SHELL = """
for rank in 0 1; do
    RANK=$rank sh -c 'for attempt in 1 2 3; do ATTEMPT=$attempt $PYTHON train.py; done' &
done
wait
"""
TRAIN = """
import os, pathlib, time
from cwnotify import notify
rank, attempt = os.environ['RANK'], os.environ['ATTEMPT']
with notify('train'):
    pathlib.Path(f'{rank} is in attempt {attempt}').touch()
    while not pathlib.Path(f'{1 - int(rank)} is in attempt {attempt}').exists():
        time.sleep(0.01)
    raise ValueError(f'attempt {attempt}')
"""


def final_alert_texts(world: World, slack: Slack) -> list[str]:
    """Return the texts of all alerts after every sidecar has exited."""
    world.wait_for_sidecars_to_exit()
    return [alert_text(payload) for payload in slack.payloads]


@pytest.mark.parametrize(
    "variables",
    [BATCH, {**BATCH, "SLURM_NTASKS": "4"}, TORCH, {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "4"}],
    ids=["a batch job", "a batch job of four tasks", "torchrun's variables", "a rank of Open MPI"],
)
def test_kernel_reports_each_run_despite_inherited_variables(
    variables: dict[str, str], world: World, slack: Slack
) -> None:
    world.environ |= variables
    with Kernel(world) as kernel:
        kernel.run("%load_ext cwnotify")
        for attempt in range(3):
            kernel.run(f"%%notify_on_finish train\nraise ValueError('attempt {attempt}')")
        kernel.submit_cell(f"%%notify_on_finish train\n{LONG_RUNNING_CODE}").wait_for_output("begun")
        kernel.kill()
        slack.wait_for(4)
    texts = final_alert_texts(world, slack)

    assert sorted(map(alert_outcome, slack.payloads)) == ["failed", "failed", "failed", "lost"]
    assert all(any(f"attempt {number}" in text for text in texts) for number in range(3))
    assert "[rank" not in "".join(texts)


def test_torchrun_retry_attempts_are_reported(world: World, slack: Slack) -> None:
    world.execute("python", "-c", RETRIES, env=TORCH)
    texts = final_alert_texts(world, slack)

    assert len(texts) == 3
    assert all(any(f"attempt {number}" in text for text in texts) for number in range(3))


def test_retry_attempts_of_two_ranks_are_reported_once(world: World, slack: Slack) -> None:
    (world.home / "train.py").write_text(TRAIN)
    world.execute("bash", "-c", SHELL, env=PYTHON | {"WORLD_SIZE": "2", "MASTER_PORT": "29500"})
    texts = final_alert_texts(world, slack)

    assert len(texts) == 3
    assert all(any(f"attempt {number}" in text for text in texts) for number in (1, 2, 3))


def test_eight_failing_ranks_send_one_alert(world: World, slack: Slack) -> None:
    code = "import time\nfrom cwnotify import notify\nwith notify('train'):\n    [][0]"
    script = world.home / "train.py"
    script.write_text(code)
    world.execute(
        "bash", "-c", "for r in 0 1 2 3 4 5 6 7; do RANK=$r WORLD_SIZE=8 $PYTHON train.py & done; wait", env=PYTHON
    )

    assert len(final_alert_texts(world, slack)) == 1


LIGHTNING = """
import os, subprocess, sys
from cwnotify import notify
with notify('fit', min=0):
    if 'LOCAL_RANK' not in os.environ:
        os.environ |= {'LOCAL_RANK': '0', 'NODE_RANK': '0', 'WORLD_SIZE': '2', 'MASTER_PORT': '41234'}
        other = subprocess.Popen([sys.executable, *sys.argv], env={**os.environ, 'LOCAL_RANK': '1'})
        other.wait()
        # As `LightningEnvironment.teardown` does.
        del os.environ['WORLD_SIZE']
    FAIL
"""


@pytest.mark.parametrize(("statement", "outcome"), [("pass", "finished"), ("[][0]", "failed")])
def test_lightning_worker_processes_belong_to_same_run(
    statement: str, outcome: str, world: World, slack: Slack
) -> None:
    script = world.home / "train.py"
    script.write_text(LIGHTNING.replace("FAIL", statement))
    world.execute("python", script)

    assert len(final_alert_texts(world, slack)) == 1
    assert alert_outcome(slack.payloads[0]) == outcome


def test_late_secondary_rank_sends_nothing_when_finished(world: World, slack: Slack) -> None:
    body = "os.environ |= dict(RANK='1', WORLD_SIZE='2')"
    world.execute("python", "-c", f"import os\nfrom cwnotify import notify\nwith notify('train'):\n    {body}")

    assert final_alert_texts(world, slack) == []


def test_rank_dependent_name_hides_no_failure(world: World, slack: Slack) -> None:
    code = "import os\nfrom cwnotify import notify\nwith notify('train ' + os.environ['RANK']):\n    [][0]"
    (world.home / "train.py").write_text(code)
    world.execute("bash", "-c", "for r in 0 1; do RANK=$r WORLD_SIZE=2 $PYTHON train.py & done; wait", env=PYTHON)

    assert len(final_alert_texts(world, slack)) == 2
    assert alert_outcome(wait_for_alert(slack, "train 1")) == "failed"
