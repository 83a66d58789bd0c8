"""A million malformed events. Each must become messages that Slack accepts, without an exception.

::

    python -m benchmarks.fuzz_events [--count 1000000] [--seed 1]

Events of ``tests/data/envelopes`` are mutated: parts are replaced, duplicated, moved or removed, also in JSON inside
strings. The first failure is printed with its seed and ends the run.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

from cwnotify.alerts.messages.digest import digest_payloads
from cwnotify.alerts.messages.render import render_alert
from cwnotify.alerts.parsing.envelopes import parse_aws_events
from cwnotify.demo.slack_rules import respond_to_webhook
from tests.hostile import HOSTILE_STRINGS

CORPUS_DIR = Path(__file__).parents[1] / "tests" / "data" / "envelopes"
# Every fifth event is also rendered and checked against Slack's rules, which takes longer than parsing.
RENDER_EVERY = 5
STRANGE_VALUES: tuple[Any, ...] = (
    *HOSTILE_STRINGS,
    *(None, True, 0, -1, 1e308, float("nan"), float("-inf"), 10**400, "", " ", [], {}, [[]], {"": None}, "null"),
    *("ALARM", "2020-01-14T08:45:42.236+0000", "9999-12-31T23:59:59Z", "0000-00-00T00:00:00Z", "arn:aws:", ":" * 9),
)


def main() -> None:
    """Fuzz the parser and print a summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    started_at = time.monotonic()
    kinds = fuzz(options.count, options.seed)
    summary = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
    print(f"{options.count:,} events without an exception in {time.monotonic() - started_at:.0f} s: {summary}")


def fuzz(count: int, seed: int) -> Counter[str]:
    """Mutate, parse and render `count` events. Return the number of parsed events by class."""
    corpus = [json.loads(path.read_bytes()) for path in sorted(CORPUS_DIR.glob("*.json"))]
    kinds: Counter[str] = Counter()
    for number in range(count):
        dice = random.Random(f"{seed} {number}")
        event = dice.choice(corpus)
        for _ in range(dice.randint(1, 4)):
            event = mutate_value(dice, event, corpus, dice.randint(1, 9))
        try:
            events = parse_aws_events(event)
            kinds.update(type(parsed).__name__ for parsed in events)
            if number % RENDER_EVERY == 0:
                _check_messages(events, dice.choice(("en", "ko")))
        except Exception as error:
            raise SystemExit(f"seed {seed}, event {number}: {error!r}\n{event!r}") from error
    return kinds


def mutate_value(dice: random.Random, value: Any, corpus: list[Any], depth: int) -> Any:
    """Return `value` with one part replaced, duplicated, moved or removed."""
    if depth > 0 and dice.random() < 0.95:
        if isinstance(value, dict) and value:
            key = dice.choice(list(value))
            match dice.randrange(12):
                case 0:
                    return {name: item for name, item in value.items() if name != key}
                case 1:
                    return value | {dice.choice((key.upper(), key.lower(), key[1:], f"{key} ")): value[key]}
                case 2:
                    return value | {key: value[dice.choice(list(value))]}
            return value | {key: mutate_value(dice, value[key], corpus, depth - 1)}
        if isinstance(value, list) and value:
            at = dice.randrange(len(value))
            return [*value[:at], mutate_value(dice, value[at], corpus, depth - 1), *value[at + dice.randrange(2) :]]
        if isinstance(value, str) and value[:1] in ("{", "["):
            return _mutate_json_text(dice, value, corpus, depth)
    return dice.choice(STRANGE_VALUES) if dice.random() < 0.9 else dice.choice(corpus)


def _mutate_json_text(dice: random.Random, text: str, corpus: list[Any], depth: int) -> str:
    """Mutate JSON inside a string: its value, or the text itself."""
    if dice.random() < 0.2:
        at = dice.randrange(len(text))
        return text[:at] + dice.choice(("", "\x00", '"', "}", "\\", "가")) + text[at + dice.randrange(3) :]
    try:
        return json.dumps(mutate_value(dice, json.loads(text), corpus, depth))
    except (ValueError, RecursionError):
        return text[1:]


def _check_messages(events: tuple[Any, ...], lang: str) -> None:
    payloads = [render_alert(event, lang) for event in events]
    payloads += digest_payloads(events, 60.0, lang)
    for payload in payloads:
        reply = respond_to_webhook(json.dumps(payload).encode())
        assert reply.body == "ok", reply.reason


if __name__ == "__main__":
    main()
