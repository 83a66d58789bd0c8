"""Runs as they are reported to the sidecar."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from cwnotify.alerts.events.runs import Outcome, Run, RunKind, RunResult
from cwnotify.runs.recorder import Recording, locate_run
from cwnotify.settings import Secret
from cwnotify.sidecar.client import SidecarClient

OUTER_URL, INNER_URL = "http://127.0.0.1:1/outer", "http://127.0.0.1:1/inner"


class FakeClient:
    """Stores the webhook to which each run's end would go."""

    def __init__(self) -> None:
        self.pending_warnings: list[str] = []
        self.destinations: dict[str, str | None] = {}
        self._webhook: Secret | None = None

    def set_webhook(self, webhook: Secret | None) -> None:
        self._webhook = webhook

    def report_run_started(self, run: Run) -> None:
        """Do nothing."""

    def report_run_ended(self, result: RunResult, hold: bool) -> None:
        self.destinations[result.run.name] = self._webhook.reveal() if self._webhook else None


def start_run(name: str, client: FakeClient) -> Recording:
    recording = Recording(name, RunKind.COMMAND, locate_run(), {}, client=cast(SidecarClient, client))
    recording.begin()
    return recording


def test_run_ends_at_its_own_webhook_after_a_nested_run_with_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("HOME", "XDG_CONFIG_HOME", "CWNOTIFY_STATE_DIR"):
        monkeypatch.setenv(variable, str(tmp_path))
    client = FakeClient()
    monkeypatch.setenv("CWNOTIFY_WEBHOOK_URL", OUTER_URL)
    outer = start_run("outer", client)
    monkeypatch.setenv("CWNOTIFY_WEBHOOK_URL", INNER_URL)
    inner = start_run("inner", client)

    inner.report_end(Outcome.FINISHED)
    outer.report_end(Outcome.FINISHED)

    assert client.destinations == {"inner": INNER_URL, "outer": OUTER_URL}
