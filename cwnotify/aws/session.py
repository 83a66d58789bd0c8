"""The session through which every request to AWS goes. It counts calls, and translates errors. boto3.

boto3 is imported where it is used, because the import takes long.
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
    """An account and region, configured as for every program that uses boto3. Threads may share it.

    Parameters
    ----------
    sleep
        Waits the given seconds between two polls of a slow operation.
    clock
        Returns Unix seconds.
    retry_mode, max_attempts
        boto3's retry mode, and the attempts after which it gives up.
    timeouts
        Seconds for a connection and for a response.
    iam_policy
        The policy of `cwnotify policy` that allows the requests; error messages name it.
    validate_parameters
        Whether boto3 checks arguments before it sends them. For 500 series the check takes 20 ms, about as long as
        the rest of the call.
    fallback_region
        The region if none is configured. boto3 does not query the instance's own region.

    Attributes
    ----------
    call_counts
        Calls of each operation by its IAM name, such as ``cloudwatch:GetMetricData``.
    requested_series_count
        Series that these calls requested. CloudWatch bills them.
    supports_log_alarms
        False once CloudWatch has rejected the alarm type LogAlarm.
    """

    def __init__(
        self,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.time,
        *,
        retry_mode: Literal["standard", "adaptive"] = "standard",
        # Deploying can wait through throttling.
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
        self._retry_mode, self._max_attempts = retry_mode, max_attempts
        self._timeouts, self._iam_policy = timeouts, iam_policy
        self._validate_parameters, self._fallback_region = validate_parameters, fallback_region
        self._clients: dict[str, Any] = {}
        self._lock = RLock()

    @classmethod
    def with_short_timeouts(cls, region: str = "") -> AwsSession:
        """Return a session for polling: it fails fast, because the next poll follows, and slows down when throttled.

        Parameters
        ----------
        region
            The region if none is configured.
        """
        return cls(
            retry_mode="adaptive",
            max_attempts=2,
            timeouts=(3.0, 8.0),
            iam_policy="notebook",
            validate_parameters=False,
            fallback_region=region,
        )

    def call(self, service: str, operation: str, **arguments: Any) -> Any:
        """Call one operation under boto3's name.

        Raises
        ------
        AwsError
            If the request fails for any reason.
        """
        with self._translate_errors(service):
            return getattr(self.client(service), operation)(**arguments)

    def paginate(self, service: str, operation: str, **arguments: Any) -> Iterator[Any]:
        """Yield the pages of an operation's response; errors as in `call`."""
        with self._translate_errors(service):
            yield from self.client(service).get_paginator(operation).paginate(**arguments)

    def paginate_items(self, service: str, operation: str, key: str, **arguments: Any) -> Iterator[Any]:
        """Yield the items under `key` on all pages of an operation's response; errors as in `call`."""
        for page in self.paginate(service, operation, **arguments):
            yield from page.get(key, ())

    def call_or_none(self, service: str, operation: str, missing: tuple[str, ...], **arguments: Any) -> Any:
        """Call one operation; return None if AWS responds with one of the error codes `missing`."""
        try:
            return self.call(service, operation, **arguments)
        except AwsError as error:
            if error.code in missing:
                return None
            raise

    def client(self, service: str) -> Any:
        """Return boto3's client for `service`."""
        # Threads may use a client at the same time, but not create one.
        with self._lock, self._translate_errors(service):
            if service not in self._clients:
                self._clients[service] = self._make_client(service)
            return self._clients[service]

    @cached_property
    def credentials_source(self) -> str:
        """boto3's name for the source of the credentials: ``env``, ``shared-credentials-file``, ``iam-role``, …

        Raises
        ------
        AwsError
            If there are none.
        """
        from botocore.exceptions import NoCredentialsError

        with self._translate_errors("sts"):
            credentials = self._session.get_credentials()
            if credentials is None:
                raise NoCredentialsError
            return str(credentials.method)

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
        """A session of the same account for optional calls: one short attempt each.

        It has its own clients, because botocore slows down all calls of a client that AWS throttles.
        """
        other = AwsSession(
            self.sleep,
            self.clock,
            max_attempts=1,
            timeouts=(2.0, 4.0),
            iam_policy=self._iam_policy,
            validate_parameters=False,
        )
        with self._translate_errors("sts"):
            # The counter is shared, because all calls are billed to one account.
            other.call_counts, other._lock, other._session = self.call_counts, self._lock, self._session
        return other

    @cached_property
    def _session(self) -> Any:
        # boto3's default session would keep the first credentials that it found.
        import boto3
        from botocore.session import Session

        session = Session()
        session.register_component("data_loader", _get_loader())
        session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_parse_timestamp)
        region = None if session.get_config_variable("region") else self._fallback_region or None
        return boto3.Session(botocore_session=session, region_name=region)

    def _make_client(self, service: str) -> Any:
        from botocore.config import Config

        connect, read = self._timeouts
        config = Config(
            retries={"mode": self._retry_mode, "total_max_attempts": self._max_attempts},
            connect_timeout=connect,
            read_timeout=read,
            user_agent_extra="cwnotify",
            parameter_validation=self._validate_parameters,
        )
        client = self._session.client(service, config=config)
        client.meta.events.register("provide-client-params", self._count_call)
        return client

    def _count_call(self, model: Any, params: Mapping[str, Any], **_: object) -> None:
        from cwnotify.aws.error_messages import get_iam_action

        with self._lock:
            self.call_counts[get_iam_action(model.service_model.service_name, model.name)] += 1
            self.requested_series_count += len(params.get("MetricDataQueries", ()))

    @contextmanager
    def _translate_errors(self, service: str) -> Iterator[None]:
        """Raise botocore's errors as `AwsError`."""
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        from cwnotify.aws.error_messages import to_aws_error

        try:
            yield
        except (BotoCoreError, ClientError, ResponseParserError, ValueError) as error:
            # boto3 raises ValueError for a malformed endpoint or region.
            raise to_aws_error(error, service, self._iam_policy) from None


@cache
def _get_loader() -> Any:
    """Return the loader of the service models. All sessions share it, because it reads large files."""
    from botocore.loaders import create_loader

    loader: Any = create_loader()
    load = loader.load_service_model

    def load_service_model(service: str, type: str, api_version: str | None = None) -> Any:
        model = load(service, type, api_version)
        return add_log_alarms_to_model(model) if (service, type) == ("cloudwatch", "service-2") else model

    loader.load_service_model = load_service_model
    return loader


def add_log_alarms_to_model(model: Any) -> Any:
    """Add log alarms to the service model of an older boto3, with the fields that they share with metric alarms.

    Such a boto3 drops them from the response of DescribeAlarms. No request changes.
    """
    members = model["shapes"]["DescribeAlarmsOutput"]["members"]
    members.setdefault("LogAlarms", {"shape": "MetricAlarms"})
    return model


def _parse_timestamp(value: Any) -> datetime:
    """Parse a time in a response. Datapoints have plain numbers, for which botocore's own parser takes 20 µs each."""
    if isinstance(value, int | float):
        return datetime.fromtimestamp(value, UTC)
    from botocore.utils import parse_timestamp

    return parse_timestamp(value)
