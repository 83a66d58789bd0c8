"""Options: what a user may write, and what is said of what a user may not."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cwnotify.alerts.options import (
    OPTIONS,
    RunOptions,
    duration,
    expressions,
    line_count,
    mention,
    one_of,
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
    ],
)
def test_a_duration_is_read(text, seconds):
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "abc", "-5m", "5x", "m", "1h30", "5m,", "1e3", "٣s", "5m\n6m;", "inf", "nan"])
def test_what_is_no_duration_is_refused_with_an_example(text):
    with pytest.raises(UsageError, match="write it like 90s, 5m or 1h30m"):
        duration(text)


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
    assert mention(text) == form


@pytest.mark.parametrize("text", ["@minsu", "민수", "<!here>", "U012 <!here>", "u012ab3cd", "U", "#general", "U012>AB"])
def test_who_cannot_be_mentioned_is_told_where_to_find_an_id(text):
    with pytest.raises(UsageError, match="Copy member ID"):
        mention(text)


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
    assert expressions(text) == parts


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
        expressions(text)


@given(st.lists(st.sampled_from(["loss", "f(a, b)", "'a, b'", "x[1:2, ::3]", "{'k': 1}", "lambda a, b: a"])))
def test_expressions_that_are_joined_are_found_again(parts):
    assert expressions(", ".join(parts)) == tuple(parts)


@given(st.text())
def test_any_text_is_read_or_refused(text):
    for read in (duration, mention, expressions, line_count, one_of("--on", ("finish",))):
        try:
            value = read(text)
        except UsageError:
            continue
        if read is expressions:
            assert [ast.parse(part, mode="eval") for part in value] or not text.strip()


@pytest.mark.parametrize(("text", "count"), [("0", 0), ("20", 20), (" 200 ", 200), ("0\x1f", 0)])
def test_a_number_of_lines_is_read(text, count):
    assert line_count(text) == count


@pytest.mark.parametrize("text", ["-1", "201", "ten", "1.5", "", "9" * 5000])
def test_a_number_of_lines_is_kept_small(text):
    with pytest.raises(UsageError, match="from 0 to 200"):
        line_count(text)


def test_one_of_several_is_taken_as_it_is_and_others_are_told_which():
    read = one_of("--lang", ("en", "ko"))

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
    assert RunOptions(on=on).wants(finished, 1.0) is wanted


def test_only_a_run_that_was_long_enough_is_told():
    options = RunOptions(min_seconds=300.0)

    assert not options.wants(True, 299.9)
    assert options.wants(True, 300.0)
    assert not options.wants(False, 299.9)


def test_every_option_fills_a_field_that_exists():
    assert {option.field for option in OPTIONS} <= set(RunOptions.__dataclass_fields__)
    assert len({option.flag for option in OPTIONS}) == len(OPTIONS)
