"""One attempt at a message of the outbox, against a Slack on a real socket."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import pytest

from cwnotify.settings import Secret
from cwnotify.sidecar.delivery import attempt_delivery
from cwnotify.sidecar.pacing import DestinationCooldown
from cwnotify.slack.destination import WebhookResolver
from cwnotify.store.outbox import Outbox
from tests.support.slack import Slack


@pytest.mark.parametrize(
    ("age", "note"), [(30.0, ""), (3 * 3600.0 + 5, "\n:hourglass: Delivered 3 hours late: written at ")]
)
def test_message_that_waited_for_hours_says_when_it_was_written(age: float, note: str, tmp_path: Path) -> None:
    with Slack() as slack, closing(Outbox(tmp_path / "outbox.sqlite3", durable=False)) as outbox:
        blocks = [{"type": "section", "text": {"type": "mrkdwn", "text": "*train* finished"}}]
        outbox.enqueue("train", "slack", {"text": "*train* finished", "blocks": blocks}, time.time() - age)
        cooldown = DestinationCooldown()
        message = outbox.claim_next("slack", "me", time.time(), cooldown.min_created_at())
        assert message is not None
        webhook = WebhookResolver(Secret(slack.url), lambda: None)

        assert attempt_delivery(outbox, webhook, message, cooldown) == ("done", "")

        payload = slack.wait_for(1)[0]
        assert payload["text"].startswith(f"*train* finished{note}")
        assert payload["blocks"][0]["text"]["text"] == payload["text"]
        assert outbox.list_messages("done")[0].payload["text"] == "*train* finished"
