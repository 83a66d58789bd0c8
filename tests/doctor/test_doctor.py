"""``cwnotify doctor`` as a command, with a fake CloudWatch, metadata service and Slack that answer or do not."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
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
    """A world without problems, and methods that run the doctor in it."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.aws = stack.enter_context(CloudWatch())
        self.slack = stack.enter_context(Slack())
        imds = stack.enter_context(Imds())
        self.world = stack.enter_context(World(folder, self.slack.url))
        self.world.environ |= {**self.aws.environ(), **imds.environ, "AWS_EC2_METADATA_DISABLED": "false"}
        self.aws.put_instance(ME, detailed=True)
        self.aws.add_datapoints(cpu_metric(ME), wave_datapoints(time.time() - 3000, time.time() - 200, 60))
        dimensions = [{"Name": "InstanceId", "Value": ME}]
        self.aws.put_alarm(
            "train-busy", "ALARM", Dimensions=dimensions, Namespace="AWS/EC2", MetricName="CPUUtilization"
        )

    def run_doctor(self, *arguments: str, code: int = 0) -> str:
        """Return the output. Check the exit code, and that the output contains no secret."""
        result = self.world.execute("cwnotify", "doctor", *arguments)
        assert (result.returncode, result.stderr) == (code, ""), result.stdout + result.stderr
        assert not [secret for secret in (*SECRETS, self.slack.canary) if secret in result.stdout]
        return result.stdout

    def get_findings(self, *arguments: str, code: int = 0) -> dict[str, list[dict[str, Any]]]:
        """Return the findings by their part."""
        parts: dict[str, list[dict[str, Any]]] = {}
        for finding in json.loads(self.run_doctor("--json", *arguments, code=code))["findings"]:
            parts.setdefault(finding["part"], []).append(finding)
        return parts


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with ExitStack() as stack:
        yield Scene(stack, tmp_path)


def test_healthy_setup_has_no_problems_and_sends_nothing(scene: Scene) -> None:
    output = scene.run_doctor()

    for line in (
        f"✓ Instance     this is {ME}, g5.xlarge in ap-northeast-2a",
        "✓ Region       ap-northeast-2",
        f"✓ Monitoring   {ME} is running; a datapoint every minute (detailed)",
        "✓ Alarms       train-busy (ALARM)",
        "✓ Outbox       nothing is pending, and nothing is dead",
    ):
        assert line in output
    assert output.endswith("\nNothing is wrong.\n")
    assert "\x1b" not in output
    assert not [request for request in scene.slack.received if "text" in request.payload]


def test_send_option_sends_a_greeting(scene: Scene) -> None:
    assert "accepted a greeting" in scene.get_findings("--send")["Slack"][0]["text"]
    assert len(scene.slack.wait_for(1)) == 1

    scene.slack.answer = WEBHOOK_REMOVED
    (removed,) = scene.get_findings("--send", code=1)["Slack"]
    assert removed["text"] == "404 no_service: this webhook was removed"
    assert removed["todo"].endswith("then: cwnotify login")


def test_missing_permissions_are_named(scene: Scene) -> None:
    scene.aws.faults += [
        Fault("AccessDenied", status=403, operation=name) for name in ("GetMetricData", "DescribeAlarmHistory")
    ]

    allowed, denied = scene.get_findings(code=1)["Permissions"]

    assert allowed["text"] == "allowed: cloudwatch:DescribeAlarms, cloudwatch:ListMetrics, ec2:DescribeInstances"
    assert denied["text"] == "AWS denies cloudwatch:GetMetricData, cloudwatch:DescribeAlarmHistory"
    assert denied["todo"].endswith("cwnotify policy notebook")


def test_problems_are_listed_and_counted(scene: Scene) -> None:
    scene.slack.refuse_connections()
    scene.world.environ |= {
        "CWNOTIFY_LANG": "fr",
        "CWNOTIFY_ALARMS": "disk",
        "CWNOTIFY_INSTANCE": "i-0123456789abcdef0",
    }

    output = scene.run_doctor(code=1)

    assert "✗ Settings     CWNOTIFY_LANG: lang cannot be 'fr'" in output
    assert "✗ Slack        could not be reached: the connection was refused" in output
    assert "✗ Monitoring   there is no instance i-0123456789abcdef0 in ap-northeast-2" in output
    assert "✗ Alarms       there is no alarm disk here" in output
    assert "\n4 things to " in output


def test_expired_credentials_are_reported_once(scene: Scene) -> None:
    scene.aws.fault = Fault("ExpiredToken", status=403)

    findings = scene.get_findings(code=1)

    assert findings["Credentials"][0]["todo"] == "sign in again"
    assert "Permissions" not in findings


def test_laptop_without_aws_needs_only_a_webhook(tmp_path: Path) -> None:
    with Slack() as slack, World(tmp_path, slack.url, AWS_EC2_METADATA_DISABLED="true") as world:
        healthy = world.execute("cwnotify", "doctor")
        without_webhook = world.execute("cwnotify", "doctor", env={"CWNOTIFY_WEBHOOK_URL": ""})
        watching = world.execute("cwnotify", "doctor", env={"CWNOTIFY_INSTANCE": ME})

    assert "· AWS          not set up" in healthy.stdout
    assert healthy.returncode == 0
    assert "✗ Webhook      no Slack webhook is configured" in without_webhook.stdout
    assert without_webhook.returncode == 1
    assert "✗ AWS          no AWS credentials can be used" in watching.stdout


def test_unusable_state_directory_is_a_problem(tmp_path: Path) -> None:
    with Slack() as slack, World(tmp_path, slack.url, AWS_EC2_METADATA_DISABLED="true") as world:
        world.state_dir.write_text("in the way")
        output = world.execute("cwnotify", "doctor").stdout

    assert f"✗ State        {world.state_dir} cannot be used" in output
    assert "→ set CWNOTIFY_STATE_DIR to a folder that can be written" in output


@pytest.mark.parametrize(("environ", "is_coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_terminal_gets_colours_unless_no_color_is_set(
    environ: dict[str, str], is_coloured: bool, tmp_path: Path
) -> None:
    with World(tmp_path, AWS_EC2_METADATA_DISABLED="true", **environ, TERM="xterm") as world:
        output = run_on_terminal(world, "doctor")

    assert ("\x1b[" in output) is is_coloured
    assert "✗" in output


def run_on_terminal(world: World, *arguments: str) -> str:
    """Return what ``cwnotify`` prints on a terminal."""
    master, terminal = pty.openpty()
    command = [sys.executable, str(ROOT / "cwnotify" / "__main__.py"), *arguments]
    process = subprocess.Popen(command, env=world.environ, cwd=world.home, stdout=terminal, stderr=terminal)
    os.close(terminal)
    output = b""
    # Linux raises OSError once the last writer has closed the terminal.
    with suppress(OSError):
        while chunk := os.read(master, 65536):
            output += chunk
    process.wait()
    os.close(master)
    return output.decode()


def test_doctor_runs_in_a_notebook(scene: Scene) -> None:
    with Kernel(scene.world) as kernel:
        kernel.run("%load_ext cwnotify")
        result = kernel.run("%cwnotify doctor")

    assert "✓ Sidecar      starts, and answers" in result.stdout
    assert "Nothing is wrong." in result.stdout
    assert scene.slack.canary not in result.text


def test_front_end_is_that_of_the_current_notebook() -> None:
    # This process plays the server: it runs in the environment that contains JupyterLab.
    notebook = {"JPY_PARENT_PID": str(os.getpid())}

    lab = diagnose_front_end(notebook)
    assert "JupyterLab " in lab.text
    assert f"at {sys.prefix}, which shows widgets" in lab.text
    assert diagnose_front_end({**notebook, "VSCODE_PID": "1"}).text.startswith("VS Code")
    assert diagnose_front_end({**notebook, "COLAB_RELEASE_TAG": "x"}).text.startswith("Colab")
    # A terminal inside VS Code is not a notebook.
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
    ("module", "line"),
    [
        ("sqlite3", "✗ Python       was built without sqlite3"),
        ("sqlite3", "✗ Sidecar      cannot start, so no alert is sent: ModuleNotFoundError: No module named 'sqlite3'"),
        ("ssl", "✗ Python       was built without ssl"),
        *((name, f"✗ Packages     missing: {name}") for name in ("requests", "boto3", "psutil", "matplotlib")),
        ("urllib3", "✗ Slack        cannot be checked: ModuleNotFoundError: No module named 'urllib3'"),
        ("botocore", "✗ AWS          cannot be checked: ModuleNotFoundError: No module named 'botocore'"),
        ("click", "cwnotify: No module named 'click'; install it: "),
    ],
)
def test_missing_module_is_a_finding(module: str, line: str, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(BLOCKER)
    environ = {"PYTHONPATH": str(tmp_path), "BLOCKED": module, "AWS_EC2_METADATA_DISABLED": "true"}
    with Slack() as slack, World(tmp_path / "world", slack.url, **environ) as world:
        result = world.execute("cwnotify", "doctor")

    assert line in result.stdout + result.stderr
    assert (result.returncode, "Traceback" in result.stderr) == (1, False)


def test_other_commands_name_a_missing_module(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(BLOCKER)
    with World(tmp_path / "world", PYTHONPATH=str(tmp_path), BLOCKED="sqlite3") as world:
        result = world.execute("cwnotify", "outbox", "list")

    assert result.stderr == "cwnotify: No module named 'sqlite3'; to see what is missing: cwnotify doctor\n"
    assert result.returncode == 1
