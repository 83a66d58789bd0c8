"""CloudFormation: a stack as it is, and its making, changing and removing watched to the end."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from cwnotify.aws.session import AwsSession
from cwnotify.errors import AwsError

STACK_POLL_INTERVAL = 2.0
STACK_TIMEOUT = 1800.0
_GOOD = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "DELETE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE")


@dataclass(frozen=True)
class Stack:
    """A stack as AWS knows it.

    Parameters
    ----------
    template
        As it was given, word for word.
    """

    id: str
    name: str
    status: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    template: str = ""

    @property
    def is_busy(self) -> bool:
        """Whether AWS is at work on it."""
        return self.status.endswith("_IN_PROGRESS")

    @property
    def is_usable(self) -> bool:
        """Whether it can be changed; what failed as it was made can only be removed."""
        return self.status in _GOOD


@dataclass(frozen=True)
class StackEvent:
    """What AWS did to one resource."""

    resource: str
    type: str
    status: str
    reason: str = ""


StackEventCallback = Callable[[StackEvent], None]


def find_stack(aws: AwsSession, name: str) -> Stack | None:
    """The stack called `name` and its template; None if there is none."""
    found = _describe(aws, name)
    if found is None:
        return None
    template = aws.call("cloudformation", "get_template", StackName=name, TemplateStage="Original")["TemplateBody"]
    return _stack(found, template if isinstance(template, str) else "")


def deploy_stack(
    aws: AwsSession,
    name: str,
    where: Mapping[str, str],
    parameters: Mapping[str, str],
    is_new: bool,
    tell: StackEventCallback,
) -> None:
    """Make or change the stack, and wait until AWS is done.

    Parameters
    ----------
    where
        ``TemplateBody`` or ``TemplateURL``, and what it is.

    Raises
    ------
    AwsError
        If it did not come to be, with the first cause.
    """
    token = str(uuid.uuid4())
    arguments = {
        "StackName": name,
        "Parameters": [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        "Capabilities": ["CAPABILITY_IAM"],
        "ClientRequestToken": token,
        **where,
    }
    try:
        if is_new:
            # A stack that failed as it was made leaves nothing behind.
            id = aws.call("cloudformation", "create_stack", OnFailure="DELETE", **arguments)["StackId"]
        else:
            id = aws.call("cloudformation", "update_stack", **arguments)["StackId"]
    except AwsError as error:
        if "No updates are to be performed" in str(error):
            return
        raise
    _wait(aws, id, name, token, "CREATE_COMPLETE" if is_new else "UPDATE_COMPLETE", tell)


def verify_template(aws: AwsSession, name: str, template: str) -> None:
    """Compare the stack's template with the one that was meant, if it went through a bucket.

    Raises
    ------
    AwsError
        If it is another one.
    """
    if aws.call("cloudformation", "get_template", StackName=name)["TemplateBody"] != template:
        what = f"stack {name} has another template than was uploaded; another process wrote to the bucket"
        raise AwsError(f"{what}. Look at what it holds, then remove it with: cwnotify teardown", "Tampered")


def delete_stack(aws: AwsSession, stack: Stack, tell: StackEventCallback) -> None:
    """Remove the stack and wait until it is gone."""
    token = str(uuid.uuid4())
    aws.call("cloudformation", "delete_stack", StackName=stack.id, ClientRequestToken=token)
    _wait(aws, stack.id, stack.name, token, "DELETE_COMPLETE", tell)


def _wait(aws: AwsSession, id: str, name: str, token: str, wanted: str, tell: StackEventCallback) -> None:
    end = time.monotonic() + STACK_TIMEOUT
    told: list[StackEvent] = []
    while True:
        # The state is read before the events, so that none is missed once it is a final one.
        found = _describe(aws, id)
        status = str(found["StackStatus"]) if found else "DELETE_COMPLETE"
        events = list(_events(aws, id, token))
        for event in events[len(told) :]:
            tell(event)
        told = events
        if not status.endswith("_IN_PROGRESS"):
            break
        if time.monotonic() > end:
            raise AwsError(
                f"stack {name} is still {status} after {STACK_TIMEOUT / 60:.0f} min", hint="see later: cwnotify stack"
            )
        aws.sleep(STACK_POLL_INTERVAL)
    if status != wanted:
        raise AwsError(f"stack {name} {_became(status)}: {_first_cause(told) or status}", status)


def _became(status: str) -> str:
    if status.startswith("DELETE_F"):
        return "could not be removed"
    return "was rolled back" if "ROLLBACK" in status or status.startswith("DELETE") else "failed"


def _first_cause(told: list[StackEvent]) -> str:
    """Why the first resource failed; what AWS then cancels fails too, and tells nothing."""
    for event in told:
        if event.status.endswith("_FAILED") and "cancelled" not in event.reason.lower():
            return f"{event.resource} ({event.type}): {event.reason}"
    return ""


def _events(aws: AwsSession, id: str, token: str) -> Iterator[StackEvent]:
    """What happened to resources since the request with `token`, oldest first."""
    events = list(aws.paginate_items("cloudformation", "describe_stack_events", "StackEvents", StackName=id))
    for event in reversed(events):
        if event.get("ClientRequestToken") == token:
            reason = event.get("ResourceStatusReason", "")
            yield StackEvent(event["LogicalResourceId"], event["ResourceType"], event["ResourceStatus"], reason)


def _describe(aws: AwsSession, name: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = aws.call("cloudformation", "describe_stacks", StackName=name)["Stacks"][0]
    except AwsError as error:
        if "does not exist" in str(error):
            return None
        raise
    return None if found["StackStatus"] == "DELETE_COMPLETE" else found


def _stack(found: Mapping[str, Any], template: str) -> Stack:
    return Stack(
        id=found["StackId"],
        name=found["StackName"],
        status=found["StackStatus"],
        parameters={one["ParameterKey"]: one["ParameterValue"] for one in found.get("Parameters", ())},
        outputs={one["OutputKey"]: one["OutputValue"] for one in found.get("Outputs", ())},
        template=template,
    )
