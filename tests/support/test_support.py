"""The stand-in does what it is told: otherwise the tests that lean on it would prove nothing."""

from __future__ import annotations

from threading import Timer
from typing import Any

import pytest
import requests

from tests.support.slack import LOGIN_PAGE, OK, RATE_LIMITED, REDIRECT, WEBHOOK_REMOVED, Answer, Slack
from tests.support.waiting import until


def post_message(slack: Slack, path: str = "", seconds: float = 5.0) -> requests.Response:
    url = slack.url.replace(slack.path, path or slack.path)
    return requests.post(url, json={"text": "hi"}, timeout=seconds, allow_redirects=False)


def test_what_is_answered_with_ok_is_delivered() -> None:
    with Slack() as slack:
        reply = post_message(slack)

        assert (reply.status_code, reply.text) == (200, "ok")
        assert slack.wait_for(1) == [{"text": "hi"}]
        assert slack.received[0].headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("answer", [RATE_LIMITED, WEBHOOK_REMOVED, REDIRECT, LOGIN_PAGE, Answer(503, "")], ids=str)
def test_any_other_answer_is_received_and_not_delivered(answer: Answer) -> None:
    with Slack(answer) as slack:
        reply = post_message(slack)

        assert (reply.status_code, reply.text) == (answer.status, answer.body)
        assert all(reply.headers[name] == value for name, value in answer.headers.items())
        assert len(slack.received) == 1
        assert not slack.delivered


def test_a_script_is_used_up_first() -> None:
    with Slack() as slack:
        slack.next_answers += [RATE_LIMITED, WEBHOOK_REMOVED]

        assert [post_message(slack).status_code for _ in range(3)] == [429, 404, 200]


def test_another_path_is_no_webhook() -> None:
    with Slack() as slack:
        assert post_message(slack, "/services/other").text == "no_service"
        assert not slack.delivered


def test_refused_connections_are_taken_again_on_the_same_port() -> None:
    with Slack() as slack:
        slack.refuse_connections()
        with pytest.raises(requests.ConnectionError, match="refused"):
            post_message(slack)
        slack.accept_connections()

        assert post_message(slack).text == "ok"


@pytest.mark.parametrize(
    ("mode", "error"),
    [
        ("hang", requests.ReadTimeout),
        ("silent", requests.ReadTimeout),
        ("reset", requests.ConnectionError),
        ("late_reset", requests.ConnectionError),
        ("cut", (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)),
    ],
)
def test_bad_ways_are_as_bad_as_they_sound(mode: Any, error: Any) -> None:
    with Slack(Answer(mode=mode)) as slack:
        with pytest.raises(error):
            post_message(slack, seconds=0.3)
        assert not slack.delivered


def test_a_dripping_answer_arrives_in_the_end() -> None:
    with Slack(Answer(mode="drip")) as slack:
        assert post_message(slack).text == "ok"
        slack.wait_for(1)


def test_waiting_ends_with_the_reason() -> None:
    with Slack() as slack:
        Timer(0.05, post_message, [slack]).start()
        slack.wait_for(lambda messages: messages and messages[0]["text"] == "hi")
        with pytest.raises(AssertionError, match=r"not delivered within 0\.05 s; 1 requests arrived"):
            slack.wait_for(2, seconds=0.05)
    with pytest.raises(AssertionError, match=r"a unicorn did not happen within 0\.02 s"):
        until(lambda: None, 0.02, "a unicorn")


def test_ok_is_the_only_delivery() -> None:
    assert OK.is_delivered
    assert not Answer(200, "ok\n").is_delivered
