"""Hypothesis: no deadline for one example, since several tests share a machine with real processes. And the order."""

from __future__ import annotations

import pytest
from hypothesis import settings

settings.register_profile("cwnotify", deadline=None)
settings.load_profile("cwnotify")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long ones first, so that those who share the work end together."""
    items.sort(key=lambda item: "e2e" not in item.path.parts)
