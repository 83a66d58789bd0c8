"""What ``cwnotify deploy`` is asked for, what is there already, and a plan between the two: data and nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from cwnotify.alerts.events.run_options import validate_time_zone
from cwnotify.aws.session import AwsSession
from cwnotify.deploy.cloudformation import Stack, StackEventCallback
from cwnotify.errors import UsageError
from cwnotify.settings import Secret


@dataclass(frozen=True)
class StackSpec:
    """What was asked for; None where it is to stay as it is.

    Parameters
    ----------
    instances
        Instances to watch from now on.
    dropped
        Instances, alarms attached, or other accounts that are no longer wanted.
    alarms
        Alarms that exist already, to be attached.
    accounts
        Other accounts whose alarms may publish to the topic.
    kms_key
        The key that encrypts the topic; empty for none.
    threshold, idle, period, datapoints
        For `instances`; see `cwnotify.deploy.template.InstanceWatch`.
    bucket
        Somebody's own bucket for the code.
    boundary
        ARN of the policy that limits the function's role; empty for none.
    webhook
        The URL, or ``ssm:/name`` or ``secretsmanager:name`` where it is kept.
    """

    name: str = "cwnotify"
    instances: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    alarms: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    kms_key: str | None = None
    threshold: float | None = None
    idle: float | None = None
    period: int | None = None
    datapoints: tuple[int, int] | None = None
    bucket: str | None = None
    boundary: str | None = None
    fleet: bool | None = None
    prefix: str | None = None
    lang: str | None = None
    zone: str | None = None
    channel: str | None = None
    webhook: Secret | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,23}", self.name):
            raise UsageError("--name takes up to 24 lower-case letters, digits and hyphens, a letter first")
        if self.zone:
            validate_time_zone(self.zone)
        for account in self.accounts:
            if not re.fullmatch("[0-9]{12}", account):
                raise UsageError(f"--allow-account takes an account's twelve digits, not {account!r}")
        if self.boundary and not re.fullmatch(r"arn:[a-z-]+:iam::(\d{12}|aws):policy/[!-~]+", self.boundary):
            raise UsageError("--boundary takes the ARN of an IAM policy, or none", hint=f"not {self.boundary!r}")


@dataclass(frozen=True)
class StackLocation:
    """Where a stack is, and so what all that belongs to it is called."""

    name: str
    account: str
    region: str
    partition: str = "aws"

    @property
    def topic_arn(self) -> str:
        """The topic's ARN."""
        return f"arn:{self.partition}:sns:{self.region}:{self.account}:{self.name}"

    def get_alarm_arn(self, name: str) -> str:
        """The ARN of an alarm here."""
        return f"arn:{self.partition}:cloudwatch:{self.region}:{self.account}:alarm:{name}"

    @property
    def boundary_arn(self) -> str:
        """The ARN of the permissions boundary, which an administrator creates once."""
        return f"arn:{self.partition}:iam::{self.account}:policy/{self.name}-boundary"

    @property
    def default_bucket(self) -> str:
        """The bucket that is made where none is named."""
        return f"{self.name}-code-{self.account}-{self.region}"

    @property
    def webhook_parameter(self) -> str:
        """The parameter that holds the webhook."""
        return f"/cwnotify/{self.name}/webhook"

    @property
    def key_prefix(self) -> str:
        """How the keys of all that is put into a bucket begin."""
        return f"cwnotify/{self.name}/"


@dataclass(frozen=True)
class DeployedState:
    """What is there.

    Parameters
    ----------
    webhook
        What our parameter holds.
    code
        Our keys by bucket, of those buckets that exist.
    on_topic
        Alarms not of the stack that act on its topic.
    alarms
        Those of the alarms wished for that exist.
    boundary
        The ARN of the stack's permissions boundary, if it exists.
    stored_sha256
        Of the object that the stack names as its code; empty if there is none.
    deployed_sha256
        Of the code that the function runs.
    """

    place: StackLocation
    stack: Stack | None = None
    webhook: Secret | None = None
    keys_by_bucket: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    alarms_on_topic: tuple[str, ...] = ()
    existing_alarms: tuple[str, ...] = ()
    existing_boundary_arn: str = ""
    stored_sha256: str = ""
    deployed_sha256: str = ""


@dataclass(frozen=True)
class PlannedChange:
    """One line of a plan: ``+`` is made, ``~`` changed, ``-`` removed, ``!`` only to be known."""

    sign: str
    kind: str
    name: str
    detail: str = ""


@dataclass(frozen=True)
class PlanStep:
    """Something to be done, and what it comes to."""

    execute: Callable[[AwsSession, StackEventCallback], None]
    changes: tuple[PlannedChange, ...]

    @property
    def is_note(self) -> bool:
        """Whether it changes nothing."""
        return all(change.sign == "!" for change in self.changes)


Plan = tuple[PlanStep, ...]
