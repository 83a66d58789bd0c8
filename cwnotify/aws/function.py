"""Calling the function that is deployed."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass

from cwnotify.aws.client import Aws

# What the console's guide to the blueprint has one send to a new function.
PING = {"Records": [{"EventSource": "aws:sns", "Sns": {"Type": "Notification", "Subject": "Test", "Message": "Ping"}}]}


@dataclass(frozen=True)
class Called:
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


def call(aws: Aws, function: str, event: str) -> Called:
    """Call the function with `event` (JSON) and wait for its end."""
    answer = aws.ask("lambda", "invoke", FunctionName=function, LogType="Tail", Payload=event.encode())
    log = base64.b64decode(answer.get("LogResult", "")).decode(errors="replace")
    said = answer["Payload"].read().decode(errors="replace")
    return Called(_raised(said) if answer.get("FunctionError") else "", log)


def ping(aws: Aws, function: str) -> Called:
    """Call the function with the test event of AWS's guide."""
    return call(aws, function, json.dumps(PING))


def _raised(said: str) -> str:
    try:
        error = json.loads(said)
        return str(error.get("errorMessage") or error.get("errorType") or said)
    except (ValueError, AttributeError):
        return said
