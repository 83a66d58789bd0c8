"""Parsers of run options: accepted values, and the errors for others."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cwnotify.alerts.events.run_options import (
    RUN_OPTION_SPECS,
    RunOptions,
    make_choice_parser,
    parse_duration,
    parse_expressions,
    parse_line_count,
    parse_mention,
)
from cwnotify.errors import UsageError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("5m", 300),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        (" 2d ", 172_800),
        ("1.5h", 5400),
        ("5M", 300),
        ("90", 90),
        ("0", 0),
        ("0.5", 0.5),
        (".5h", 1800),
        ("5min", 300),
        ("5 mins", 300),
        ("5 Minutes", 300),
        ("90 s", 90),
        ("90 seconds", 90),
        ("90sec", 90),
        ("1h30", 5400),
        ("1h30min", 5400),
        ("1h30m15", 5415),
        ("1 h 30", 5400),
        ("2m30", 150),
        ("1d12", 129_600),
        ("1 hour", 3600),
        ("2 hrs", 7200),
        ("2 hours, 5 minutes", 7500),
        ("2 hours and 5 minutes", 7500),
        ("1w", 604_800),
        ("1h5s", 3605),
        ("01:30:00", 5400),
        ("1:30:00", 5400),
        ("100:00:00", 360_000),
        ("0:05:00", 300),
        ("1-12:00:00", 129_600),
        ("PT1H30M", 5400),
        ("pt90s", 90),
        ("P1D", 86_400),
        ("P1DT2H", 93_600),
        ("PT0.5H", 1800),
        ("5분", 300),
        ("1시간 30분", 5400),
        ("90초", 90),
    ],
)
def test_parse_duration_returns_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        *("", "abc", "-5m", "5x", "m", "5m,", "1e3", "٣s", "5m\n6m;", "inf", "nan", "9" * 400, "1" * 9 + "w"),
        *("5m5m", "5m 1h", "90s30", "5 minutos", "5ms", "1:30", "1:30:99", "p", "pt", "P1M", "P1Y", "and 5m", "5m and"),
        *("5,m", "1.h", "1..5h", "one hour", "5m!", "h5", "5mm", "1h30x", "1h -5m", "5 5", "5m,,3s"),
    ],
)
def test_parse_duration_rejects_other_text_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="write it like 90s, 5m or 1h30m"):
        parse_duration(text)


def test_parse_duration_rejects_ambiguous_text_with_the_reason() -> None:
    with pytest.raises(UsageError, match="'1:30' is not a duration: it could mean minutes or hours"):
        parse_duration("1:30")


@given(st.integers(0, 9), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59), st.sampled_from(("", " ")))
def test_parse_duration_accepts_every_notation(days: int, hours: int, minutes: int, seconds: int, space: str) -> None:
    length = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    parts = {"d": days, "h": hours, "m": minutes, "s": seconds}

    for names in ("d h m s", "days hours minutes seconds", "day hr min sec"):
        units = zip(parts.values(), names.split(), strict=True)
        assert parse_duration(space.join(f"{number}{space}{unit}" for number, unit in units)) == length
    assert parse_duration(f"{days}-{hours:02}:{minutes:02}:{seconds:02}") == length
    assert parse_duration(f"P{days}DT{hours}H{minutes}M{seconds}S") == length
    assert parse_duration(f"{days}d{hours}h{minutes}m{seconds}") == length


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("@here", "<!here>"),
        ("channel", "<!channel>"),
        ("@everyone", "<!everyone>"),
        ("U012AB3CD", "<@U012AB3CD>"),
        ("@W012AB3CD", "<@W012AB3CD>"),
        ("S012AB3CD", "<!subteam^S012AB3CD>"),
        (" @S012AB3CD ", "<!subteam^S012AB3CD>"),
        ("", ""),
        ("none", ""),
    ],
)
def test_parse_mention_returns_slack_syntax(text: str, form: str) -> None:
    assert parse_mention(text) == form


@pytest.mark.parametrize("text", ["@minsu", "민수", "<!here>", "U012 <!here>", "u012ab3cd", "U", "#general", "U012>AB"])
def test_parse_mention_rejects_other_text_and_explains_member_ids(text: str) -> None:
    with pytest.raises(UsageError, match="Copy member ID"):
        parse_mention(text)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("loss", ("loss",)),
        ("loss, acc", ("loss", "acc")),
        ("f(a, b), c[1, 2]", ("f(a, b)", "c[1, 2]")),
        ("'a, b', x", ("'a, b'", "x")),
        ("lambda x, y: x", ("lambda x, y: x",)),
        ("{1: 2, 3: 4}['a,b'], z", ("{1: 2, 3: 4}['a,b']", "z")),
        ("loss,", ("loss",)),
        ("", ()),
        ("정확도", ("정확도",)),
    ],
)
def test_parse_expressions_splits_at_commas_outside_brackets_and_quotes(text: str, parts: tuple[str, ...]) -> None:
    assert parse_expressions(text) == parts


@pytest.mark.parametrize(
    "text",
    [
        "x =",
        ",x",
        "f(a",
        "a b",
        "x, if",
        "import os",
        "(" * 9000,
        "-" * 9000 + "1",
        "x" + ".a" * 20_000,
        "\x00",
        "\ud800",
    ],
    ids=lambda text: ascii(text[:8]),
)
def test_parse_expressions_rejects_other_text(text: str) -> None:
    with pytest.raises(UsageError, match="is not a Python expression"):
        parse_expressions(text)


@given(st.lists(st.sampled_from(["loss", "f(a, b)", "'a, b'", "x[1:2, ::3]", "{'k': 1}", "lambda a, b: a"])))
def test_parse_expressions_splits_joined_expressions(parts: list[str]) -> None:
    assert parse_expressions(", ".join(parts)) == tuple(parts)


@given(st.text())
def test_parsers_return_or_raise_usage_error_for_any_text(text: str) -> None:
    parsers: tuple[Callable[[str], Any], ...] = (
        parse_duration,
        parse_mention,
        parse_expressions,
        parse_line_count,
        make_choice_parser("--on", ("finish",)),
    )
    for parse in parsers:
        try:
            value = parse(text)
        except UsageError:
            continue
        if parse is parse_expressions:
            assert [ast.parse(part, mode="eval") for part in value] or not text.strip()


@pytest.mark.parametrize(("text", "count"), [("0", 0), ("20", 20), (" 200 ", 200), ("0\x1f", 0)])
def test_parse_line_count_returns_number(text: str, count: int) -> None:
    assert parse_line_count(text) == count


@pytest.mark.parametrize("text", ["-1", "201", "ten", "1.5", "", "9" * 5000])
def test_parse_line_count_rejects_other_text(text: str) -> None:
    with pytest.raises(UsageError, match="from 0 to 200"):
        parse_line_count(text)


def test_choice_parser_accepts_only_choices() -> None:
    parse = make_choice_parser("--lang", ("en", "ko"))

    assert parse("ko") == "ko"
    with pytest.raises(UsageError, match="--lang cannot be 'fr'; choose from en, ko"):
        parse("fr")


@pytest.mark.parametrize(
    ("on", "finished", "expected"),
    [
        ("always", True, True),
        ("always", False, True),
        ("finish", True, True),
        ("finish", False, False),
        ("error", True, False),
        ("error", False, True),
    ],
)
def test_wants_alert_follows_on(on: str, finished: bool, expected: bool) -> None:
    assert RunOptions(on=on).wants_alert(finished, 1.0) is expected


def test_wants_alert_is_false_for_short_run() -> None:
    options = RunOptions(min_seconds=300.0)

    assert not options.wants_alert(True, 299.9)
    assert options.wants_alert(True, 300.0)
    assert not options.wants_alert(False, 299.9)


def test_every_option_spec_names_a_field_and_a_unique_flag() -> None:
    assert {option.field for option in RUN_OPTION_SPECS} <= set(RunOptions.__dataclass_fields__)
    assert len({option.flag for option in RUN_OPTION_SPECS}) == len(RUN_OPTION_SPECS)
