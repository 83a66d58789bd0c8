"""Words: two languages that say the same, and numbers and times as a person would say them."""

from __future__ import annotations

import string
from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cwnotify.alerts.words import clock, duration, en, ko, plain, say, sparkline, zone

NOON = 1_795_316_400.0  # 2026-11-22 12:00:00 in Seoul


def gaps(sentence: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(sentence) if name}


@pytest.mark.parametrize("key", sorted(en.SENTENCES.keys() | ko.SENTENCES.keys()))
def test_korean_says_what_english_says(key):
    # Korean may leave out who or what is meant, but it has nothing to put in that English has not.
    assert gaps(ko.SENTENCES[key]) <= gaps(en.SENTENCES[key])


def test_an_unknown_language_is_english():
    assert say("tlh", "cell", n=3) == "Cell [3]"


@pytest.mark.parametrize(
    ("seconds", "english", "korean"),
    [
        (-5.0, "0 s", "0초"),
        (0.0, "0 s", "0초"),
        (0.042, "0.04 s", "0.04초"),
        (1.0, "1 s", "1초"),
        (3.27, "3.3 s", "3.3초"),
        (10.0, "10 s", "10초"),
        (59.9, "59 s", "59초"),
        (60.0, "1 min", "1분"),
        (3599.0, "59 min 59 s", "59분 59초"),
        (3600.0, "1 h", "1시간"),
        (3605.0, "1 h", "1시간"),
        (8077.0, "2 h 14 min", "2시간 14분"),
        (90_000.0, "1 d 1 h", "1일 1시간"),
        (8e8, "9259 d 6 h", "9259일 6시간"),
    ],
)
def test_a_length_of_time_is_told_in_its_two_largest_units(seconds, english, korean):
    assert (duration(seconds, "en"), duration(seconds, "ko")) == (english, korean)


@given(st.floats(-1e12, 1e12))
def test_any_length_of_time_can_be_told(seconds):
    assert duration(seconds, "en")[0].isdigit()


def test_a_zone_is_the_users_or_the_languages_or_utc():
    assert clock(NOON, zone("", "ko")) == "2026-11-22 12:00:00 KST"
    assert clock(NOON, zone("", "en")) == "2026-11-22 03:00:00 UTC"
    assert clock(NOON, zone("Europe/Berlin", "ko")) == "2026-11-22 04:00:00 CET"


STRANGE_ZONES = ["../../etc/passwd", "America", "/", "tzdata.zi", "Asia/Seoul\x00", "x" * 5000]


@given(st.text(st.characters(exclude_categories=())) | st.sampled_from(STRANGE_ZONES))
def test_under_any_name_there_is_a_zone(name):
    assert clock(NOON, zone(name, "en")) != "?"


def test_a_date_is_told_only_where_it_is_not_that_of_the_time_beside_it():
    assert clock(NOON, UTC, beside=NOON + 60) == "03:00:00 UTC"
    assert clock(NOON, UTC, beside=NOON + 86_400) == "2026-11-22 03:00:00 UTC"


@pytest.mark.parametrize("moment", [float("nan"), float("inf"), 1e30, -1e30])
def test_a_moment_outside_of_all_calendars_is_a_question_mark(moment):
    assert clock(moment, UTC) == "?"
    assert clock(NOON, UTC, beside=moment) == "?"


@pytest.mark.parametrize(
    ("values", "bars"),
    [
        ((), ""),
        ((0.0,), "▁"),
        ((100.0,), "█"),
        ((0.0, 50.0, 100.0), "▁▅█"),
        ((-5.0, 400.0), "▁█"),
        ((0.0, 100.0) * 12, "▅" * 12),
        ((100.0,) * 60 + (0.0,) * 60, "██████▁▁▁▁▁▁"),
    ],
)
def test_a_sparkline_draws_the_means(values, bars):
    assert sparkline(values) == bars


@given(st.lists(st.floats(0, 100), min_size=1, max_size=500))
def test_a_sparkline_is_never_wider_than_it_may_be(values):
    assert len(sparkline(tuple(values))) == min(len(values), 12)


def test_a_sentence_for_a_terminal_has_no_marks():
    assert plain(":x: *a &lt; b &amp; c* failed: `Oops`") == "❌ a < b & c failed: Oops"
    assert plain("&amp;lt;") == "&lt;"
