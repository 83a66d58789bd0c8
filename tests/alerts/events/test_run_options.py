"""Options: what a user may write, and what is said of what a user may not."""

from __future__ import annotations

import ast

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
def test_a_duration_is_read(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        *("", "abc", "-5m", "5x", "m", "5m,", "1e3", "٣s", "5m\n6m;", "inf", "nan", "9" * 400, "1" * 9 + "w"),
        *("5m5m", "5m 1h", "90s30", "5 minutos", "5ms", "1:30", "1:30:99", "p", "pt", "P1M", "P1Y", "and 5m", "5m and"),
        *("5,m", "1.h", "1..5h", "one hour", "5m!", "h5", "5mm", "1h30x", "1h -5m", "5 5", "5m,,3s"),
    ],
)
def test_what_is_no_duration_is_refused_with_an_example(text):
    with pytest.raises(UsageError, match="write it like 90s, 5m or 1h30m"):
        parse_duration(text)


def test_what_could_be_two_durations_is_refused_with_the_reason():
    with pytest.raises(UsageError, match="'1:30' is not a duration; 1:30 could be minutes or hours"):
        parse_duration("1:30")


@given(st.integers(0, 9), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59), st.sampled_from(("", " ")))
def test_each_way_to_write_a_duration_means_the_same(days, hours, minutes, seconds, space):
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
def test_a_mention_is_turned_into_slacks_form(text, form):
    assert parse_mention(text) == form


@pytest.mark.parametrize("text", ["@minsu", "민수", "<!here>", "U012 <!here>", "u012ab3cd", "U", "#general", "U012>AB"])
def test_who_cannot_be_mentioned_is_told_where_to_find_an_id(text):
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
def test_expressions_are_split_at_commas_outside_brackets_and_quotes(text, parts):
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
def test_what_is_no_expression_is_refused(text):
    with pytest.raises(UsageError, match="is not a Python expression"):
        parse_expressions(text)


@given(st.lists(st.sampled_from(["loss", "f(a, b)", "'a, b'", "x[1:2, ::3]", "{'k': 1}", "lambda a, b: a"])))
def test_expressions_that_are_joined_are_found_again(parts):
    assert parse_expressions(", ".join(parts)) == tuple(parts)


@given(st.text())
def test_any_text_is_read_or_refused(text):
    for read in (
        parse_duration,
        parse_mention,
        parse_expressions,
        parse_line_count,
        make_choice_parser("--on", ("finish",)),
    ):
        try:
            value = read(text)
        except UsageError:
            continue
        if read is parse_expressions:
            assert [ast.parse(part, mode="eval") for part in value] or not text.strip()


@pytest.mark.parametrize(("text", "count"), [("0", 0), ("20", 20), (" 200 ", 200), ("0\x1f", 0)])
def test_a_number_of_lines_is_read(text, count):
    assert parse_line_count(text) == count


@pytest.mark.parametrize("text", ["-1", "201", "ten", "1.5", "", "9" * 5000])
def test_a_number_of_lines_is_kept_small(text):
    with pytest.raises(UsageError, match="from 0 to 200"):
        parse_line_count(text)


def test_one_of_several_is_taken_as_it_is_and_others_are_told_which():
    read = make_choice_parser("--lang", ("en", "ko"))

    assert read("ko") == "ko"
    with pytest.raises(UsageError, match="--lang takes en, ko; not 'fr'"):
        read("fr")


@pytest.mark.parametrize(
    ("on", "finished", "wanted"),
    [
        ("always", True, True),
        ("always", False, True),
        ("finish", True, True),
        ("finish", False, False),
        ("error", True, False),
        ("error", False, True),
    ],
)
def test_only_the_outcome_that_was_asked_for_is_told(on, finished, wanted):
    assert RunOptions(on=on).wants_alert(finished, 1.0) is wanted


def test_only_a_run_that_was_long_enough_is_told():
    options = RunOptions(min_seconds=300.0)

    assert not options.wants_alert(True, 299.9)
    assert options.wants_alert(True, 300.0)
    assert not options.wants_alert(False, 299.9)


def test_every_option_fills_a_field_that_exists():
    assert {option.field for option in RUN_OPTION_SPECS} <= set(RunOptions.__dataclass_fields__)
    assert len({option.flag for option in RUN_OPTION_SPECS}) == len(RUN_OPTION_SPECS)
