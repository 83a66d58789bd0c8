"""The one door to AWS: what is asked of it, how often, and its refusals in plain words. boto3.

What goes through it is spelled in the modules beside this one, by theme: `formation`, `stores`, `alarms`, `function`,
`cloudwatch`, `instances`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache, cached_property
from threading import RLock
from typing import Any, Literal

from cwnotify.errors import AwsError


class AwsSession:
    """An account's region, configured as for every program that uses boto3. Threads may share it.

    Parameters
    ----------
    sleep
        Waits so many seconds, between two looks at something that takes AWS its time.
    clock
        Gives Unix seconds.
    mode, attempts
        How boto3 tries again, and how often it tries in all, before it gives up.
    timeouts
        Seconds for a connection and for an answer.
    policy
        Which of ours (`cwnotify policy`) allows what is asked.
    validates
        Whether boto3 looks through its arguments before it sends them. For 500 series that takes 20 ms, about as long
        as all else that it does with them.
    region
        The region to ask where none is set: boto3 does not ask the instance for its own.

    Attributes
    ----------
    calls
        How often each operation was asked for, by the name that IAM has for it (``cloudwatch:GetMetricData``).
    metrics_asked
        How many series these calls asked for, which is what CloudWatch bills.
    knows_log_alarms
        False once CloudWatch has rejected the alarm type LogAlarm.
    """

    def __init__(
        self,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.time,
        *,
        retry_mode: Literal["standard", "adaptive"] = "standard",
        # Throttling is no news here: nobody waits for less than a second.
        max_attempts: int = 6,
        timeouts: tuple[float, float] = (60.0, 60.0),
        iam_policy: str = "deployer",
        validate_parameters: bool = True,
        fallback_region: str = "",
    ) -> None:
        self.sleep, self.clock = sleep, clock
        self.call_counts: Counter[str] = Counter()
        self.requested_series_count = 0
        self.supports_log_alarms = True
        self._mode, self._attempts, self._timeouts, self._policy = retry_mode, max_attempts, timeouts, iam_policy
        self._validates, self._spare_region = validate_parameters, fallback_region
        self._clients: dict[str, Any] = {}
        self._lock = RLock()

    @classmethod
    def with_short_timeouts(cls, region: str = "") -> AwsSession:
        """As a watch wants it: soon back whatever happens, since its next round follows, and meek when throttled."""
        return cls(
            retry_mode="adaptive",
            max_attempts=2,
            timeouts=(3.0, 8.0),
            iam_policy="notebook",
            validate_parameters=False,
            fallback_region=region,
        )

    def call(self, service: str, operation: str, **arguments: Any) -> Any:
        """Call one operation, as boto3 spells it.

        Raises
        ------
        AwsError
            Whatever goes wrong.
        """
        with self._refusals(service):
            return getattr(self.client(service), operation)(**arguments)

    def paginate(self, service: str, operation: str, **arguments: Any) -> Iterator[Any]:
        """All pages of an operation's answer."""
        with self._refusals(service):
            yield from self.client(service).get_paginator(operation).paginate(**arguments)

    def paginate_items(self, service: str, operation: str, key: str, **arguments: Any) -> Iterator[Any]:
        """The items under `key` on all pages of an operation's answer."""
        for page in self.paginate(service, operation, **arguments):
            yield from page.get(key, ())

    def call_or_none(self, service: str, operation: str, missing: tuple[str, ...], **arguments: Any) -> Any:
        """As `ask`; None where AWS answers with one of the codes `missing`."""
        try:
            return self.call(service, operation, **arguments)
        except AwsError as error:
            if error.code in missing:
                return None
            raise

    def client(self, service: str) -> Any:
        """boto3's own client."""
        # To make one is not safe among threads, to use it is.
        with self._lock, self._refusals(service):
            if service not in self._clients:
                self._clients[service] = self._made(service)
            return self._clients[service]

    @cached_property
    def credentials_source(self) -> str:
        """Where the credentials come from, as boto3 calls it: ``env``, ``shared-credentials-file``, ``iam-role``, …

        Raises
        ------
        AwsError
            If there are none.
        """
        from botocore.exceptions import NoCredentialsError

        with self._refusals("sts"):
            found = self._session.get_credentials()
            if found is None:
                raise NoCredentialsError
            return str(found.method)

    @cached_property
    def account_id(self) -> str:
        """The account's twelve digits."""
        return str(self.call("sts", "get_caller_identity")["Account"])

    @cached_property
    def region(self) -> str:
        """The region's code."""
        return str(self.client("cloudwatch").meta.region_name)

    @cached_property
    def partition(self) -> str:
        """``aws``, ``aws-cn`` or ``aws-us-gov``."""
        return str(self.client("cloudwatch").meta.partition)

    @cached_property
    def best_effort(self) -> AwsSession:
        """The same account, for calls that only add to what is known: one short attempt each.

        Its clients are its own, because botocore slows down all calls of a client that AWS throttles.
        """
        other = AwsSession(
            self.sleep,
            self.clock,
            max_attempts=1,
            timeouts=(2.0, 4.0),
            iam_policy=self._policy,
            validate_parameters=False,
        )
        with self._refusals("sts"):
            # Also the counters: all calls are billed to one account.
            other.call_counts, other._lock, other._session = self.call_counts, self._lock, self._session
        return other

    @cached_property
    def _session(self) -> Any:
        # One of its own: boto3's default one remembers for ever the credentials that it found first.
        import boto3
        from botocore.session import Session

        session = Session()
        session.register_component("data_loader", _loader())
        session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_moment)
        spare = None if session.get_config_variable("region") else self._spare_region or None
        return boto3.Session(botocore_session=session, region_name=spare)

    def _made(self, service: str) -> Any:
        from botocore.config import Config

        connect, read = self._timeouts
        config = Config(
            retries={"mode": self._mode, "total_max_attempts": self._attempts},
            connect_timeout=connect,
            read_timeout=read,
            user_agent_extra="cwnotify",
            parameter_validation=self._validates,
        )
        client = self._session.client(service, config=config)
        client.meta.events.register("provide-client-params", self._count)
        return client

    def _count(self, model: Any, params: Mapping[str, Any], **_: object) -> None:
        from cwnotify.aws.error_messages import get_iam_action

        with self._lock:
            self.call_counts[get_iam_action(model.service_model.service_name, model.name)] += 1
            self.requested_series_count += len(params.get("MetricDataQueries", ()))

    @contextmanager
    def _refusals(self, service: str) -> Iterator[None]:
        """What botocore raises in here becomes an `AwsError`."""
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        from cwnotify.aws.error_messages import to_aws_error

        try:
            yield
        except (BotoCoreError, ClientError, ResponseParserError, ValueError) as error:
            # A ValueError is what boto3 raises for an endpoint or a region that is none.
            raise to_aws_error(error, service, self._policy) from None


@cache
def _loader() -> Any:
    """Knows the services. It takes long to read them, and a door that is made anew has the same ones."""
    from botocore.loaders import create_loader

    loader: Any = create_loader()
    load = loader.load_service_model

    def load_service_model(service: str, type: str, api_version: str | None = None) -> Any:
        model = load(service, type, api_version)
        return add_log_alarms_to_model(model) if (service, type) == ("cloudwatch", "service-2") else model

    loader.load_service_model = load_service_model
    return loader


def add_log_alarms_to_model(model: Any) -> Any:
    """Let a boto3 older than log alarms read them, with the fields that they share with metric alarms.

    Without this it would drop them from the answer of DescribeAlarms. Nothing that is sent changes.
    """
    members = model["shapes"]["DescribeAlarmsOutput"]["members"]
    members.setdefault("LogAlarms", {"shape": "MetricAlarms"})
    return model


def _moment(value: Any) -> datetime:
    """A time in an answer. Those of datapoints are mere numbers, which botocore's own parser takes 20 µs for."""
    if isinstance(value, int | float):
        return datetime.fromtimestamp(value, UTC)
    from botocore.utils import parse_timestamp

    return parse_timestamp(value)
