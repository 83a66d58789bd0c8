"""Secrets of every form, and texts that only resemble them: none of the first remains, all of the second does."""

from __future__ import annotations

import json
import random
import re
import shlex
import string
import time
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cwnotify.alerts.messages.block_kit import sanitize_text
from cwnotify.alerts.redaction.aws_events import REDACTION_MARK, redact_bounded_text
from cwnotify.alerts.redaction.patterns import SECRET_PATTERNS, redact_text
from tests.golden import DATA_DIR

ALPHABETS = {
    "alnum": string.ascii_letters + string.digits,
    "alpha": string.ascii_letters,
    "lower": string.ascii_lowercase,
    "upper": string.ascii_uppercase + "234567",
    "hex": "0123456789abcdef",
    "base64": string.ascii_letters + string.digits + "+/",
}
BODY = re.compile(r"<<(\w+) (\d+)>>")
# A shorter part of a secret gives nothing away.
PART = 6


def read(name: str) -> list[tuple[str, str]]:
    """Kind and text of each line."""
    lines = (DATA_DIR / "secrets" / name).read_text(encoding="utf-8").splitlines()
    pairs = [line.split("\t", 1) for line in lines if line and not line.startswith("#")]
    return [(kind, text) for kind, text in pairs]


SECRETS = dict(read("secret.tsv"))
HARMLESS = read("harmless.tsv")


def filled(template: str, seed: int) -> tuple[str, list[str]]:
    """A text of that form with made-up secrets, and those secrets."""
    chance = random.Random(seed)
    bodies: list[str] = []

    def body(match: re.Match[str]) -> str:
        letters = ALPHABETS[match[1]]
        made = "".join(chance.choices(letters, k=int(match[2])))
        if match[1] == "alnum":
            # As any random secret of this length has: one of each.
            made = f"{chance.choice(string.ascii_lowercase)}{chance.choice(string.digits)}Q{made}"[: int(match[2])]
        bodies.append(made)
        return made

    return BODY.sub(body, template), bodies


def remains(bodies: list[str], shown: str) -> list[str]:
    """Parts of the secrets that can still be read."""
    return [body[i : i + PART] for body in bodies for i in range(len(body) - PART + 1) if body[i : i + PART] in shown]


AROUND: dict[str, Callable[[str], str]] = {
    "alone": lambda text: text,
    "a sentence": lambda text: f"it said ({text}) and left",
    "lines": lambda text: f"loss 0.31\n{text}\nloss 0.30",
    "JSON": lambda text: json.dumps({"message": f"before {text}", "loss": 0.31}),
    "JSON, at the start": lambda text: json.dumps({"message": text}),
    "JSON in JSON": lambda text: json.dumps({"detail": json.dumps({"message": f"a\n{text}"})}),
    "repr": lambda text: repr(f"before\n{text}\nafter"),
    "repr of a repr": lambda text: repr([repr({"note": f"before\t{text}"})]),
    "a log": lambda text: f"2026-11-24 12:00:00,123 ERROR app.main:{text}",
    "a coloured log": lambda text: f"\x1b[2m12:00\x1b[0m \x1b[31mERROR\x1b[0m \x1b[1m{text}\x1b[0m",
    "repr of a coloured log": lambda text: repr(f"\x1b[31mERROR\x1b[0m \x1b[1m{text}\x1b[0m"),
    "JSON of a coloured log": lambda text: json.dumps(f"\x1b[31mERROR\x1b[0m\x1b[m{text}\x1b[0m"),
    "a command line": lambda text: shlex.join(["train.py", "--note", text, "--epochs", "3"]),
    "an argument list": lambda text: repr(["train.py", "--note", text, "--epochs", "3"]),
}
IN_A_URL = {"a query": lambda text: f"https://example.com/x?q={text}&page=2", "a path": lambda text: f"/x/{text}/y"}
TOKENS = {kind: text for kind, text in SECRETS.items() if re.fullmatch(r"[\w<>.~-]*(?: \d+>>[\w<>.~-]*)+", text)}


def test_the_corpus_is_of_two_hundred_and_both_ways() -> None:
    assert len(SECRETS) >= 100
    assert len(HARMLESS) >= 100
    assert len(TOKENS) >= 40


@pytest.mark.parametrize("place", AROUND)
def test_nothing_of_a_secret_remains(place: str) -> None:
    for kind, template in SECRETS.items():
        text, bodies = filled(template, 7)
        whole = AROUND[place](text)
        shown = redact_text(whole)

        assert not remains(bodies, shown), (kind, shown)
        assert REDACTION_MARK in shown, kind
        assert not remains(bodies, redact_bounded_text(whole)), kind


@pytest.mark.parametrize("kind", SECRETS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32), places=st.lists(st.sampled_from(sorted(AROUND)), min_size=1, max_size=2))
def test_nothing_of_a_secret_remains_in_what_surrounds_it(kind: str, seed: int, places: list[str]) -> None:
    text, bodies = filled(SECRETS[kind], seed)
    for place in places:
        text = AROUND[place](text)

    assert not remains(bodies, redact_text(text)), redact_text(text)


@pytest.mark.parametrize("place", IN_A_URL)
def test_nothing_of_a_token_remains_in_a_url(place: str) -> None:
    for kind, template in TOKENS.items():
        text, bodies = filled(template, 7)

        assert not remains(bodies, redact_text(IN_A_URL[place](text))), kind


@pytest.mark.parametrize("place", AROUND)
def test_what_only_resembles_a_secret_stays(place: str) -> None:
    for kind, text in HARMLESS:
        whole = AROUND[place](text)

        assert redact_text(whole) == sanitize_text(whole), kind
        assert redact_bounded_text(whole) in (whole, sanitize_text(whole)), kind


def test_each_pattern_has_a_name_and_a_source() -> None:
    names = [pattern.name for pattern in SECRET_PATTERNS]
    assert len(set(names)) == len(names)
    for pattern in SECRET_PATTERNS:
        assert pattern.source.startswith("https://")
        assert pattern.hints
        assert all(hint == hint.lower() for hint in pattern.hints)


# How long it takes

REPEATED = (
    *("a", "eyJ", "eyJ-", "eyJhbGciOiJ.", "eyJaaaaa.eyJ", '"', "'", "\\", '\\"', "@", "1", " ", "[", "{", "a.", "a_"),
    *("password=", "password='", 'password="\\', "password: ", "--password ", "token=", 'token="', "token ", "key=a1B"),
    *('api_key": "', 'password=["', "비밀번호", "://", "://a:", "://a:b", "AAAA+/", "ghp_", "sk-", "s.", "SG.", "-a"),
    *("Bearer ", "Authorization: ", "Cookie: a=", "auth=('a',", "sig=", "-----BEGIN PRIVATE KEY-----", "ab\n"),
    *("-----END PRIVATE KEY-----", "ab\n-----END PRIVATE KEY-----", "mysql -", "curl -u ", "docker login ", "http "),
)


@pytest.mark.parametrize("piece", REPEATED)
def test_the_time_grows_with_the_text_and_not_faster(piece: str) -> None:
    def seconds(size: int) -> float:
        text = (piece * size)[:size]
        began = time.process_time()
        redact_text(text)
        return time.process_time() - began

    redact_text(piece)
    small, large = seconds(16_000), seconds(64_000)

    # Linear is four times, quadratic sixteen.
    assert large < 8 * small + 0.25
    assert large < 5
