"""AWS denies, throttles, hangs or has another time: runs are reported as usual, and alarm changes later."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from functools import partial
from pathlib import Path

from tests.e2e.faults.bench import FaultResult, FaultRunner, FaultScenario, open_scenario
from tests.support.aws_wire import Fault, Hang
from tests.support.cloudwatch import CloudWatch
from tests.support.datapoints import cpu_metric, wave_datapoints
from tests.support.slack import Answer, Slack
from tests.support.waiting import until

INSTANCE_ID = "i-0abc12f9d8e7a6b54"
ALARM_NAME = "train-busy"
AWS_ERRORS: dict[str, Fault | Hang] = {
    "AWS credentials expired": Fault("ExpiredToken", "The security token included in the request is expired", 403),
    "AWS denies": Fault("AccessDenied", "not authorized to perform: cloudwatch:GetMetricData", 403),
    "AWS throttles": Fault("Throttling", "Rate exceeded"),
    "AWS hangs": Hang(),
    "AWS has another time": Fault("RequestTimeTooSkewed", "Signature not yet current", 403),
}


def _cloudwatch() -> CloudWatch:
    aws = CloudWatch()
    aws.put_instance(INSTANCE_ID)
    aws.add_datapoints(cpu_metric(INSTANCE_ID), wave_datapoints(time.time() - 7200, time.time(), 300))
    aws.put_alarm(
        ALARM_NAME,
        Namespace="AWS/EC2",
        MetricName="CPUUtilization",
        Dimensions=[{"Name": "InstanceId", "Value": INSTANCE_ID}],
        Threshold=50.0,
        ComparisonOperator="GreaterThanThreshold",
    )
    return aws


def _count_stored_alarms(scenario: FaultScenario) -> int:
    with closing(sqlite3.connect(scenario.world.state_dir / "outbox.sqlite3")) as db:
        return int(db.execute("SELECT count(*) FROM alarms").fetchone()[0])


def _open_panel(scenario: FaultScenario) -> None:
    """Open a panel and wait until the alarm is in the outbox."""
    assert scenario.kernel.run(f"%cwnotify panel --instance {INSTANCE_ID}").status == "ok"
    until(lambda: _count_stored_alarms(scenario), 30, "the alarm in the outbox")


def _change_alarm(aws: CloudWatch, scenario: FaultScenario) -> None:
    aws.set_state(ALARM_NAME, "ALARM")
    scenario.expectations.expect(ALARM_NAME, "ALARM")


def aws_error(name: str, fault: Fault | Hang, folder: Path) -> FaultResult:
    """AWS fails from some moment on. An alarm changes during the failure."""
    with _cloudwatch() as aws, open_scenario(name, folder, **aws.environ(), CWNOTIFY_ROUND="1") as scenario:
        _open_panel(scenario)
        aws.fault = fault
        calls = sum(aws.calls.values())
        until(lambda: sum(aws.calls.values()) > calls, 30, "a failing call")
        _change_alarm(aws, scenario)
        scenario.run_cells()
        aws.fault = None
        scenario.end_fault()
        return scenario.finish(90)


def missing_credentials(folder: Path) -> FaultResult:
    """Credentials appear only after some runs."""
    with _cloudwatch() as aws:
        credentials = folder / "credentials"
        environ = {name: value for name, value in aws.environ().items() if "KEY" not in name}
        with open_scenario(
            "no AWS credentials", folder, **environ, CWNOTIFY_ROUND="1", AWS_SHARED_CREDENTIALS_FILE=str(credentials)
        ) as scenario:
            assert scenario.kernel.run(f"%cwnotify panel --instance {INSTANCE_ID}").status == "ok"
            scenario.run_cells()
            credentials.write_text("[default]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = secret\n")
            until(lambda: _count_stored_alarms(scenario), 60, "the alarm in the outbox")
            _change_alarm(aws, scenario)
            scenario.end_fault()
            return scenario.finish(90)


def hanging_metadata(folder: Path) -> FaultResult:
    """The instance metadata service accepts the request and never answers."""
    with Slack(Answer(mode="silent")) as imds:
        endpoint = imds.url.removesuffix(imds.path)
        with open_scenario("IMDS hangs", folder, AWS_EC2_METADATA_SERVICE_ENDPOINT=endpoint) as scenario:
            scenario.run_cells()
            return scenario.finish()


FAULTS: dict[str, FaultRunner] = {
    "no AWS credentials": missing_credentials,
    **{name: partial(aws_error, name, fault) for name, fault in AWS_ERRORS.items()},
    "IMDS hangs": hanging_metadata,
}
