"""A local CloudWatch and EC2 that reject invalid requests, and a session that uses them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cwnotify.aws.session import AwsSession
from tests.support.cloudwatch import CloudWatch

NOW = 1_795_000_000.0


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[CloudWatch]:
    with CloudWatch(lambda: NOW) as stub:
        for name, value in stub.environ().items():
            monkeypatch.setenv(name, value)
        yield stub


@pytest.fixture
def watching(cloud: CloudWatch) -> AwsSession:
    """Return the session that polling uses, with the fake service's time."""
    aws = AwsSession.with_short_timeouts()
    aws.clock = lambda: NOW
    return aws
