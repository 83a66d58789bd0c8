"""Retries: what follows from each of Slack's replies, and from those of others in its place."""

from __future__ import annotations

import re
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
    Delivered,
    GiveUp,
    RetryAsText,
    RetryAt,
    SlackReply,
    decide_retry,
    explain_reply,
)
from cwnotify.store.outbox import MAX_DUE_DELAY

NOW = 1_795_316_400.0
PAGE = "<!doctype html><html><title>Sign in to the network</title></html>"


def after(reply: SlackReply, attempt: int = 1, waited: float = 0.0, jitter: float = 1.0, text_only: bool = False):
    """The decision after a message was due for `waited` seconds."""
    return decide_retry(reply, attempt, NOW - waited, NOW, jitter, text_only)


def pause_after(reply: SlackReply, attempt: int = 1, jitter: float = 1.0) -> float:
    decision = after(reply, attempt, jitter=jitter)
    assert isinstance(decision, RetryAt)
    return decision.at - NOW


# The table of replies in facts.md, a row a group.
WRONG_MESSAGE = (
    "invalid_payload",
    "invalid_blocks",
    "no_text",
    "missing_text_or_fallback_or_attachments",
    "too_many_attachments",
    "user_not_found",
    "invalid_attachments",
    "msg_blocks_too_long",
    "a_word_of_tomorrow",
)
NOT_ALLOWED = ("action_prohibited", "posting_to_general_channel_denied")
REMOVED = ("channel_not_found", "no_service", "no_active_hooks", "no_team")
DOWN = (
    *(SlackReply(status, "rollup_error") for status in (500, 502, 503, 504, 599)),
    SlackReply(500, PAGE),
    SlackReply(503),
    *(SlackReply(error=words) for words in ("the connection was refused", "no answer in time", "TLS failed", "")),
)
STRANGERS = (
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
def test_200_ok_is_delivered(body):
    assert after(SlackReply(200, body)) == Delivered()


@pytest.mark.parametrize("body", [*WRONG_MESSAGE, "", "{}", "The message is too long."])
def test_a_message_that_slack_cannot_read_is_sent_once_more_as_text(body):
    reply = SlackReply(400, body)

    assert isinstance(after(reply), RetryAsText)
    assert not isinstance(after(reply, text_only=True), RetryAsText)


@pytest.mark.parametrize("reply", [SlackReply(400, word) for word in WRONG_MESSAGE] + [SlackReply(400)], ids=str)
def test_text_that_slack_cannot_read_either_is_dead(reply):
    assert isinstance(after(reply, text_only=True), GiveUp)


@pytest.mark.parametrize("word", REMOVED)
@pytest.mark.parametrize("status", [400, 403, 404])
def test_a_webhook_that_was_removed_is_dead_and_tells_how_to_make_another(status, word):
    decision = after(SlackReply(status, word))

    assert isinstance(decision, GiveUp)
    assert word in decision.reason
    assert "this webhook was removed; make a new one at https://api.slack.com/apps" in decision.reason


@pytest.mark.parametrize("reply", [*(SlackReply(403, word) for word in NOT_ALLOWED), SlackReply(403)], ids=str)
def test_what_is_not_allowed_is_dead_and_names_whom_to_ask(reply):
    decision = after(reply)

    assert isinstance(decision, GiveUp)
    assert "ask its administrator" in decision.reason


def test_an_invalid_token_is_dead():
    assert isinstance(after(SlackReply(403, "invalid_token")), GiveUp)


def test_an_archived_channel_is_dead_and_says_so():
    decision = after(SlackReply(410, "channel_is_archived"))

    assert isinstance(decision, GiveUp)
    assert "archived" in decision.reason


@pytest.mark.parametrize("reply", DOWN, ids=str)
def test_when_slack_is_down_it_is_tried_again_soon_then_ever_more_slowly(reply):
    pauses = [pause_after(reply, attempt) for attempt in range(1, 12)]

    assert pauses[:4] == pytest.approx([0.5, 1, 2, 4])
    assert pauses == sorted(pauses)
    assert pauses[-1] == MAX_BACKOFF
    assert isinstance(after(reply, text_only=True), RetryAt)


@pytest.mark.parametrize("reply", STRANGERS, ids=str)
def test_who_is_not_slack_is_asked_again_slowly_with_the_same_message_and_named(reply):
    assert pause_after(reply) == MIN_BACKOFF_NON_SLACK
    assert pause_after(reply, attempt=20) == MAX_BACKOFF
    assert "something other than Slack answered" in after(reply).reason


@pytest.mark.parametrize("reply", [SlackReply(429, "rate_limited"), SlackReply(408)], ids=str)
def test_who_is_told_to_slow_down_without_a_time_slows_down(reply):
    assert [pause_after(reply, attempt) for attempt in (1, 2, 3)] == pytest.approx([0.5, 1, 2])


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
def test_it_is_not_tried_again_before_slack_wants_it(status, header, seconds):
    reply = SlackReply(status, "rate_limited", header)

    assert pause_after(reply, jitter=0.0) == pytest.approx(seconds)
    assert pause_after(reply, jitter=1.0) == pytest.approx(seconds + 1)
    assert pause_after(reply, attempt=50, jitter=0.0) == pytest.approx(seconds)


def test_a_date_without_a_zone_is_in_utc_wherever_this_machine_stands(monkeypatch):
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
def test_a_retry_after_that_makes_no_sense_counts_for_nothing(header):
    assert pause_after(SlackReply(429, "rate_limited", header), attempt=3) == 2.0


def test_the_others_rest_as_long_as_failures_follow_each_other_there():
    """A message that was tried often keeps the others back no longer than one that was not."""
    for failures, rest in ((1, 0.5), (3, 2.0), (20, MAX_BACKOFF)):
        decision = decide_retry(SlackReply(503), 6, NOW, NOW, 1.0, False, failures=failures)
        assert decision.backoff_until - NOW == pytest.approx(rest)
        assert decision.quantile - NOW == pytest.approx(max(16.0, rest))
        assert not decision.is_requested_by_slack


@pytest.mark.parametrize(("header", "rest"), [("30", 30.0), ("3600", MAX_DESTINATION_BACKOFF)])
def test_all_rest_when_slack_asks_for_it_yet_not_for_an_hour(header, rest):
    decision = decide_retry(SlackReply(429, "rate_limited", header), 1, NOW, NOW, 0.0, False)

    assert (decision.backoff_until - NOW, decision.is_requested_by_slack) == (pytest.approx(rest), True)
    assert decision.quantile - NOW == pytest.approx(float(header))


@given(st.integers(1, 60), st.floats(0, 1))
def test_chance_takes_up_to_half_of_a_pause(attempt, jitter):
    whole = min(0.5 * 2 ** (attempt - 1), MAX_BACKOFF)

    assert whole / 2 - 1e-6 <= pause_after(SlackReply(503), attempt, jitter) <= whole + 1e-6


def test_patience_ends_after_a_day_with_the_last_reason():
    assert isinstance(after(SlackReply(503), waited=MAX_DELIVERY_AGE - 1), RetryAt)
    decision = after(SlackReply(503), MIN_ATTEMPTS, waited=MAX_DELIVERY_AGE)
    assert isinstance(decision, GiveUp)
    assert decision == GiveUp("given up after 24 h; at last: 503: Slack has a fault of its own", decision.backoff_until)


def test_patience_ends_also_where_the_pause_would_pass_it():
    assert isinstance(after(SlackReply(429, "", "3600"), MIN_ATTEMPTS, waited=MAX_DELIVERY_AGE - 60), GiveUp)


def test_patience_does_not_end_for_a_clock_that_was_set_back():
    assert isinstance(after(SlackReply(503), waited=-10 * MAX_DELIVERY_AGE), RetryAt)


def test_patience_does_not_end_for_a_clock_that_was_set_ahead():
    assert isinstance(after(SlackReply(503), MIN_ATTEMPTS - 1, waited=10 * MAX_DELIVERY_AGE), RetryAt)


def test_a_pause_never_lies_so_far_ahead_that_the_outbox_takes_it_for_a_broken_clock():
    assert pause_after(SlackReply(429, "", "9" * 60), jitter=1.0) < MAX_DUE_DELAY


REPLIES = st.builds(
    SlackReply,
    status=st.none() | st.integers(100, 599) | st.sampled_from((200, 400, 403, 404, 429, 500)),
    body=st.text(max_size=80) | st.sampled_from((*WRONG_MESSAGE, *REMOVED, PAGE, "ok", "channel_is_archived")),
    retry_after=st.text(max_size=70)
    | st.from_regex(r"\A(Mon|Tue), \d{1,5} (Jan|Feb) \d{1,12} \d{1,9}:\d{1,4}:\d{1,9} ([+-]\d{1,12}|GMT)?\Z"),
    trouble=st.text(max_size=20),
)


@given(REPLIES, st.integers(0, 10**6), st.floats(-1e9, 1e9), st.floats(0, 1), st.booleans())
def test_there_is_a_decision_after_any_reply(reply, attempt, waited, jitter, text_only):
    decision = after(reply, attempt, waited, jitter, text_only)

    assert isinstance(decision, Delivered) == (reply.status == 200 and reply.body.strip() == "ok")
    if isinstance(decision, RetryAt):
        assert decision.at + 1e-3 > NOW
        assert decision.at <= NOW + MAX_RETRY_AFTER + 1
        assert decision.at <= NOW - waited + MAX_DELIVERY_AGE or attempt < MIN_ATTEMPTS
    if isinstance(decision, RetryAsText):
        assert not text_only


@given(REPLIES)
def test_a_reason_repeats_nothing_that_was_answered_but_slacks_own_word(reply):
    is_word = re.fullmatch(r"\w{1,60}", reply.body.strip(), re.ASCII)

    assert len(explain_reply(reply)) < 220
    assert is_word or not reply.body.strip() or explain_reply(reply) == explain_reply(replace(reply, body=PAGE))
