"""What ``cwnotify deploy`` shall create, what is deployed, and the plan between the two. Data only."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from cwnotify.alerts.events.run_options import validate_time_zone
from cwnotify.aws.session import AwsSession
from cwnotify.deploy.cloudformation import Stack, StackEventCallback
from cwnotify.errors import UsageError
from cwnotify.settings import Secret

MAX_ALARM_WINDOW = 86_400  # seconds; CloudWatch evaluates a day at most


@dataclass(frozen=True)
class InstanceWatch:
    """How one instance's CPU is watched.

    Parameters
    ----------
    threshold, idle
        Percent. Above `threshold` the instance is busy; below `idle` its training has ended.
    period
        Seconds that one datapoint covers.
    datapoints, evaluated
        An alarm fires if M of N datapoints are beyond the limit.

    Raises
    ------
    UsageError
        If a value is out of its range.
    """

    instance: str
    threshold: float = 50.0
    idle: float = 10.0
    period: int = 300
    datapoints: int = 2
    evaluated: int = 3

    def __post_init__(self) -> None:
        if not re.fullmatch(r"i-[0-9a-f]{8,17}", self.instance):
            raise UsageError(f"{self.instance!r} is not an instance ID", hint="IDs look like i-0abc1234def567890")
        if not 0 < self.idle < self.threshold < 100:
            raise UsageError(
                f"--idle {self.idle:g} and --threshold {self.threshold:g} do not fit together",
                hint="--idle must be less than --threshold, and both must be between 0 and 100",
            )
        if self.period not in (10, 30) and (self.period < 60 or self.period % 60):
            raise UsageError(
                f"--period {self.period} is not a period of CloudWatch",
                hint="use 10, 30, or whole minutes in seconds: 60, 120, 300",
            )
        if not 1 <= self.datapoints <= self.evaluated or self.period * self.evaluated > MAX_ALARM_WINDOW:
            raise UsageError(
                f"--datapoints {self.datapoints}/{self.evaluated} is out of range",
                hint="use M/N, such as 2/3, where M is at most N, and N periods are at most a day",
            )

    @property
    def alarm_name_suffixes(self) -> tuple[str, str]:
        """The ends of the names of its two alarms."""
        return f"{self.instance}-busy", f"{self.instance}-off"

    @property
    def alarm_conditions(self) -> tuple[str, str]:
        """What makes its two alarms fire."""
        time = f"{self.period // 60} min" if self.period % 60 == 0 else f"{self.period} s"
        window = f"in {self.datapoints} of {self.evaluated} × {time}"
        return f"CPU above {self.threshold:g} % {window}", f"CPU below {self.idle:g} % {window}, or nothing measured"


@dataclass(frozen=True)
class StackSpec:
    """The desired stack. A field that is None keeps the deployed value.

    Parameters
    ----------
    instances
        Instances to watch in addition to those that are watched already.
    dropped
        Instances, attached alarms or other accounts to remove.
    alarms
        Existing alarms to attach.
    accounts
        Other accounts whose alarms may publish to the topic.
    kms_key
        The key that encrypts the topic; ``none`` removes it.
    threshold, idle, period, datapoints
        For `instances`; see `InstanceWatch`.
    bucket
        The user's own bucket for the code.
    boundary
        ARN of the policy that limits the function's role; empty for none.
    prefix
        Prefix of the names of the stack's alarms, and of those that a fleet matches.
    webhook
        The URL, or ``ssm:/name`` or ``secretsmanager:name`` where it is stored.

    Raises
    ------
    UsageError
        If a name, account or ARN is malformed.
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
            raise UsageError(
                f"--name {self.name!r} is not valid",
                hint="use up to 24 lower-case letters, digits and hyphens; begin with a letter",
            )
        if self.zone:
            validate_time_zone(self.zone)
        for account in self.accounts:
            if not re.fullmatch("[0-9]{12}", account):
                raise UsageError(
                    f"--allow-account {account!r} is not an account ID", hint="an account ID has twelve digits"
                )
        if self.boundary and not re.fullmatch(r"arn:[a-z-]+:iam::(\d{12}|aws):policy/[!-~]+", self.boundary):
            raise UsageError(
                f"--boundary {self.boundary!r} is not the ARN of an IAM policy", hint="give such an ARN, or none"
            )


@dataclass(frozen=True)
class StackLocation:
    """A stack's name, account and region, and the names that follow from them."""

    name: str
    account: str
    region: str
    partition: str = "aws"

    @property
    def topic_arn(self) -> str:
        """The ARN of the stack's topic."""
        return f"arn:{self.partition}:sns:{self.region}:{self.account}:{self.name}"

    def get_alarm_arn(self, name: str) -> str:
        """Return the ARN of an alarm in the stack's account and region."""
        return f"arn:{self.partition}:cloudwatch:{self.region}:{self.account}:alarm:{name}"

    @property
    def boundary_arn(self) -> str:
        """The ARN of the permissions boundary, which an administrator creates once."""
        return f"arn:{self.partition}:iam::{self.account}:policy/{self.name}-boundary"

    @property
    def default_bucket(self) -> str:
        """The bucket that deploy creates unless the user names one."""
        return f"{self.name}-code-{self.account}-{self.region}"

    @property
    def webhook_parameter(self) -> str:
        """The name of the parameter that holds the webhook."""
        return f"/cwnotify/{self.name}/webhook"

    @property
    def key_prefix(self) -> str:
        """Prefix of the keys of all objects that deploy writes."""
        return f"cwnotify/{self.name}/"


@dataclass(frozen=True)
class DeployedState:
    """What exists in AWS.

    Parameters
    ----------
    webhook
        The value of our parameter.
    keys_by_bucket
        Our keys in each of the buckets that exist.
    alarms_on_topic
        Alarms outside the stack that act on its topic.
    existing_alarms
        Those of the spec's alarms that exist.
    existing_boundary_arn
        The ARN of the stack's permissions boundary; empty if it does not exist.
    stored_sha256
        Hash of the object that the stack names as its code; empty if there is none.
    deployed_sha256
        Hash of the code that the function runs; empty without a function.
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
    """One line of a plan. `sign` is ``+`` (create), ``~`` (change), ``-`` (remove) or ``!`` (a note)."""

    sign: str
    kind: str
    name: str
    detail: str = ""


@dataclass(frozen=True)
class PlanStep:
    """An action, and the changes that it makes."""

    execute: Callable[[AwsSession, StackEventCallback], None]
    changes: tuple[PlannedChange, ...]

    @property
    def is_note(self) -> bool:
        """Whether the step changes nothing."""
        return all(change.sign == "!" for change in self.changes)


Plan = tuple[PlanStep, ...]
