"""Call the deployed function, and check which code it runs. boto3 through `AwsSession`."""

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
    """Return the test event of AWS's guide as SNS delivers it: an alarm went from OK to ALARM, reason "Ping".

    Parameters
    ----------
    topic
        ARN of the topic that the alarm would publish to.
    at
        Time of the change (Unix seconds).
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
    notification = {
        "Type": "Notification",
        "MessageId": str(uuid.uuid4()),
        "TopicArn": topic,
        "Subject": 'ALARM: "Example alarm name"',
        "Message": json.dumps(change),
        "Timestamp": f"{time}Z",
        "MessageAttributes": {},
    }
    record = {"EventSource": "aws:sns", "EventVersion": "1.0", "EventSubscriptionArn": topic, "Sns": notification}
    return {"Records": [record]}


@dataclass(frozen=True)
class FunctionInvocation:
    """The outcome of a call of the function.

    Parameters
    ----------
    error
        What the function raised; empty if it succeeded.
    log
        The end of its log.
    """

    error: str = ""
    log: str = ""


def invoke_function(aws: AwsSession, function: str, event: str) -> FunctionInvocation:
    """Call the function with `event` (JSON) and wait for its end."""
    response = aws.call("lambda", "invoke", FunctionName=function, LogType="Tail", Payload=event.encode())
    log = base64.b64decode(response.get("LogResult", "")).decode(errors="replace")
    result = response["Payload"].read().decode(errors="replace")
    return FunctionInvocation(_parse_error(result) if response.get("FunctionError") else "", log)


def invoke_with_example_event(aws: AwsSession, function: str, topic: str) -> FunctionInvocation:
    """Call the function with the test event of AWS's guide."""
    return invoke_function(aws, function, json.dumps(build_example_event(topic, aws.clock())))


def fetch_deployed_sha256(aws: AwsSession, function: str) -> str:
    """Return the SHA-256 of the function's code in hexadecimal; empty if the function does not exist."""
    response = aws.call_or_none("lambda", "get_function", ("ResourceNotFoundException",), FunctionName=function)
    return base64.b64decode(response["Configuration"]["CodeSha256"]).hex() if response else ""


def ensure_deployed_code(aws: AwsSession, function: str, code: bytes, bucket: str) -> None:
    """Replace the function's code if it is not `code`.

    Raises
    ------
    AwsError
        If the code differed. The function has `code` by then, sent directly and not through the bucket.
    """
    expected, deployed = hashlib.sha256(code).hexdigest(), fetch_deployed_sha256(aws, function)
    if deployed == expected:
        return
    aws.call("lambda", "update_function_code", FunctionName=function, ZipFile=code)
    raise AwsError(
        f"function {function} got other code (SHA-256 {deployed}) than was put into {bucket} (SHA-256 {expected}), "
        f"and it was replaced",
        "Tampered",
        hint="find out which process also writes to that bucket, then deploy again",
    )


def _parse_error(result: str) -> str:
    try:
        error = json.loads(result)
        return str(error.get("errorMessage") or error.get("errorType") or result)
    except (ValueError, AttributeError):
        return result
