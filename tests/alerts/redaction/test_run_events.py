"""What looks like a secret is taken out of what runs say, and nothing else is."""

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

ENDED = RunResult(Run("r1", "resnet50", 1_795_316_400.0), Outcome.FINISHED, 3.0, 1_795_316_403.0)
SECRETS = st.text(string.ascii_letters + string.digits, min_size=12, max_size=40).filter(
    lambda text: re.search(r"\d", text) and re.search("[A-Z]", text)
)


def upper(secret: str) -> str:
    return (secret.upper() * 2)[:16]


# How a secret turns up, with what holds it around it. `upper` makes the middle of an AWS key of it.
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
def test_a_secret_is_taken_out_wherever_it_turns_up(place, secret):
    shown = redact_text(f"at first ({place.replace('{}', '{0}').format(secret)}) at last")

    assert secret not in shown
    assert REDACTION_MARK in shown
    assert shown.startswith("at first (")


@given(SECRETS)
def test_an_aws_key_goes_with_the_secret_beside_it(secret):
    key, other = f"AKIA{upper(secret)}", (secret * 4)[:40]

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
def test_ordinary_text_stays_as_it_is(text):
    assert redact_text(text) == sanitize_text(text)


@given(
    st.from_regex(
        r"[0-9a-f]{7,64}|[A-Za-z0-9+/]{40,200}={0,2}|(/[a-z_]{1,12}){1,6}\.py|[a-z]{1,9}=-?\d+\.\d+", fullmatch=True
    )
)
def test_hashes_base64_paths_and_metrics_stay(text):
    if not re.search("AKIA|ASIA|pass|pwd|secret|token|eyJ", text):
        assert redact_text(text) == text


@given(any_text(surrogates=False))
def test_scrubbing_twice_is_scrubbing_once(text):
    once = redact_text(text)

    assert redact_text(once) == once


@pytest.mark.parametrize(
    "piece",
    ["a", "-", "-a", "a_", "token", "password", "password='\\", "secret=", "://", "-----END ", "ab\n", "bearer ", "."],
)
def test_no_text_takes_long(piece):
    since = time.perf_counter()
    redact_text((piece * 20_000)[:20_000])

    assert time.perf_counter() - since < 1.0


def test_a_known_webhook_is_taken_out_whatever_it_looks_like():
    url = "http://127.0.0.1:8080/hooks/a-path-of-its-own"

    assert redact_text(f"POST {url} refused", [url]) == f"POST {REDACTION_MARK} refused"
    assert redact_text("with url: /hooks/a-path-of-its-own (Caused", [url]) == f"with url: {REDACTION_MARK} (Caused"
    assert redact_text("GET /", ["http://127.0.0.1/"]) == "GET /"


# In runs

HUSH = "hunter2X9hush"
HOLDERS = {
    "name": replace(ENDED, run=replace(ENDED.run, name=f"train.py --password {HUSH}")),
    "error": replace(ENDED, failure=RunFailure("LoginError", f"password={HUSH} was refused")),
    "frames": replace(ENDED, failure=RunFailure("E", "", f'In [3], line 1\n    api_key = "{HUSH}"')),
    "value": replace(ENDED, shown=(CapturedValue("config", f"{{'db_password': '{HUSH}'}}"),)),
    "value of that name": replace(ENDED, shown=(CapturedValue("os.environ['DB_PASSWORD']", HUSH),)),
    "expression": replace(ENDED, run=replace(ENDED.run, options=RunOptions(show=(f"f(password='{HUSH}')",)))),
    "tail": replace(ENDED, tail=f"connecting to redis://me:{HUSH}@cache"),
}


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("holder", HOLDERS)
def test_what_a_run_says_is_scrubbed_and_the_alert_says_so(holder, lang):
    ended = HOLDERS[holder]
    ended = replace(ended, run=replace(ended.run, options=replace(ended.run.options, lang=lang)))
    scrubbed = redact_run_result(ended)

    assert HUSH not in repr(scrubbed)
    assert scrubbed.run.scrubbed
    for payload in (run_message(scrubbed), combined_runs_message([scrubbed, scrubbed])):
        assert ":lock:" in str(payload["attachments"])
        assert HUSH not in str(payload)


def test_a_run_that_was_scrubbed_when_it_began_says_so_when_it_is_lost():
    run = redact_run(HOLDERS["name"].run)

    assert run.name == f"train.py --password {REDACTION_MARK}"
    assert ":lock:" in str(run_message(replace(ENDED, run=run, outcome=Outcome.LOST)))


def test_values_beside_a_telling_name_that_are_none_stay():
    shown = (CapturedValue("api_key", "None"), CapturedValue("len(password)", "8"), CapturedValue("n_tokens", "512"))

    assert redact_run_result(replace(ENDED, shown=shown)).shown == shown


@settings(max_examples=25)
@given(any_run_ended(any_text(surrogates=False)))
def test_a_run_is_called_scrubbed_only_when_something_was_taken_out(ended):
    after = redact_run_result(ended)

    assert after.run.scrubbed == (repr(after).count(REDACTION_MARK) > repr(ended).count(REDACTION_MARK))
    assert redact_run_result(after) == after


@pytest.mark.parametrize("url", ["https://[hooks/services/T0/B0/canary", "services/T0/B0/canary", "https://", ""])
def test_a_known_url_that_is_none_costs_nothing_else(url: str):
    assert redact_text("loss 0.31, password=hunter22", [url]) == f"loss 0.31, password={REDACTION_MARK}"


# Before they are cut


@pytest.mark.parametrize(
    "secret", [f"password={HUSH}", f"postgres://me:{HUSH}@db", f"hf_{HUSH}{'a' * 22}", f"'api_key': '{HUSH}'"]
)
@pytest.mark.parametrize("holder", ["name", "message", "type", "frames", "value", "tail"])
def test_a_secret_at_the_cut_is_taken_out_before_the_cut(holder, secret):
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
        ended = {
            "name": replace(ENDED, run=replace(ENDED.run, name=text)),
            "message": replace(ENDED, failure=RunFailure("E", text)),
            "type": replace(ENDED, failure=RunFailure(text)),
            "frames": replace(ENDED, failure=RunFailure("E", "", f"In [3], line 1\n    {text}")),
            "value": replace(ENDED, shown=(CapturedValue("x", text),)),
            "tail": replace(ENDED, run=replace(ENDED.run, options=options), tail=text),
        }[holder]
        after = redact_run_result(ended)

        assert not any(HUSH[i : i + 5] in repr(after) for i in range(len(HUSH) - 4))
        assert len(repr(after)) < len(repr(ENDED)) + limit + 120
        assert redact_run_result(after) == after


@pytest.mark.parametrize(
    "place", range(text_limits.MAX_DERIVED_NAME_LENGTH - 30, text_limits.MAX_DERIVED_NAME_LENGTH + 3, 3)
)
def test_a_command_line_is_redacted_before_it_becomes_a_name(place):
    name = shorten_derived_name(f"train.py {'-' * place} --password {HUSH} --epochs 3")

    assert not any(HUSH[i : i + 5] in name for i in range(len(HUSH) - 4))
    assert len(name) <= text_limits.MAX_DERIVED_NAME_LENGTH
    assert redact_run(replace(ENDED.run, name=f"train.py --password {REDACTION_MARK}")).scrubbed


def test_lines_above_the_shown_ones_say_what_a_secret_is():
    key = "-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEpAIBAAKCAQEA0123\n" * 20
    ended = replace(ENDED, run=replace(ENDED.run, options=RunOptions(tail=3)), tail=key + "done")

    assert redact_run_result(ended).tail == REDACTION_MARK
    assert (
        redact_run_result(replace(ended, tail=f"{key}-----END RSA PRIVATE KEY-----\ndone")).tail
        == f"{REDACTION_MARK}\ndone"
    )
