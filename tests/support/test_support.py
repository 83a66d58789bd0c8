"""Tests of the Slack stand-in and of `until`. Tests that use them prove nothing if these fail."""

from __future__ import annotations

from threading import Timer

import pytest
import requests

from tests.support.slack import LOGIN_PAGE, OK, RATE_LIMITED, REDIRECT, WEBHOOK_REMOVED, Answer, Mode, Slack
from tests.support.waiting import until


def post_message(slack: Slack, path: str = "", seconds: float = 5.0) -> requests.Response:
    url = slack.url.replace(slack.path, path or slack.path)
    return requests.post(url, json={"text": "hi"}, timeout=seconds, allow_redirects=False)


def test_message_answered_with_ok_is_delivered() -> None:
    with Slack() as slack:
        reply = post_message(slack)

        assert (reply.status_code, reply.text) == (200, "ok")
        assert slack.wait_for(1) == [{"text": "hi"}]
        assert slack.received[0].headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("answer", [RATE_LIMITED, WEBHOOK_REMOVED, REDIRECT, LOGIN_PAGE, Answer(503, "")], ids=str)
def test_message_answered_with_error_is_received_but_not_delivered(answer: Answer) -> None:
    with Slack(answer) as slack:
        reply = post_message(slack)

        assert (reply.status_code, reply.text) == (answer.status, answer.body)
        assert all(reply.headers[name] == value for name, value in answer.headers.items())
        assert len(slack.received) == 1
        assert not slack.delivered


def test_next_answers_are_used_before_default_answer() -> None:
    with Slack() as slack:
        slack.next_answers += [RATE_LIMITED, WEBHOOK_REMOVED]

        assert [post_message(slack).status_code for _ in range(3)] == [429, 404, 200]


def test_other_path_returns_no_service() -> None:
    with Slack() as slack:
        assert post_message(slack, "/services/other").text == "no_service"
        assert not slack.delivered


def test_accept_connections_reopens_same_port() -> None:
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
def test_faulty_mode_raises_at_client_and_delivers_nothing(
    mode: Mode, error: type[Exception] | tuple[type[Exception], ...]
) -> None:
    with Slack(Answer(mode=mode)) as slack:
        with pytest.raises(error):
            post_message(slack, seconds=0.3)
        assert not slack.delivered


def test_drip_mode_delivers_message() -> None:
    with Slack(Answer(mode="drip")) as slack:
        assert post_message(slack).text == "ok"
        slack.wait_for(1)


def test_wait_timeout_reports_condition() -> None:
    with Slack() as slack:
        Timer(0.05, post_message, [slack]).start()
        slack.wait_for(lambda messages: messages and messages[0]["text"] == "hi")
        with pytest.raises(AssertionError, match=r"not delivered within 0\.05 s; 1 requests arrived"):
            slack.wait_for(2, seconds=0.05)
    with pytest.raises(AssertionError, match=r"a unicorn did not happen within 0\.02 s"):
        until(lambda: None, 0.02, "a unicorn")


def test_only_exact_ok_is_delivered() -> None:
    assert OK.is_delivered
    assert not Answer(200, "ok\n").is_delivered
