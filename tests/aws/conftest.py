"""An AWS on this machine, strict where emulators are not."""

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
    """The door that the watch uses, at the stand-in's time."""
    aws = AwsSession.with_short_timeouts()
    aws.clock = lambda: NOW
    return aws
