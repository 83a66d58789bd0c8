"""``cwnotify doctor`` as a person runs it, with a CloudWatch, a metadata service and a Slack that answer or do not."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from cwnotify.doctor.local import diagnose_front_end
from tests.support.aws_wire import Fault
from tests.support.cloudwatch import CloudWatch
from tests.support.datapoints import cpu_metric, wave_datapoints
from tests.support.imds import IDENTITY_DOCUMENT, Imds
from tests.support.kernel import ROOT, Kernel, World
from tests.support.slack import WEBHOOK_REMOVED, Slack

ME = IDENTITY_DOCUMENT["instanceId"]
SECRETS = ("123456789012", "AKIDEXAMPLE", "secret")


class Scene:
    """A world in which all is well, and ways to ask the doctor."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.aws = stack.enter_context(CloudWatch())
        self.slack = stack.enter_context(Slack())
        imds = stack.enter_context(Imds())
        self.world = stack.enter_context(World(folder, self.slack.url))
        self.world.environ |= {**self.aws.environ(), **imds.environ, "AWS_EC2_METADATA_DISABLED": "false"}
        self.aws.put_instance(ME, detailed=True)
        self.aws.add_datapoints(cpu_metric(ME), wave_datapoints(time.time() - 3000, time.time() - 200, 60))
        of_me = {"Namespace": "AWS/EC2", "MetricName": "CPUUtilization"}
        self.aws.put_alarm("train-busy", "ALARM", Dimensions=[{"Name": "InstanceId", "Value": ME}], **of_me)

    def doctor(self, *words: str, code: int = 0) -> str:
        done = self.world.execute("cwnotify", "doctor", *words)
        assert (done.returncode, done.stderr) == (code, ""), done.stdout + done.stderr
        assert not [one for one in (*SECRETS, self.slack.canary) if one in done.stdout]
        return done.stdout

    def found(self, *words: str, code: int = 0) -> dict[str, list[dict[str, Any]]]:
        """The findings by their part."""
        parts: dict[str, list[dict[str, Any]]] = {}
        for one in json.loads(self.doctor("--json", *words, code=code))["findings"]:
            parts.setdefault(one["part"], []).append(one)
        return parts


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with ExitStack() as stack:
        yield Scene(stack, tmp_path)


def test_where_all_is_well_it_says_so_and_posts_nothing(scene: Scene):
    told = scene.doctor()

    for line in (
        f"✓ Instance     this is {ME}, g5.xlarge in ap-northeast-2a",
        "✓ Region       ap-northeast-2",
        f"✓ Monitoring   {ME} is running; a datapoint every minute (detailed)",
        "✓ Alarms       train-busy (ALARM)",
        "✓ Outbox       nothing waits, and nothing is dead",
    ):
        assert line in told
    assert told.endswith("\nNothing is wrong.\n")
    assert "\x1b" not in told
    assert not [one for one in scene.slack.received if "text" in one.payload]


def test_a_greeting_is_sent_where_that_is_asked_for(scene: Scene):
    assert "said ok" in scene.found("--send")["Slack"][0]["text"]
    assert len(scene.slack.wait_for(1)) == 1

    scene.slack.answer = WEBHOOK_REMOVED
    (gone,) = scene.found("--send", code=1)["Slack"]
    assert gone["text"] == "404 no_service: this webhook was removed"
    assert gone["todo"].endswith("then: cwnotify login")


def test_each_permission_is_tried_and_named_where_it_lacks(scene: Scene):
    scene.aws.faults += [
        Fault("AccessDenied", status=403, operation=name) for name in ("GetMetricData", "DescribeAlarmHistory")
    ]

    allowed, denied = scene.found(code=1)["Permissions"]

    assert allowed["text"] == "allowed: cloudwatch:DescribeAlarms, cloudwatch:ListMetrics, ec2:DescribeInstances"
    assert denied["text"] == "AWS denies cloudwatch:GetMetricData, cloudwatch:DescribeAlarmHistory"
    assert denied["todo"].endswith("cwnotify policy notebook")


def test_what_is_wrong_is_told_with_what_to_do(scene: Scene):
    scene.slack.refuse_connections()
    scene.world.environ |= {
        "CWNOTIFY_LANG": "fr",
        "CWNOTIFY_ALARMS": "disk",
        "CWNOTIFY_INSTANCE": "i-0123456789abcdef0",
    }

    told = scene.doctor(code=1)

    assert "✗ Settings     CWNOTIFY_LANG: lang cannot be 'fr'" in told
    assert "✗ Slack        could not be reached: the connection was refused" in told
    assert "✗ Monitoring   there is no instance i-0123456789abcdef0 in ap-northeast-2" in told
    assert "✗ Alarms       there is no alarm disk here" in told
    assert told.endswith("\n4 things to fix.\n")


def test_expired_credentials_are_told_once(scene: Scene):
    scene.aws.fault = Fault("ExpiredToken", status=403)

    found = scene.found(code=1)

    assert found["Credentials"][0]["todo"] == "sign in again"
    assert "Permissions" not in found


def test_a_laptop_without_aws_needs_only_a_webhook(tmp_path: Path):
    with Slack() as slack, World(tmp_path, slack.url, AWS_EC2_METADATA_DISABLED="true") as world:
        well = world.execute("cwnotify", "doctor")
        without = world.execute("cwnotify", "doctor", env={"CWNOTIFY_WEBHOOK_URL": ""})
        watching = world.execute("cwnotify", "doctor", env={"CWNOTIFY_INSTANCE": ME})

    assert "· AWS          not set up" in well.stdout
    assert well.returncode == 0
    assert "✗ Webhook      no Slack webhook is configured" in without.stdout
    assert without.returncode == 1
    assert "✗ AWS          no AWS credentials can be used" in watching.stdout


def test_a_state_directory_that_cannot_be_used_is_told(tmp_path: Path):
    with Slack() as slack, World(tmp_path, slack.url, AWS_EC2_METADATA_DISABLED="true") as world:
        world.state_dir.write_text("in the way")
        told = world.execute("cwnotify", "doctor").stdout

    assert f"✗ State        {world.state_dir} cannot be used" in told
    assert "→ set CWNOTIFY_STATE_DIR to a folder that can be written" in told


@pytest.mark.parametrize(("environ", "is_coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colours_are_for_terminals_and_for_who_wants_them(environ: dict[str, str], is_coloured: bool, tmp_path: Path):
    with World(tmp_path, AWS_EC2_METADATA_DISABLED="true", TERM="xterm", **environ) as world:
        told = on_a_terminal(world, "doctor")

    assert ("\x1b[" in told) is is_coloured
    assert "✗" in told


def on_a_terminal(world: World, *words: str) -> str:
    """What ``cwnotify`` shows on a terminal of its own."""
    ours, theirs = pty.openpty()
    command = [sys.executable, str(ROOT / "cwnotify" / "__main__.py"), *words]
    process = subprocess.Popen(command, env=world.environ, cwd=world.home, stdout=theirs, stderr=theirs)
    os.close(theirs)
    told = b""
    try:
        while piece := os.read(ours, 65536):
            told += piece
    except OSError:
        # That is how a terminal says that nobody writes to it any more.
        pass
    process.wait()
    os.close(ours)
    return told.decode()


def test_a_notebook_asks_it_too(scene: Scene):
    with Kernel(scene.world) as kernel:
        kernel.run("%load_ext cwnotify")
        told = kernel.run("%cwnotify doctor")

    assert "✓ Sidecar      starts, and answers" in told.stdout
    assert "Nothing is wrong." in told.stdout
    assert scene.slack.canary not in told.text


def test_the_front_end_is_that_of_the_notebook_that_asks():
    theirs = {"JPY_PARENT_PID": str(os.getpid())}

    # These tests' own process stands for the server: it was started from the environment that holds JupyterLab.
    lab = diagnose_front_end(theirs)
    assert "JupyterLab " in lab.text
    assert f"at {sys.prefix}, which shows widgets" in lab.text
    assert diagnose_front_end({**theirs, "VSCODE_PID": "1"}).text.startswith("VS Code")
    assert diagnose_front_end({**theirs, "COLAB_RELEASE_TAG": "x"}).text.startswith("Colab")
    # A terminal inside VS Code is no notebook.
    assert "JupyterLab " in diagnose_front_end({"VSCODE_PID": "1"}).text


BLOCKER = """
import os, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == os.environ["BLOCKED"]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocker())
"""


@pytest.mark.parametrize(
    ("module", "what"),
    [
        ("sqlite3", "✗ Python       was built without sqlite3"),
        ("sqlite3", "✗ Sidecar      cannot start, so no alert is sent: ModuleNotFoundError: No module named 'sqlite3'"),
        ("ssl", "✗ Python       was built without ssl"),
        *((name, f"✗ Packages     missing: {name}") for name in ("requests", "boto3", "psutil", "matplotlib")),
        ("urllib3", "✗ Slack        cannot be examined: ModuleNotFoundError: No module named 'urllib3'"),
        ("botocore", "✗ AWS          cannot be examined: ModuleNotFoundError: No module named 'botocore'"),
        ("click", "cwnotify: No module named 'click'; install it: "),
    ],
)
def test_a_module_that_is_missing_is_a_finding(module: str, what: str, tmp_path: Path):
    (tmp_path / "sitecustomize.py").write_text(BLOCKER)
    blocked = {"PYTHONPATH": str(tmp_path), "BLOCKED": module, "AWS_EC2_METADATA_DISABLED": "true"}
    with Slack() as slack, World(tmp_path / "world", slack.url, **blocked) as world:
        done = world.execute("cwnotify", "doctor")

    assert what in done.stdout + done.stderr
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)


def test_other_commands_name_a_missing_module_too(tmp_path: Path):
    (tmp_path / "sitecustomize.py").write_text(BLOCKER)
    with World(tmp_path / "world", PYTHONPATH=str(tmp_path), BLOCKED="sqlite3") as world:
        done = world.execute("cwnotify", "outbox", "list")

    assert done.stderr == "cwnotify: No module named 'sqlite3'; to see what is missing: cwnotify doctor\n"
    assert done.returncode == 1
