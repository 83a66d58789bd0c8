"""Default fixtures: a Slack stand-in, and a world that sends alerts to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.kernel import World
from tests.support.slack import Slack


@pytest.fixture
def slack() -> Iterator[Slack]:
    with Slack() as slack:
        yield slack


@pytest.fixture
def world(slack: Slack, tmp_path: Path) -> Iterator[World]:
    with World(tmp_path, slack.url) as world:
        yield world
