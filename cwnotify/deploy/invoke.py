"""Calling the function that is deployed."""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

from cwnotify.aws.session import AwsSession
from cwnotify.errors import AwsError


def build_example_event(topic: str, at: float) -> dict[str, object]:
    """The test event of AWS's guide: an alarm went from OK to ALARM for the reason "Ping", as SNS delivers it.

    Parameters
    ----------
    topic
        ARN of the topic that the alarm would publish to.
    at
        When it changed (Unix seconds).
    """
    _, _, _, region, account, *_ = topic.split(":")
    time = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
    change = {
        "AlarmName": "Example alarm name",
        "AlarmDescription": "Sent by: cwnotify test --lambda",
        "AWSAccountId": account,
        "NewStateValue": "ALARM",
        "NewStateReason": "Ping",
        "StateChangeTime": f"{time}+0000",
        "Region": region,
        "OldStateValue": "OK",
    }
    sns = {
        "Type": "Notification",
        "MessageId": str(uuid.uuid4()),
        "TopicArn": topic,
        "Subject": 'ALARM: "Example alarm name"',
        "Message": json.dumps(change),
        "Timestamp": f"{time}Z",
        "MessageAttributes": {},
    }
    record = {"EventSource": "aws:sns", "EventVersion": "1.0", "EventSubscriptionArn": topic, "Sns": sns}
    return {"Records": [record]}


@dataclass(frozen=True)
class FunctionInvocation:
    """How a call of the function ended.

    Parameters
    ----------
    error
        What it raised; empty if it came to a good end.
    log
        The last of what it printed.
    """

    error: str = ""
    log: str = ""


def invoke_function(aws: AwsSession, function: str, event: str) -> FunctionInvocation:
    """Call the function with `event` (JSON) and wait for its end."""
    answer = aws.call("lambda", "invoke", FunctionName=function, LogType="Tail", Payload=event.encode())
    log = base64.b64decode(answer.get("LogResult", "")).decode(errors="replace")
    said = answer["Payload"].read().decode(errors="replace")
    return FunctionInvocation(_raised(said) if answer.get("FunctionError") else "", log)


def invoke_with_example_event(aws: AwsSession, function: str, topic: str) -> FunctionInvocation:
    """Call the function with the test event of AWS's guide."""
    return invoke_function(aws, function, json.dumps(build_example_event(topic, aws.clock())))


def fetch_deployed_sha256(aws: AwsSession, function: str) -> str:
    """The SHA-256 of the code that the function runs, in hexadecimal; empty if there is no such function."""
    answer = aws.call_or_none("lambda", "get_function", ("ResourceNotFoundException",), FunctionName=function)
    return base64.b64decode(answer["Configuration"]["CodeSha256"]).hex() if answer else ""


def ensure_deployed_code(aws: AwsSession, function: str, code: bytes, bucket: str) -> None:
    """Compare what the function runs with `code`; replace it if it differs.

    Raises
    ------
    AwsError
        If it differed. The function has `code` by then, sent directly and not through the bucket.
    """
    wanted, deployed = hashlib.sha256(code).hexdigest(), fetch_deployed_sha256(aws, function)
    if deployed == wanted:
        return
    aws.call("lambda", "update_function_code", FunctionName=function, ZipFile=code)
    what = f"function {function} got other code (SHA-256 {deployed}) than was put into {bucket} (SHA-256 {wanted})"
    raise AwsError(
        f"{what}, and it was replaced. Find out who else writes to that bucket, then deploy again", "Tampered"
    )


def _raised(said: str) -> str:
    try:
        error = json.loads(said)
        return str(error.get("errorMessage") or error.get("errorType") or said)
    except (ValueError, AttributeError):
        return said
