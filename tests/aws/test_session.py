"""The region that a session uses."""

from __future__ import annotations

from pathlib import Path

import pytest

from cwnotify.aws.session import AwsSession


@pytest.fixture(autouse=True)
def without_region(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No region is configured: not in the environment, and not in a file."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))


def test_watching_without_configured_region_uses_region_of_instance() -> None:
    assert AwsSession.with_short_timeouts("eu-west-3").region == "eu-west-3"


def test_configured_region_wins_over_region_of_instance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-2")

    assert AwsSession.with_short_timeouts("eu-west-3").region == "us-east-2"
