"""Payloads that Slack accepts and rejects, at each limit and one past it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cwnotify.alerts.events.run_options import RunOptions
from cwnotify.alerts.events.runs import CapturedValue, Outcome, Run, RunFailure, RunResult
from cwnotify.alerts.messages import block_kit as b
from cwnotify.alerts.messages.run import run_message, webhook_test_message
from cwnotify.demo.slack_rules import respond_to_webhook

PLAIN = {"type": "plain_text", "text": "x"}
TEXT = {"type": "mrkdwn", "text": "x"}


def section(**more: Any) -> dict[str, Any]:
    return {"type": "section", **more}


def actions(**button: Any) -> dict[str, Any]:
    return {"type": "actions", "elements": [{"type": "button", "text": PLAIN, **button}]}


DIVIDER = {"type": "divider"}
ACCEPTED = {
    "text": {"text": "hello"},
    "channel": {"text": "hello", "channel": "#alerts"},
    "blocks alone": {"blocks": [b.section("x")]},
    "attachment alone": {"attachments": [{"color": "#fff", "blocks": [b.section("x")]}]},
    "legacy attachment": {"attachments": [{"text": "x", "footer": "y"}]},
    "header of 150": {"blocks": [{"type": "header", "text": {**PLAIN, "text": "x" * 150}}]},
    "section of 3000": {"blocks": [b.section("x" * 3000)]},
    "10 fields of 2000": {"blocks": [section(fields=[{**TEXT, "text": "x" * 2000}] * 10)]},
    "50 blocks": {"blocks": [DIVIDER] * 50},
    "url of 3000": {"blocks": [actions(url="https://a.b/".ljust(3000, "x"))]},
    "button of 75": {"blocks": [actions(text={**PLAIN, "text": "x" * 75, "emoji": True}, style="danger")]},
    "image": {"blocks": [{"type": "image", "image_url": "https://a.b/c.png", "alt_text": "x", "title": PLAIN}]},
    "accessory": {"blocks": [section(text=TEXT, accessory=actions()["elements"][0])]},
}
REJECTED_BLOCKS = {
    "51 blocks": [DIVIDER] * 51,
    "an object": {"type": "divider"},
    "no type": [{}],
    "unknown type": [{"type": "paragraph"}],
    "unknown property": [{**DIVIDER, "text": TEXT}],
    "header of 151": [{"type": "header", "text": {**PLAIN, "text": "x" * 151}}],
    "header in mrkdwn": [{"type": "header", "text": TEXT}],
    "section of 3001": [b.section("x" * 3001)],
    "empty text": [b.section("")],
    "text as a string": [section(text="x")],
    "mrkdwn with emoji": [section(text={**TEXT, "emoji": True})],
    "section of nothing": [section()],
    "no fields": [section(fields=[])],
    "11 fields": [section(fields=[TEXT] * 11)],
    "field of 2001": [section(fields=[{**TEXT, "text": "x" * 2001}])],
    "context of 11": [{"type": "context", "elements": [TEXT] * 11}],
    "context of none": [{"type": "context", "elements": []}],
    "context with a button": [{"type": "context", "elements": actions()["elements"]}],
    "actions of none": [{"type": "actions", "elements": []}],
    "actions of 26": [{"type": "actions", "elements": actions()["elements"] * 26}],
    "button of 76": [actions(text={**PLAIN, "text": "x" * 76})],
    "button in mrkdwn": [actions(text=TEXT)],
    "url of 3001": [actions(url="https://a.b/".ljust(3001, "x"))],
    "script url": [actions(url="javascript:alert(1)")],
    "unknown style": [actions(style="green")],
    "image without alt": [{"type": "image", "image_url": "https://a.b/c.png"}],
    "image of 3001": [{"type": "image", "image_url": "https://a.b/".ljust(3001, "x"), "alt_text": "x"}],
    "image without url": [{"type": "image", "alt_text": "x"}],
    "block_id twice": [{**DIVIDER, "block_id": "1"}, {**DIVIDER, "block_id": "1"}],
    "block_id of 256": [{**DIVIDER, "block_id": "x" * 256}],
}
REJECTED = {
    "no object": ([], "invalid_payload"),
    "text is a number": ({"text": 3}, "invalid_payload"),
    "nothing": ({}, "no_text"),
    "empty": ({"text": "", "blocks": [], "attachments": []}, "no_text"),
    "attachment without content": ({"attachments": [{"color": "good"}]}, "missing_text_or_fallback_or_attachments"),
    "101 attachments": ({"text": "x", "attachments": [{"text": "x"}] * 101}, "too_many_attachments"),
    "attachments no list": ({"text": "x", "attachments": "x"}, "invalid_attachments"),
    "footer beside blocks": (
        {"text": "x", "attachments": [{"blocks": [DIVIDER], "footer": "x"}]},
        "invalid_attachments",
    ),
}


@pytest.mark.parametrize("payload", ACCEPTED.values(), ids=ACCEPTED)
def test_valid_payload_is_accepted(payload: Any) -> None:
    assert respond_to_webhook(json.dumps(payload).encode()).body == "ok"


@pytest.mark.parametrize("blocks", REJECTED_BLOCKS.values(), ids=REJECTED_BLOCKS)
def test_invalid_block_is_rejected_at_top_and_in_attachments(blocks: Any) -> None:
    top = respond_to_webhook(json.dumps({"text": "x", "blocks": blocks}).encode())
    assert (top.status, top.body, top.reason.startswith("blocks")) == (400, "invalid_blocks", True)
    nested = respond_to_webhook(json.dumps({"text": "x", "attachments": [{"blocks": blocks}]}).encode())
    assert (nested.status, nested.body) == (400, "invalid_attachments")
    assert nested.reason == f"attachments[0].{top.reason}"


@pytest.mark.parametrize(("payload", "error"), REJECTED.values(), ids=REJECTED)
def test_invalid_payload_is_rejected_with_slacks_error(payload: Any, error: str) -> None:
    response = respond_to_webhook(json.dumps(payload).encode())
    assert (response.status, response.body, response.payload) == (400, error, None)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"payload=1", b'{"text": NaN}', b"[" * 100_000])
def test_body_that_is_not_json_is_an_invalid_payload(body: bytes) -> None:
    assert respond_to_webhook(body).body == "invalid_payload"


@pytest.mark.parametrize("lang", ["en", "ko"])
@pytest.mark.parametrize("outcome", list(Outcome))
def test_our_messages_are_accepted(outcome: Outcome, lang: str) -> None:
    run = Run("1", "<!channel> & `*", 0.0, options=RunOptions(lang=lang))
    failure = RunFailure("ValueError", "&" * 9000, "`" * 9000) if outcome is Outcome.FAILED else None
    values = tuple(CapturedValue(f"x{i}", "<" * 5000) for i in range(30))
    result = RunResult(run, outcome, 3600.0, 3600.0, failure=failure, shown=values, tail=">" * 9000)
    for payload in (run_message(result), webhook_test_message("train-3", lang)):
        response = respond_to_webhook(json.dumps(payload).encode())
        assert (response.body, response.reason) == ("ok", "")
