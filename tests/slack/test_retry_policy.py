"""Retry decisions after each reply of Slack, and of proxies and login pages in its place."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import time
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cwnotify.slack.retry_policy import (
    MAX_BACKOFF,
    MAX_DELIVERY_AGE,
    MAX_DESTINATION_BACKOFF,
    MAX_RETRY_AFTER,
    MIN_ATTEMPTS,
    MIN_BACKOFF_NON_SLACK,
    Attempt,
    Delivered,
    DeliveryDecision,
    GiveUp,
    RetryAsText,
    RetryAt,
    SlackReply,
    decide_retry,
    decide_retry_unsent,
    explain_connection_error,
    explain_reply,
)
from cwnotify.store.outbox import MAX_DUE_DELAY

NOW = 1_795_316_400.0
PAGE = "<!doctype html><html><title>Sign in to the network</title></html>"


def decide(
    reply: SlackReply, number: int = 1, age: float = 0.0, jitter: float = 1.0, is_text: bool = False
) -> DeliveryDecision:
    """Return the decision for a message that has been due for `age` seconds."""
    return decide_retry(reply, Attempt(number, NOW - age, NOW, jitter, is_text))


def give_up_reason(reply: SlackReply) -> str:
    """Return the reason for giving up."""
    decision = decide(reply)
    assert isinstance(decision, GiveUp)
    return decision.reason


def pause_after(reply: SlackReply, number: int = 1, jitter: float = 1.0) -> float:
    """Return the seconds until the next attempt."""
    decision = decide(reply, number, jitter=jitter)
    assert isinstance(decision, RetryAt)
    return decision.at - NOW


# Replies by the decision that they lead to.
WRONG_MESSAGE = (
    "invalid_payload",
    "invalid_blocks",
    "no_text",
    "missing_text_or_fallback_or_attachments",
    "too_many_attachments",
    "user_not_found",
    "invalid_attachments",
    "msg_blocks_too_long",
    "a_future_code",
)
NOT_PERMITTED = ("action_prohibited", "posting_to_general_channel_denied")
REMOVED_WEBHOOK = ("channel_not_found", "no_service", "no_active_hooks", "no_team")
DOWN = (
    *(SlackReply(status, "rollup_error") for status in (500, 502, 503, 504, 599)),
    SlackReply(500, PAGE),
    SlackReply(503),
    *(SlackReply(error=error) for error in ("the connection was refused", "no answer in time", "TLS failed", "")),
)
NON_SLACK = (
    SlackReply(200, PAGE),
    SlackReply(200),
    SlackReply(200, "OK"),
    SlackReply(200, "okay"),
    SlackReply(204),
    SlackReply(301),
    SlackReply(302, PAGE),
    SlackReply(307, "ok"),
    SlackReply(403, PAGE),
    SlackReply(404, PAGE),
    SlackReply(400, PAGE),
    SlackReply(410, PAGE),
    SlackReply(407, PAGE),
)


@pytest.mark.parametrize("body", ["ok", "ok\n"])
def test_200_ok_is_delivered(body: str) -> None:
    assert decide(SlackReply(200, body)) == Delivered()


@pytest.mark.parametrize("body", [*WRONG_MESSAGE, "", "{}", "The message is too long."])
def test_unreadable_blocks_are_retried_as_text(body: str) -> None:
    reply = SlackReply(400, body)

    assert isinstance(decide(reply), RetryAsText)
    assert not isinstance(decide(reply, is_text=True), RetryAsText)


@pytest.mark.parametrize("reply", [SlackReply(400, code) for code in WRONG_MESSAGE] + [SlackReply(400)], ids=str)
def test_unreadable_text_is_given_up(reply: SlackReply) -> None:
    assert isinstance(decide(reply, is_text=True), GiveUp)


@pytest.mark.parametrize("code", REMOVED_WEBHOOK)
@pytest.mark.parametrize("status", [400, 403, 404])
def test_removed_webhook_is_given_up_with_remedy(status: int, code: str) -> None:
    reason = give_up_reason(SlackReply(status, code))

    assert code in reason
    assert "this webhook was removed; make a new one at https://api.slack.com/apps" in reason


@pytest.mark.parametrize("reply", [*(SlackReply(403, code) for code in NOT_PERMITTED), SlackReply(403)], ids=str)
def test_forbidden_post_is_given_up_with_remedy(reply: SlackReply) -> None:
    assert "ask its administrator" in give_up_reason(reply)


def test_invalid_token_is_given_up() -> None:
    assert isinstance(decide(SlackReply(403, "invalid_token")), GiveUp)


def test_archived_channel_is_given_up_with_reason() -> None:
    assert "archived" in give_up_reason(SlackReply(410, "channel_is_archived"))


@pytest.mark.parametrize("reply", DOWN, ids=str)
def test_outage_is_retried_with_exponential_backoff(reply: SlackReply) -> None:
    pauses = [pause_after(reply, number) for number in range(1, 12)]

    assert pauses[:4] == pytest.approx([0.5, 1, 2, 4])
    assert pauses == sorted(pauses)
    assert pauses[-1] == MAX_BACKOFF
    assert isinstance(decide(reply, is_text=True), RetryAt)


@pytest.mark.parametrize("reply", NON_SLACK, ids=str)
def test_foreign_reply_is_retried_slowly_and_reported(reply: SlackReply) -> None:
    decision = decide(reply)

    assert pause_after(reply) == MIN_BACKOFF_NON_SLACK
    assert pause_after(reply, number=20) == MAX_BACKOFF
    assert isinstance(decision, RetryAt)
    assert "something other than Slack answered" in decision.reason


@pytest.mark.parametrize("reply", [SlackReply(429, "rate_limited"), SlackReply(408)], ids=str)
def test_rate_limit_without_retry_after_backs_off(reply: SlackReply) -> None:
    assert [pause_after(reply, number) for number in (1, 2, 3)] == pytest.approx([0.5, 1, 2])


@pytest.mark.parametrize("status", [429, 503, 500])
@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("30", 30.0),
        (" 30 ", 30.0),
        ("1.5", 1.5),
        ("0", 0.0),
        (format_datetime(datetime.fromtimestamp(NOW + 90, UTC), usegmt=True), 90.0),
        ("Sun, 22 Nov 2026 12:01:30 +0900", 90.0),
        ("Sunday, 22-Nov-26 03:01:30 GMT", 90.0),
        ("86400", MAX_RETRY_AFTER),
        ("9" * 60, MAX_RETRY_AFTER),
        ("Tue, 01 Jan 2999 00:00:00 GMT", MAX_RETRY_AFTER),
    ],
)
def test_retry_after_sets_the_pause(status: int, header: str, seconds: float) -> None:
    reply = SlackReply(status, "rate_limited", header)

    assert pause_after(reply, jitter=0.0) == pytest.approx(seconds)
    assert pause_after(reply, jitter=1.0) == pytest.approx(seconds + 1)
    assert pause_after(reply, number=50, jitter=0.0) == pytest.approx(seconds)


def test_retry_after_date_without_zone_is_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Seoul")
    time.tzset()
    try:
        assert pause_after(SlackReply(429, "", "Sun, 22 Nov 2026 03:01:30 -0000"), jitter=0.0) == 90.0
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    "header",
    ["", "-5", "nan", "inf", "1e999", "soon", "Sun, 22 Nov 2020 00:00:00 GMT", "Sun, 99 Foo", "1" * 65, "0x10", "٣٠ x"],
)
def test_invalid_retry_after_is_ignored(header: str) -> None:
    assert pause_after(SlackReply(429, "rate_limited", header), number=3) == 2.0


@pytest.mark.parametrize(("failures", "backoff"), [(1, 0.5), (3, 2.0), (20, MAX_BACKOFF)])
def test_other_messages_wait_by_consecutive_failures_of_the_destination(failures: int, backoff: float) -> None:
    decision = decide_retry(SlackReply(503), Attempt(6, NOW, NOW, 1.0, consecutive_failures=failures))

    assert isinstance(decision, RetryAt)
    assert decision.backoff_until - NOW == pytest.approx(backoff)
    assert decision.at - NOW == pytest.approx(max(16.0, backoff))
    assert not decision.is_requested_by_slack


@pytest.mark.parametrize(("header", "backoff"), [("30", 30.0), ("3600", MAX_DESTINATION_BACKOFF)])
def test_retry_after_pauses_all_messages_up_to_a_limit(header: str, backoff: float) -> None:
    decision = decide(SlackReply(429, "rate_limited", header), jitter=0.0)

    assert isinstance(decision, RetryAt)
    assert decision.backoff_until - NOW == pytest.approx(backoff)
    assert decision.is_requested_by_slack
    assert decision.at - NOW == pytest.approx(float(header))


@given(st.integers(1, 60), st.floats(0, 1))
def test_jitter_shortens_a_pause_by_up_to_half(number: int, jitter: float) -> None:
    longest = min(0.5 * 2 ** (number - 1), MAX_BACKOFF)

    assert longest / 2 - 1e-6 <= pause_after(SlackReply(503), number, jitter) <= longest + 1e-6


def test_message_is_given_up_after_a_day_with_last_error() -> None:
    assert isinstance(decide(SlackReply(503), age=MAX_DELIVERY_AGE - 1), RetryAt)
    decision = decide(SlackReply(503), MIN_ATTEMPTS, age=MAX_DELIVERY_AGE)
    assert isinstance(decision, GiveUp)
    reason = "given up after 24 h; last error: 503: Slack has an internal error"
    assert decision == GiveUp(reason, decision.backoff_until)


def test_message_is_given_up_if_the_pause_passes_the_age_limit() -> None:
    assert isinstance(decide(SlackReply(429, "", "3600"), MIN_ATTEMPTS, age=MAX_DELIVERY_AGE - 60), GiveUp)


def test_message_is_retried_after_the_clock_was_set_back() -> None:
    assert isinstance(decide(SlackReply(503), age=-10 * MAX_DELIVERY_AGE), RetryAt)


def test_message_is_retried_after_the_clock_was_set_ahead() -> None:
    assert isinstance(decide(SlackReply(503), MIN_ATTEMPTS - 1, age=10 * MAX_DELIVERY_AGE), RetryAt)


def test_unsent_message_backs_off_and_is_given_up() -> None:
    retry = decide_retry_unsent("no webhook", Attempt(3, NOW, NOW, 1.0))
    assert retry == RetryAt(NOW + 2.0, "no webhook", NOW + 0.5)
    end = decide_retry_unsent("no webhook", Attempt(MIN_ATTEMPTS, NOW - MAX_DELIVERY_AGE, NOW, 1.0))
    assert isinstance(end, GiveUp)
    assert end.reason == "given up after 24 h; last error: no webhook"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (TimeoutError(), "no answer in time"),
        (ConnectionRefusedError(), "the connection was refused"),
        (BrokenPipeError(), "the connection was reset"),
        (ConnectionAbortedError(), "the connection broke"),
        (socket.gaierror(), "the host name could not be resolved"),
        (ssl.SSLCertVerificationError(), "TLS failed; does this machine trust the certificate?"),
        (http.client.InvalidURL(), "the webhook is not a valid URL"),
        (OSError(ConnectionRefusedError()), "the connection was refused"),
        (ValueError("canary"), "ValueError"),
    ],
    ids=repr,
)
def test_connection_error_is_explained_by_its_type(error: BaseException, text: str) -> None:
    assert explain_connection_error(error) == text


def test_longest_pause_is_accepted_by_the_outbox() -> None:
    assert pause_after(SlackReply(429, "", "9" * 60), jitter=1.0) < MAX_DUE_DELAY


REPLIES = st.builds(
    SlackReply,
    status=st.none() | st.integers(100, 599) | st.sampled_from((200, 400, 403, 404, 429, 500)),
    body=st.text(max_size=80) | st.sampled_from((*WRONG_MESSAGE, *REMOVED_WEBHOOK, PAGE, "ok", "channel_is_archived")),
    retry_after=st.text(max_size=70)
    | st.from_regex(r"\A(Mon|Tue), \d{1,5} (Jan|Feb) \d{1,12} \d{1,9}:\d{1,4}:\d{1,9} ([+-]\d{1,12}|GMT)?\Z"),
    error=st.text(max_size=20),
)


@given(REPLIES, st.integers(0, 10**6), st.floats(-1e9, 1e9), st.floats(0, 1), st.booleans())
def test_any_reply_leads_to_a_decision(
    reply: SlackReply, number: int, age: float, jitter: float, is_text: bool
) -> None:
    decision = decide(reply, number, age, jitter, is_text)

    assert isinstance(decision, Delivered) == (reply.status == 200 and reply.body.strip() == "ok")
    if isinstance(decision, RetryAt):
        assert decision.at + 1e-3 > NOW
        assert decision.at <= NOW + MAX_RETRY_AFTER + 1
        assert decision.at <= NOW - age + MAX_DELIVERY_AGE or number < MIN_ATTEMPTS
    if isinstance(decision, RetryAsText):
        assert not is_text


@given(REPLIES)
def test_reason_repeats_only_the_error_code_of_a_reply(reply: SlackReply) -> None:
    is_code = re.fullmatch(r"\w{1,60}", reply.body.strip(), re.ASCII)

    assert len(explain_reply(reply)) < 220
    assert is_code or not reply.body.strip() or explain_reply(reply) == explain_reply(replace(reply, body=PAGE))
