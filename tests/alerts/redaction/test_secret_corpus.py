"""A corpus of secrets, which are removed, and of texts that only resemble secrets, which stay."""

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
# A shorter part of a secret reveals nothing.
MIN_REVEALING_LENGTH = 6


def read_corpus(name: str) -> list[tuple[str, str]]:
    """Return kind and text of each line."""
    lines = (DATA_DIR / "secrets" / name).read_text(encoding="utf-8").splitlines()
    pairs = [line.split("\t", 1) for line in lines if line and not line.startswith("#")]
    return [(kind, text) for kind, text in pairs]


SECRETS = dict(read_corpus("secret.tsv"))
HARMLESS = read_corpus("harmless.tsv")


def fill_template(template: str, seed: int) -> tuple[str, list[str]]:
    """Return the template's text with random secrets, and these secrets."""
    rng = random.Random(seed)
    bodies: list[str] = []

    def make_body(match: re.Match[str]) -> str:
        letters = ALPHABETS[match[1]]
        body = "".join(rng.choices(letters, k=int(match[2])))
        if match[1] == "alnum":
            # Random secrets of this length have a lower-case letter, a digit and a capital.
            body = f"{rng.choice(string.ascii_lowercase)}{rng.choice(string.digits)}Q{body}"[: int(match[2])]
        bodies.append(body)
        return body

    return BODY.sub(make_body, template), bodies


def find_remains(bodies: list[str], redacted: str) -> list[str]:
    """Return the parts of the secrets that are still readable."""
    parts = (body[i : i + MIN_REVEALING_LENGTH] for body in bodies for i in range(len(body) - MIN_REVEALING_LENGTH + 1))
    return [part for part in parts if part in redacted]


SURROUNDINGS: dict[str, Callable[[str], str]] = {
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


def test_corpus_has_at_least_100_texts_of_each_kind() -> None:
    assert len(SECRETS) >= 100
    assert len(HARMLESS) >= 100
    assert len(TOKENS) >= 40


@pytest.mark.parametrize("place", SURROUNDINGS)
def test_secret_is_removed(place: str) -> None:
    for kind, template in SECRETS.items():
        text, bodies = fill_template(template, 7)
        whole = SURROUNDINGS[place](text)
        redacted = redact_text(whole)

        assert not find_remains(bodies, redacted), (kind, redacted)
        assert REDACTION_MARK in redacted, kind
        assert not find_remains(bodies, redact_bounded_text(whole)), kind


@pytest.mark.parametrize("kind", SECRETS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32), places=st.lists(st.sampled_from(sorted(SURROUNDINGS)), min_size=1, max_size=2))
def test_secret_is_removed_in_nested_surroundings(kind: str, seed: int, places: list[str]) -> None:
    text, bodies = fill_template(SECRETS[kind], seed)
    for place in places:
        text = SURROUNDINGS[place](text)

    assert not find_remains(bodies, redact_text(text)), redact_text(text)


@pytest.mark.parametrize("place", IN_A_URL)
def test_token_in_a_url_is_removed(place: str) -> None:
    for kind, template in TOKENS.items():
        text, bodies = fill_template(template, 7)

        assert not find_remains(bodies, redact_text(IN_A_URL[place](text))), kind


@pytest.mark.parametrize("place", SURROUNDINGS)
def test_harmless_text_stays(place: str) -> None:
    for kind, text in HARMLESS:
        whole = SURROUNDINGS[place](text)

        assert redact_text(whole) == sanitize_text(whole), kind
        assert redact_bounded_text(whole) in (whole, sanitize_text(whole)), kind


def test_every_pattern_has_a_name_a_source_and_hints() -> None:
    names = [pattern.name for pattern in SECRET_PATTERNS]
    assert len(set(names)) == len(names)
    for pattern in SECRET_PATTERNS:
        assert pattern.source.startswith("https://")
        assert pattern.hints
        assert all(hint == hint.lower() for hint in pattern.hints)


# Duration

REPEATED = (
    *("a", "eyJ", "eyJ-", "eyJhbGciOiJ.", "eyJaaaaa.eyJ", '"', "'", "\\", '\\"', "@", "1", " ", "[", "{", "a.", "a_"),
    *("password=", "password='", 'password="\\', "password: ", "--password ", "token=", 'token="', "token ", "key=a1B"),
    *('api_key": "', 'password=["', "비밀번호", "://", "://a:", "://a:b", "AAAA+/", "ghp_", "sk-", "s.", "SG.", "-a"),
    *("Bearer ", "Authorization: ", "Cookie: a=", "auth=('a',", "sig=", "-----BEGIN PRIVATE KEY-----", "ab\n"),
    *("-----END PRIVATE KEY-----", "ab\n-----END PRIVATE KEY-----", "mysql -", "curl -u ", "docker login ", "http "),
)


@pytest.mark.parametrize("piece", REPEATED)
def test_time_is_linear_in_the_text(piece: str) -> None:
    def measure_seconds(size: int) -> float:
        text = (piece * size)[:size]
        start = time.process_time()
        redact_text(text)
        return time.process_time() - start

    redact_text(piece)
    small, large = measure_seconds(16_000), measure_seconds(64_000)

    # Linear time would grow fourfold, quadratic sixteenfold.
    assert large < 8 * small + 0.25
    assert large < 5
