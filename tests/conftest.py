"""Hypothesis: no deadline for one example, since several tests share a machine with real processes."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("cwnotify", deadline=None)
settings.load_profile("cwnotify")
