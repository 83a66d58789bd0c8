"""Secrets are removed from run events, and nothing else is."""

from __future__ import annotations

import re
import string
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cwnotify.alerts import text_limits
from cwnotify.alerts.events.run_options import LANGUAGES, RunOptions
from cwnotify.alerts.events.runs import CapturedValue, Outcome, Run, RunFailure, RunResult
from cwnotify.alerts.messages.block_kit import sanitize_text
from cwnotify.alerts.messages.run import combined_runs_message, run_message
from cwnotify.alerts.redaction.aws_events import shorten_derived_name
from cwnotify.alerts.redaction.run_events import REDACTION_MARK, redact_run, redact_run_result, redact_text
from tests.support.events import any_run_ended, any_text

RESULT = RunResult(Run("r1", "resnet50", 1_795_316_400.0), Outcome.FINISHED, 3.0, 1_795_316_403.0)
SECRETS = st.text(string.ascii_letters + string.digits, min_size=12, max_size=40).filter(
    lambda text: re.search(r"\d", text) and re.search("[A-Z]", text)
)


def to_key_body(secret: str) -> str:
    return (secret.upper() * 2)[:16]


# Texts that contain a secret. `to_key_body` turns it into the middle of an AWS key.
PLACES = (
    "password_corporate={}",
    "password={}",
    "password: {}",
    "passwd = '{}'",
    "db_password:{}",
    '{{"password": "{}"}}',
    "connect(host='db', password='two words {}', port=3)",
    "Server=db;Pwd={};Timeout=3",
    "https://api.example/v1?api_key={}&page=2",
    "Your API key: {} was refused",
    "DB_PASS={}",
    "clientSecret: '{}'",
    "os.environ['WANDB_API_KEY'] = '{}'",
    "mysql --password {} -h db",
    "train.py --hf-token={}",
    "aws_secret_access_key = {}",
    '"SecretAccessKey": "{}"',
    "AWS_SESSION_TOKEN={}",
    "X-Amz-Security-Token={}&X-Amz-Date=20261124",
    "postgresql+psycopg://me:{}@db:5432/runs",
    "https://{}{}@github.com/me/private.git",
    "Authorization: Bearer {}",
    "{{'Authorization': 'Basic {}='}}",
    "authorization: token {}",
    "curl -H 'authorization: {}'",
    "xoxb-123456789012-{}",
    "https://hooks.slack.com/services/T0AB/B0CD/{}",
    "Max retries exceeded with url: /services/T0AB/B0CD/{} (Caused by …)",
    "https://discord.com/api/webhooks/123/{}",
    "ghp_{}abcdefgh",
    "hf_{}abcdefgh",
    "sk-proj-{}abcdefgh1Z",
    "eyJhbGciOi{}.eyJzdWIiOi{}.signature",
    "token={}1",
    "-----BEGIN RSA PRIVATE KEY-----\nMII{}\n-----END RSA PRIVATE KEY-----",
    "-----BEGIN OPENSSH PRIVATE KEY-----\nMII{}\ncut off here…",
    "begun before the tail\nMII{}\nAB==\n-----END PRIVATE KEY-----",
    "\x1b[1mpassword\x1b[0m=\x1b[32m{}\x1b[0m",
)


@pytest.mark.parametrize("place", PLACES)
@settings(max_examples=15)
@given(secret=SECRETS)
def test_secret_is_removed_in_every_place(place: str, secret: str) -> None:
    redacted = redact_text(f"at first ({place.replace('{}', '{0}').format(secret)}) at last")

    assert secret not in redacted
    assert REDACTION_MARK in redacted
    assert redacted.startswith("at first (")


@given(SECRETS)
def test_aws_key_is_removed_with_its_secret(secret: str) -> None:
    key, other = f"AKIA{to_key_body(secret)}", (secret * 4)[:40]

    assert redact_text(f"{key},{other}") == REDACTION_MARK
    assert redact_text(f"key {key} used") == f"key {REDACTION_MARK} used"


ORDINARY = (
    "password_loss=0.12, secret_head_accuracy: 0.9",
    "KeyError: 'password'",
    "TypeError: __init__() got an unexpected keyword argument 'api_key'",
    "Invalid password: must be at least 8 characters",
    "password_min_length=8",
    "PWD=/root/work/password.txt",
    "def login(password: str, token: str) -> None:",
    "    client = connect(password=password, api_key=self.api_key)",
    "    password = os.environ['DB_PASSWORD']",
    "    secret = get_secret('name')",
    "api_key=None, secret=False",
    "max_tokens=512, pad_token='<pad>', eos_token: </s>, token_acc=0.93, n_tokens: 1024",
    "{'input_ids': [1], 'token_type_ids': [0]}",
    "tokenizer='bert128base', last_token: the",
    "is not authorized to perform: secretsmanager:GetSecretValue on resource: "
    "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/db-AbCdEf",
    "ssm:/prod/slack",
    "Unable to locate credentials",
    "d41d8cd98f00b204e9800998ecf8427e",
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "9c1185a5c5e9fc54612808977ee8f548b2258d31",
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAUA/+==",
    "/home/me/secrets/passwords.txt",
    "s3://bucket/key=value/secret/part=1",
    "http://localhost:8080/a@b, https://example.com:443/x, git@github.com:me/x.git",
    "sk-learn-contrib-project-with-a-long-name",
    "a basic understanding, the bearer authentication scheme, bearer of bad news",
    "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB (GPU 0; 15.78 GiB total)",
    "RuntimeError: mat1 and mat2 shapes cannot be multiplied (64x512 and 1024x10)",
    "    loss.backward()\nFileNotFoundError: [Errno 2] No such file or directory: 'data/train.csv'",
    "Epoch 3/10: 100%|██████████| 391/391 [00:12<00:00, 31.9it/s, loss=0.0312, acc=0.991]",
    "가나다 비밀번호를 잊었어요",
    "-----BEGIN CERTIFICATE-----\nMIIabc\n-----END CERTIFICATE-----",
)


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_stays(text: str) -> None:
    assert redact_text(text) == sanitize_text(text)


@given(
    st.from_regex(
        r"[0-9a-f]{7,64}|[A-Za-z0-9+/]{40,200}={0,2}|(/[a-z_]{1,12}){1,6}\.py|[a-z]{1,9}=-?\d+\.\d+", fullmatch=True
    )
)
def test_hashes_base64_paths_and_metrics_stay(text: str) -> None:
    if not re.search("AKIA|ASIA|pass|pwd|secret|token|eyJ", text):
        assert redact_text(text) == text


@given(any_text(surrogates=False))
def test_redaction_is_idempotent(text: str) -> None:
    redacted = redact_text(text)

    assert redact_text(redacted) == redacted


@pytest.mark.parametrize(
    "piece",
    ["a", "-", "-a", "a_", "token", "password", "password='\\", "secret=", "://", "-----END ", "ab\n", "bearer ", "."],
)
def test_any_text_is_redacted_quickly(piece: str) -> None:
    start = time.perf_counter()
    redact_text((piece * 20_000)[:20_000])

    assert time.perf_counter() - start < 1.0


def test_secret_url_is_removed() -> None:
    url = "http://127.0.0.1:8080/hooks/a-path-of-its-own"

    assert redact_text(f"POST {url} refused", [url]) == f"POST {REDACTION_MARK} refused"
    assert redact_text("with url: /hooks/a-path-of-its-own (Caused", [url]) == f"with url: {REDACTION_MARK} (Caused"
    assert redact_text("GET /", ["http://127.0.0.1/"]) == "GET /"


# In runs

SECRET = "hunter2X9hush"
RESULTS_WITH_SECRET = {
    "name": replace(RESULT, run=replace(RESULT.run, name=f"train.py --password {SECRET}")),
    "error": replace(RESULT, failure=RunFailure("LoginError", f"password={SECRET} was refused")),
    "frames": replace(RESULT, failure=RunFailure("E", "", f'In [3], line 1\n    api_key = "{SECRET}"')),
    "value": replace(RESULT, shown=(CapturedValue("config", f"{{'db_password': '{SECRET}'}}"),)),
    "value of that name": replace(RESULT, shown=(CapturedValue("os.environ['DB_PASSWORD']", SECRET),)),
    "expression": replace(RESULT, run=replace(RESULT.run, options=RunOptions(show=(f"f(password='{SECRET}')",)))),
    "tail": replace(RESULT, tail=f"connecting to redis://me:{SECRET}@cache"),
}


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("holder", RESULTS_WITH_SECRET)
def test_run_is_redacted_and_its_alert_reports_it(holder: str, lang: str) -> None:
    result = RESULTS_WITH_SECRET[holder]
    result = replace(result, run=replace(result.run, options=replace(result.run.options, lang=lang)))
    redacted = redact_run_result(result)

    assert SECRET not in repr(redacted)
    assert redacted.run.scrubbed
    for payload in (run_message(redacted), combined_runs_message([redacted, redacted])):
        assert ":lock:" in str(payload["attachments"])
        assert SECRET not in str(payload)


def test_lost_run_reports_redaction_of_its_name() -> None:
    run = redact_run(RESULTS_WITH_SECRET["name"].run)

    assert run.name == f"train.py --password {REDACTION_MARK}"
    assert ":lock:" in str(run_message(replace(RESULT, run=run, outcome=Outcome.LOST)))


def test_harmless_values_of_secret_names_stay() -> None:
    values = (CapturedValue("api_key", "None"), CapturedValue("len(password)", "8"), CapturedValue("n_tokens", "512"))

    assert redact_run_result(replace(RESULT, shown=values)).shown == values


@settings(max_examples=25)
@given(any_run_ended(any_text(surrogates=False)))
def test_run_is_marked_redacted_only_if_something_was_removed(result: RunResult) -> None:
    after = redact_run_result(result)

    assert after.run.scrubbed == (repr(after).count(REDACTION_MARK) > repr(result).count(REDACTION_MARK))
    assert redact_run_result(after) == after


@pytest.mark.parametrize("url", ["https://[hooks/services/T0/B0/canary", "services/T0/B0/canary", "https://", ""])
def test_invalid_secret_url_is_ignored(url: str) -> None:
    assert redact_text("loss 0.31, password=hunter22", [url]) == f"loss 0.31, password={REDACTION_MARK}"


# Length limits


@pytest.mark.parametrize(
    "secret", [f"password={SECRET}", f"postgres://me:{SECRET}@db", f"hf_{SECRET}{'a' * 22}", f"'api_key': '{SECRET}'"]
)
@pytest.mark.parametrize("holder", ["name", "message", "type", "frames", "value", "tail"])
def test_secret_at_the_length_limit_is_removed(holder: str, secret: str) -> None:
    limit = {
        "name": text_limits.MAX_RUN_NAME_LENGTH,
        "message": text_limits.MAX_ERROR_MESSAGE_LENGTH,
        "type": text_limits.MAX_ERROR_TYPE_LENGTH,
        "frames": text_limits.MAX_FRAME_LINE_LENGTH,
        "value": text_limits.MAX_VALUE_LENGTH,
        "tail": text_limits.MAX_OUTPUT_TAIL_LENGTH,
    }[holder]
    options = RunOptions(tail=5)
    for place in range(limit - len(secret) - 2, limit + 3):
        text = f"{'x' * place} {secret} {'y' * 20_000}"
        if holder == "tail":
            text = f"{'y' * 20_000} {secret} {'x' * place}"[-text_limits.OUTPUT_TAIL_WINDOW :]
        else:
            text = text[: limit + text_limits.REDACTION_MARGIN]
        result = {
            "name": replace(RESULT, run=replace(RESULT.run, name=text)),
            "message": replace(RESULT, failure=RunFailure("E", text)),
            "type": replace(RESULT, failure=RunFailure(text)),
            "frames": replace(RESULT, failure=RunFailure("E", "", f"In [3], line 1\n    {text}")),
            "value": replace(RESULT, shown=(CapturedValue("x", text),)),
            "tail": replace(RESULT, run=replace(RESULT.run, options=options), tail=text),
        }[holder]
        after = redact_run_result(result)

        assert not any(SECRET[i : i + 5] in repr(after) for i in range(len(SECRET) - 4))
        assert len(repr(after)) < len(repr(RESULT)) + limit + 120
        assert redact_run_result(after) == after


@pytest.mark.parametrize(
    "place", range(text_limits.MAX_DERIVED_NAME_LENGTH - 30, text_limits.MAX_DERIVED_NAME_LENGTH + 3, 3)
)
def test_command_line_is_redacted_before_it_becomes_a_name(place: int) -> None:
    name = shorten_derived_name(f"train.py {'-' * place} --password {SECRET} --epochs 3")

    assert not any(SECRET[i : i + 5] in name for i in range(len(SECRET) - 4))
    assert len(name) <= text_limits.MAX_DERIVED_NAME_LENGTH
    assert redact_run(replace(RESULT.run, name=f"train.py --password {REDACTION_MARK}")).scrubbed


def test_private_key_is_removed_if_its_first_line_is_not_shown() -> None:
    key = "-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEpAIBAAKCAQEA0123\n" * 20
    result = replace(RESULT, run=replace(RESULT.run, options=RunOptions(tail=3)), tail=key + "done")

    assert redact_run_result(result).tail == REDACTION_MARK
    assert (
        redact_run_result(replace(result, tail=f"{key}-----END RSA PRIVATE KEY-----\ndone")).tail
        == f"{REDACTION_MARK}\ndone"
    )
