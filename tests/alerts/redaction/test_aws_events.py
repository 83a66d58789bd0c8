"""Events from AWS lose their secrets wherever they are, and messages report it."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cwnotify.alerts.events.alarms import AlarmStateChange, AwsEvent, InstanceNotice
from cwnotify.alerts.messages.block_kit import sanitize_text
from cwnotify.alerts.messages.digest import digest_payloads
from cwnotify.alerts.messages.flapping import flapping_message
from cwnotify.alerts.messages.render import render_alert
from cwnotify.alerts.parsing.envelopes import parse_aws_events
from cwnotify.alerts.redaction import aws_events
from cwnotify.alerts.redaction.aws_events import REDACTION_MARK, redact_bounded_text
from cwnotify.alerts.redaction.patterns import redact_text
from cwnotify.alerts.redaction.values import redact_json_value
from tests import slack_rules
from tests.alerts.parsing.test_envelopes import EVENTS
from tests.hostile import any_value

# A text with each secret, and the secret in it. All are made up.
SECRETS = {
    "access key": ("AWS_ACCESS_KEY_ID AKIAMADEUPMADEUP0001", "AKIAMADEUPMADEUP0001"),
    "temporary access key": ("ASIAMADEUPMADEUP0001 was used", "ASIAMADEUPMADEUP0001"),
    "secret access key": (
        "aws_secret_access_key=madeUpMadeUp/madeUpMadeUpMadeUpMadeUp0001",
        "madeUpMadeUp/madeUpMadeUpMadeUpMadeUp0001",
    ),
    "session token": ("token is FwoGZXIvYXdzEMadeUpMadeUpMadeUp0001==", "FwoGZXIvYXdzEMadeUpMadeUpMadeUp0001"),
    "bearer": ("Authorization: Bearer madeUp.madeUp_0001", "madeUp.madeUp_0001"),
    "own scheme": ("Authorization: Token madeupmadeup", "madeupmadeup"),
    "signed": (
        "Authorization: AWS4-HMAC-SHA256 Credential=AKIAMADEUPMADEUP0001/20261120/us-east-1/s3/aws4_request, "
        "SignedHeaders=host;x-amz-date, Signature=0123456789abcdef0123456789abcdef",
        "0123456789abcdef0123456789abcdef",
    ),
    "presigned": (
        "https://b.s3.amazonaws.com/k?X-Amz-Signature=0123456789abcdef0123456789abcdef&X-Amz-Expires=60",
        "0123456789abcdef0123456789abcdef",
    ),
    "security token": (
        "https://b.s3.amazonaws.com/k?X-Amz-Security-Token=IQoJb3JpZ2luMadeUp%2F01",
        "IQoJb3JpZ2luMadeUp",
    ),
    "confirm": ("https://sns.x.amazonaws.com/?Action=ConfirmSubscription&Token=2336412f37fb687f", "2336412f37fb687f"),
    "unsubscribe": (
        "https://sns.x.amazonaws.com/?Action=Unsubscribe&SubscriptionArn=arn:aws:sns:x:1:t:7b1d0c52-9c7d",
        "7b1d0c52-9c7d",
    ),
    "unsubscribe page": (
        "https://sns.x.amazonaws.com/unsubscribe.html?SubscriptionArn=arn:aws:sns:x:1:t:7b1d0c52&Endpoint=a",
        "7b1d0c52",
    ),
    "password": ("the password=madeUpMadeUp1 failed", "madeUpMadeUp1"),
    "url": ("postgres://app:madeUpMadeUp1@db.example.com/x", "madeUpMadeUp1"),
    "webhook": ("https://hooks.slack.com/services/T0MADEUP/B0MADEUP/madeUpMadeUp01", "madeUpMadeUp01"),
    "private key": ("-----BEGIN RSA PRIVATE KEY-----\nmadeUpMadeUp\n-----END RSA PRIVATE KEY-----", "madeUpMadeUp"),
    "cookie": ("GET / HTTP/1.1\nCookie: session=madeUpMadeUp", "madeUpMadeUp"),
}
LABELS = (
    "password", "secretAccessKey", "sessionToken", "SessionToken", "aws_session_token", "Authorization",
    "authorization", "apiKey", "x-api-key", "X-Api-Key", "cookie", "Set-Cookie",
    "SubscribeURL", "UnsubscribeURL", "UnsubscribeUrl",
    "Token", "clientSecret", "DB_PASSWORD", "private_key",
)  # fmt: skip
HIDDEN = "hunter-two"


def nested(value: object, times: int) -> object:
    """Return `value` as JSON text inside of JSON text, `times` deep."""
    for _ in range(times):
        value = {"inside": json.dumps(value)}
    return value


def is_redacted(event: AwsEvent) -> bool:
    assert not isinstance(event, InstanceNotice)
    return event.redacted


def alarm(**fields: object) -> dict[str, object]:
    return {"AlarmName": "a", "NewStateValue": "ALARM", "OldStateValue": "OK", **fields}


def sns(message: str, subject: str = "") -> dict[str, object]:
    return {
        "Records": [{"EventSource": "aws:sns", "Sns": {"Type": "Notification", "Subject": subject, "Message": message}}]
    }


def failure(**fields: object) -> dict[str, object]:
    arn = "arn:aws:lambda:us-east-1:123456789012:function:job"
    return {"requestContext": {"functionArn": arn, "condition": "RetriesExhausted"}, **fields}


def custom(**content: object) -> dict[str, object]:
    return {"version": "1.0", "source": "custom", "content": {"title": "t", **content}}


ALARM = "arn:aws:cloudwatch:us-east-1:123456789012:alarm:"
PLACES: dict[str, Any] = {
    "text": lambda text: text,
    "SNS": sns,
    "subject": lambda text: sns("x", subject=text),
    "value": lambda text: {"job": {"note": text}},
    "list": lambda text: {"job": [1, text]},
    "JSON in JSON": lambda text: nested({"note": text}, 1),
    "JSON in JSON in JSON": lambda text: nested({"note": text}, 3),
    "JSON in a sentence": lambda text: f"it said {json.dumps({'note': text})}",
    "JSON in JSON in a sentence": lambda text: f"it said {json.dumps(json.dumps({'note': text}))}",
    "EventBridge": lambda text: {"detail-type": text, "detail": {"cause": text}},
    "description": lambda text: alarm(AlarmDescription=text),
    "reason": lambda text: alarm(NewStateReason=text),
    "log line": lambda text: alarm(LogLines=[text]),
    "query": lambda text: alarm(Trigger={"ScheduledQueryConfiguration": {"QueryString": text}}),
    "tag": lambda text: alarm(AlarmTags={"note": text}),
    "contributor": lambda text: alarm(AlarmContributorId="1", AlarmContributorAttributes={"note": text}),
    "error": lambda text: failure(responsePayload={"errorMessage": text, "errorType": text, "stackTrace": [text]}),
    "payload": lambda text: failure(requestPayload={"note": text}),
    "payload as text": lambda text: failure(requestPayload=json.dumps({"note": text})),
    "custom": lambda text: custom(description=text, nextSteps=[text], keywords=[text]),
    "request": lambda text: {
        "requestContext": {"http": {}},
        "headers": {"x": text},
        "body": json.dumps({"note": text}),
    },
    "alarm's name": lambda text: alarm(AlarmName=f"cpu {text}"),
    "rule": lambda text: alarm(AlarmRule=f"ALARM('{text}')"),
    "child": lambda text: alarm(AlarmRule="ALARM(x)", TriggeringChildren=[{"Arn": f"{ALARM}{text}"}]),
    "dimension": lambda text: alarm(Trigger={"MetricName": "m", "Dimensions": [{"name": "d", "value": text}]}),
    "metric": lambda text: alarm(Trigger={"Metrics": [{"Id": "m", "Label": text, "Expression": text}]}),
    "log group": lambda text: alarm(
        Trigger={"ScheduledQueryConfiguration": {"QueryString": "q", "LogGroupIdentifiers": [text]}}
    ),
    "far into it": lambda text: f"{'x ' * 1_000}{text}",
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", SECRETS)
def test_secret_is_removed_everywhere(name: str, place: str) -> None:
    text, secret = SECRETS[name]
    for event in parse_aws_events(PLACES[place](text)):
        for lang in ("en", "ko"):
            payload = render_alert(event, lang)
            slack_rules.assert_valid_payload(payload)
            assert secret not in json.dumps(payload)
            assert secret not in json.dumps(digest_payloads([event, event], 0.0, lang))
        assert secret not in str(event)
        assert is_redacted(event)


@pytest.mark.parametrize("depth", [0, 1, 3])
@pytest.mark.parametrize("label", LABELS)
def test_value_with_secret_key_is_removed(label: str, depth: int) -> None:
    for value in (HIDDEN, [HIDDEN], {"S": HIDDEN}):
        for event in (nested({"job": {label: value}}, depth), sns(json.dumps(nested({label: value}, depth)))):
            (parsed,) = parse_aws_events(event)
            message = json.dumps(render_alert(parsed, "en"))
            assert HIDDEN not in str(parsed)
            assert HIDDEN not in message
            assert REDACTION_MARK in message


def test_name_value_pairs_and_options_are_labels() -> None:
    event = {
        "env": [
            {"name": "DB_PASSWORD", "value": HIDDEN, "type": "PLAINTEXT"},
            {"Name": "REGION", "Value": "us-east-1"},
        ],
        "command": ["train.py", "--api-key", HIDDEN, "--epochs", "3"],
    }
    (parsed,) = parse_aws_events(event)
    assert HIDDEN not in str(parsed)
    for harmless in ("us-east-1", "train.py", "--epochs", "PLAINTEXT", '"3"'):
        assert harmless in str(parsed)


def test_harmless_values_stay() -> None:
    event = {
        "keyName": "a.png",
        "tokenCount": 7,
        "passwordPolicy": "strict",
        "secretArn": "arn:x",
        "note": "the key is lost",
    }
    assert redact_json_value(event) == event
    (parsed,) = parse_aws_events(event)
    assert not is_redacted(parsed)
    assert "scrubbed" not in str(parsed)


def test_message_reports_redaction() -> None:
    for lang, notice in (("en", "looked like a secret"), ("ko", "비밀번호나 키")):
        for event in ({"password": "x1234567"}, failure(responsePayload={"errorMessage": "password=x1234567"})):
            assert notice in json.dumps(render_alert(parse_aws_events(event)[0], lang), ensure_ascii=False)
        assert notice not in json.dumps(render_alert(parse_aws_events("all is well")[0], lang), ensure_ascii=False)


def test_texts_that_differ_only_in_a_secret_have_different_ids() -> None:
    first, second = (parse_aws_events(f"password=madeUp{n}")[0] for n in (1, 2))
    assert str(first) != str(second)
    assert first.id != second.id
    assert "madeUp" not in first.id


def test_secret_at_the_length_limit_is_removed() -> None:
    for start in range(20_440, 20_490, 3):
        for text, secret in SECRETS.values():
            redacted = redact_bounded_text("x" * (start - 1) + " " + text)
            assert secret not in redacted
            assert len(redacted) <= 20_480 + 20


@settings(max_examples=300, deadline=None)
@given(st.text(), st.sampled_from(sorted(SECRETS)), st.text())
def test_hints_cover_every_pattern(before: str, name: str, after: str) -> None:
    text = before + SECRETS[name][0] + after
    if redact_text(text) != sanitize_text(text):
        assert aws_events._may_contain_secret(sanitize_text(text))


def test_every_sample_is_redacted() -> None:
    samples = [text for text, _ in SECRETS.values()]
    samples += [
        "xoxb-123456789012", "xapp-123456789012", "/services/T0/B0/x", "/api/webhooks/1/x", "a.webhook.office.com/xyz",
        "ghp_0123456789abcdefgh", "github_pat_0123456789abcdef", "glpat-0123456789abcdef", "hf_0123456789abcdefgh",
        "npm_0123456789abcdefgh", "pypi-0123456789abcdefgh", "dop_v1_0123456789abcdef", "sk_live_0123456789abcdef",
        "sk-0123456789ABCDEFghijkl", "AIza0123456789abcdefghijklmnopqrstu", "ya29.0123456789abcdefghijklmnopqrstu",
        "SG.0123456789abcdef.0123456789abcdef", "eyJ0123456789.eyJ0123456789.x", "Basic bWFkZTp1cA==",
        "https://0123456789abcdefghij@example.com", "mytoken=abcdef123", "--my-token abcdef123",
        "FQoGZXIvYXdz0123456789abcdefghij",
    ]  # fmt: skip
    for sample in samples:
        assert REDACTION_MARK in redact_text(sample), sample
        assert REDACTION_MARK in redact_bounded_text(sample), sample


def test_long_text_is_redacted_quickly() -> None:
    for text in (
        "password " * 100_000,
        "a" * 1_000_000,
        '{"key": "' * 50_000,
        "token=" * 100_000,
        "x.y-" * 100_000 + "key",
    ):
        start = time.monotonic()
        parse_aws_events(text)
        parse_aws_events({"inside": text})
        assert time.monotonic() - start < 5


@settings(max_examples=200, deadline=None)
@given(any_value())
def test_any_value_is_redacted_without_error(value: Any) -> None:
    for event in parse_aws_events(value):
        assert isinstance(event.id, str)


def test_corpus_alarms_are_not_redacted() -> None:
    for name in ("sns_busy", "lambda_action", "eventbridge_contributor"):
        for event in parse_aws_events(EVENTS[name]):
            assert not is_redacted(event)


def test_digest_and_flapping_message_report_redaction() -> None:
    (event,) = parse_aws_events(alarm(AlarmName="cpu password=madeUp1", StateChangeTime="2026-11-24T12:00:00Z"))
    (other,) = parse_aws_events(alarm(AlarmName="cpu"))
    assert isinstance(event, AlarmStateChange)
    for lang, notice in (("en", "looked like a secret"), ("ko", "비밀번호나 키")):
        for payload in (*digest_payloads([event, other], 0.0, lang), flapping_message([event, event], lang)):
            slack_rules.assert_valid_payload(payload)
            assert notice in json.dumps(payload, ensure_ascii=False)
        assert notice not in json.dumps(digest_payloads([other, other], 0.0, lang), ensure_ascii=False)
