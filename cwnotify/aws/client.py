"""The one door to AWS: what is asked of it, and its refusals in plain words. boto3.

What goes through it is spelled in the modules beside this one, by theme: `formation`, `stores`, `alarms`, `function`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from cwnotify.errors import AwsError


class Aws:
    """An account's region, configured as for every program that uses boto3.

    Parameters
    ----------
    sleep
        Waits so many seconds, between two looks at something that takes AWS its time.
    """

    def __init__(self, sleep: Callable[[float], None] = time.sleep) -> None:
        self.sleep = sleep
        self._clients: dict[str, Any] = {}

    def ask(self, service: str, operation: str, **arguments: Any) -> Any:
        """Call one operation, as boto3 spells it.

        Raises
        ------
        AwsError
            Whatever goes wrong.
        """
        with _refusals(service):
            return getattr(self.client(service), operation)(**arguments)

    def pages(self, service: str, operation: str, key: str, **arguments: Any) -> Iterator[Any]:
        """The items under `key` on all pages of an operation's answer."""
        with _refusals(service):
            for page in self.client(service).get_paginator(operation).paginate(**arguments):
                yield from page.get(key, ())

    def find(self, service: str, operation: str, missing: tuple[str, ...], **arguments: Any) -> Any:
        """As `ask`; None where AWS answers with one of the codes `missing`."""
        try:
            return self.ask(service, operation, **arguments)
        except AwsError as error:
            if error.code in missing:
                return None
            raise

    def client(self, service: str) -> Any:
        """boto3's own client."""
        if service not in self._clients:
            import boto3
            from botocore.config import Config

            make: Any = boto3.client
            # Throttling is no news here: nobody waits for less than a second.
            config = Config(retries={"mode": "standard", "max_attempts": 5}, user_agent_extra="cwnotify")
            with _refusals(service):
                self._clients[service] = make(service, config=config)
        return self._clients[service]

    @cached_property
    def account(self) -> str:
        """The account's twelve digits."""
        return str(self.ask("sts", "get_caller_identity")["Account"])

    @cached_property
    def region(self) -> str:
        """The region's code."""
        return str(self.client("cloudformation").meta.region_name)

    @cached_property
    def partition(self) -> str:
        """``aws``, ``aws-cn`` or ``aws-us-gov``."""
        return str(self.client("cloudformation").meta.partition)


@contextmanager
def _refusals(service: str) -> Iterator[None]:
    """What botocore raises in here becomes an `AwsError`."""
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    from cwnotify.aws.refusals import refusal

    try:
        yield
    except (BotoCoreError, ClientError, ResponseParserError, ValueError) as error:
        # A ValueError is what boto3 raises for an endpoint or a region that is none.
        raise refusal(error, service) from None
