"""What most of these tests stand on: a Slack, and a world that tells it. A file that needs others has its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.kernel import World
from tests.support.slack import Slack


@pytest.fixture
def slack() -> Iterator[Slack]:
    with Slack() as one:
        yield one


@pytest.fixture
def world(slack: Slack, tmp_path: Path) -> Iterator[World]:
    with World(tmp_path, slack.url) as one:
        yield one
