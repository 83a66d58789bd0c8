"""CloudFormation: read, create, update and delete a stack, and wait for the end. boto3 through `AwsSession`."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from cwnotify.aws.session import AwsSession
from cwnotify.errors import AwsError

STACK_POLL_INTERVAL = 2.0  # seconds
STACK_TIMEOUT = 1800.0  # seconds
_USABLE_STATUSES = (
    *("CREATE_COMPLETE", "UPDATE_COMPLETE", "DELETE_COMPLETE"),
    *("UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE"),
)


@dataclass(frozen=True)
class Stack:
    """A deployed stack.

    Parameters
    ----------
    template
        The template as it was sent; empty if it is not JSON.
    """

    id: str
    name: str
    status: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    template: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_busy(self) -> bool:
        """Whether an operation on the stack is in progress."""
        return self.status.endswith("_IN_PROGRESS")

    @property
    def is_usable(self) -> bool:
        """Whether the stack can be updated. A stack whose creation failed can only be deleted."""
        return self.status in _USABLE_STATUSES


@dataclass(frozen=True)
class StackEvent:
    """A status change of one resource."""

    resource: str
    type: str
    status: str
    reason: str = ""


StackEventCallback = Callable[[StackEvent], None]


def find_stack(aws: AwsSession, name: str) -> Stack | None:
    """Return the stack and its template, or None if the stack does not exist."""
    description = _describe_stack(aws, name)
    if description is None:
        return None
    response = aws.call("cloudformation", "get_template", StackName=name, TemplateStage="Original")
    # boto3 parses a template that is JSON, and returns any other as text.
    template = response["TemplateBody"]
    return _to_stack(description, template if isinstance(template, Mapping) else {})


def deploy_stack(
    aws: AwsSession,
    name: str,
    source: Mapping[str, str],
    parameters: Mapping[str, str],
    is_new: bool,
    on_event: StackEventCallback,
) -> None:
    """Create or update the stack, and wait for the end.

    Parameters
    ----------
    source
        ``TemplateBody`` or ``TemplateURL`` and its value.
    on_event
        Called for each event of a resource.

    Raises
    ------
    AwsError
        If the operation failed; the message names the first cause.
    """
    token = str(uuid.uuid4())
    arguments = {
        "StackName": name,
        "Parameters": [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        "Capabilities": ["CAPABILITY_IAM"],
        "ClientRequestToken": token,
        **source,
    }
    try:
        if is_new:
            # A stack whose creation fails leaves nothing behind.
            id = aws.call("cloudformation", "create_stack", OnFailure="DELETE", **arguments)["StackId"]
        else:
            id = aws.call("cloudformation", "update_stack", **arguments)["StackId"]
    except AwsError as error:
        # The code ValidationError is shared with real errors; only the text differs.
        if "No updates are to be performed" in str(error):
            return
        raise
    _wait_for_status(aws, id, name, token, "CREATE_COMPLETE" if is_new else "UPDATE_COMPLETE", on_event)


def verify_template(aws: AwsSession, name: str, template: Mapping[str, Any]) -> None:
    """Check that the stack has the template that was uploaded to a bucket.

    Raises
    ------
    AwsError
        If it has another one.
    """
    if aws.call("cloudformation", "get_template", StackName=name)["TemplateBody"] != template:
        raise AwsError(
            f"stack {name} has another template than was uploaded; another process wrote to the bucket",
            "Tampered",
            hint="check what the stack contains, then remove it with: cwnotify teardown",
        )


def delete_stack(aws: AwsSession, stack: Stack, on_event: StackEventCallback) -> None:
    """Delete the stack and wait until it is gone."""
    token = str(uuid.uuid4())
    aws.call("cloudformation", "delete_stack", StackName=stack.id, ClientRequestToken=token)
    _wait_for_status(aws, stack.id, stack.name, token, "DELETE_COMPLETE", on_event)


def _wait_for_status(
    aws: AwsSession, id: str, name: str, token: str, expected: str, on_event: StackEventCallback
) -> None:
    deadline = time.monotonic() + STACK_TIMEOUT
    events: list[StackEvent] = []
    while True:
        # The status is read before the events, so that no event is missed after the last status.
        description = _describe_stack(aws, id)
        status = str(description["StackStatus"]) if description else "DELETE_COMPLETE"
        reported, events = len(events), list(_read_events(aws, id, token))
        for event in events[reported:]:
            on_event(event)
        if not status.endswith("_IN_PROGRESS"):
            break
        if time.monotonic() > deadline:
            raise AwsError(
                f"stack {name} is still {status} after {STACK_TIMEOUT / 60:.0f} min",
                hint="check later with: cwnotify stack",
            )
        aws.sleep(STACK_POLL_INTERVAL)
    if status != expected:
        # What to do depends on the command, so the caller adds it.
        raise AwsError(f"stack {name} {_describe_failure(status)}: {_find_first_cause(events) or status}", status)


def _describe_failure(status: str) -> str:
    if status.startswith("DELETE_F"):
        return "could not be removed"
    return "was rolled back" if "ROLLBACK" in status or status.startswith("DELETE") else "failed"


def _find_first_cause(events: list[StackEvent]) -> str:
    """Return why the first resource failed. Those that AWS cancels after it fail too, but without a reason."""
    for event in events:
        if event.status.endswith("_FAILED") and "cancelled" not in event.reason.lower():
            return f"{event.resource} ({event.type}): {event.reason}"
    return ""


def _read_events(aws: AwsSession, id: str, token: str) -> Iterator[StackEvent]:
    """Yield the events of the request with `token`, oldest first."""
    events = list(aws.paginate_items("cloudformation", "describe_stack_events", "StackEvents", StackName=id))
    for event in reversed(events):
        if event.get("ClientRequestToken") == token:
            reason = event.get("ResourceStatusReason", "")
            yield StackEvent(event["LogicalResourceId"], event["ResourceType"], event["ResourceStatus"], reason)


def _describe_stack(aws: AwsSession, name: str) -> dict[str, Any] | None:
    try:
        description: dict[str, Any] = aws.call("cloudformation", "describe_stacks", StackName=name)["Stacks"][0]
    except AwsError as error:
        # The code ValidationError is shared with real errors; only the text differs.
        if "does not exist" in str(error):
            return None
        raise
    return None if description["StackStatus"] == "DELETE_COMPLETE" else description


def _to_stack(description: Mapping[str, Any], template: Mapping[str, Any]) -> Stack:
    return Stack(
        id=description["StackId"],
        name=description["StackName"],
        status=description["StackStatus"],
        parameters={pair["ParameterKey"]: pair["ParameterValue"] for pair in description.get("Parameters", ())},
        outputs={pair["OutputKey"]: pair["OutputValue"] for pair in description.get("Outputs", ())},
        template=template,
    )
