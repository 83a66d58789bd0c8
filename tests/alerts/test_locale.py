"""Words: two languages that say the same, and numbers and times as a person would say them."""

from __future__ import annotations

import shutil
import string
import subprocess
import sys
from datetime import UTC
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import cwnotify
from cwnotify.alerts.locale import (
    en,
    find_translation_problem,
    format_duration,
    format_timestamp,
    ko,
    override_translations,
    resolve_time_zone,
    sparkline,
    to_plain_text,
    translate,
)
from cwnotify.alerts.messages.alarm_meaning import SEVERITY_EMOJI

NOON = 1_795_316_400.0  # 2026-11-22 12:00:00 in Seoul


def gaps(sentence: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(sentence) if name}


@pytest.mark.parametrize("key", sorted(en.TRANSLATIONS.keys() | ko.TRANSLATIONS.keys()))
def test_korean_says_what_english_says(key):
    # Korean may leave out who or what is meant, but it has nothing to put in that English has not.
    assert gaps(ko.TRANSLATIONS[key]) <= gaps(en.TRANSLATIONS[key])


def test_an_unknown_language_is_english():
    assert translate("tlh", "cell", n=3) == "Cell [3]"


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
    assert (format_duration(seconds, "en"), format_duration(seconds, "ko")) == (english, korean)


@given(st.floats(-1e12, 1e12))
def test_any_length_of_time_can_be_told(seconds):
    assert format_duration(seconds, "en")[0].isdigit()


def test_a_zone_is_the_users_or_the_languages_or_utc():
    assert format_timestamp(NOON, resolve_time_zone("", "ko")) == "2026-11-22 12:00:00 KST"
    assert format_timestamp(NOON, resolve_time_zone("", "en")) == "2026-11-22 03:00:00 UTC"
    assert format_timestamp(NOON, resolve_time_zone("Europe/Berlin", "ko")) == "2026-11-22 04:00:00 CET"


STRANGE_ZONES = ["../../etc/passwd", "America", "/", "tzdata.zi", "Asia/Seoul\x00", "x" * 5000]


@given(st.text(st.characters(exclude_categories=())) | st.sampled_from(STRANGE_ZONES))
def test_under_any_name_there_is_a_zone(name):
    assert format_timestamp(NOON, resolve_time_zone(name, "en")) != "?"


def test_a_date_is_told_only_where_it_is_not_that_of_the_time_beside_it():
    assert format_timestamp(NOON, UTC, same_day_as=NOON + 60) == "03:00:00 UTC"
    assert format_timestamp(NOON, UTC, same_day_as=NOON + 86_400) == "2026-11-22 03:00:00 UTC"
    assert format_timestamp(NOON, UTC, show_seconds=False) == "2026-11-22 03:00 UTC"


@pytest.mark.parametrize("moment", [float("nan"), float("inf"), 1e30, -1e30])
def test_a_moment_outside_of_all_calendars_is_a_question_mark(moment):
    assert format_timestamp(moment, UTC) == "?"
    assert format_timestamp(NOON, UTC, same_day_as=moment) == "?"


@pytest.mark.parametrize(
    ("values", "bars"),
    [
        ((), ""),
        ((0.0,), "▁"),
        ((100.0,), "▆"),
        ((0.0, 50.0, 100.0), "▁▃▆"),
        ((-5.0, 400.0), "▁▆"),
        ((0.0, 100.0) * 12, "▃" * 12),
        ((100.0,) * 60 + (0.0,) * 60, "▆▆▆▆▆▆▁▁▁▁▁▁"),
    ],
)
def test_a_sparkline_draws_the_means(values, bars):
    assert sparkline(values) == bars


@given(st.lists(st.floats(0, 100), min_size=1, max_size=500))
def test_a_sparkline_is_never_wider_than_it_may_be(values):
    assert len(sparkline(tuple(values))) == min(len(values), 12)


def test_a_sentence_for_a_terminal_has_no_marks():
    assert to_plain_text(":x: *a &lt; b &amp; c* failed: `Oops`") == "❌ a < b & c failed: Oops"
    assert to_plain_text("&amp;lt;") == "&lt;"


# The user's own sentences, and further languages


@pytest.fixture
def amended():
    yield override_translations
    override_translations(())


def test_a_sentence_of_the_users_own_is_said_instead_of_ours(amended):
    amended([("en", "cell", "Zelle {n}")])

    assert translate("en", "cell", n=3) == "Zelle 3"
    assert translate("ko", "cell", n=3) == "[3]번 셀"
    amended(())
    assert translate("en", "cell", n=3) == "Cell [3]"


@pytest.mark.parametrize(
    ("sentence", "said"),
    [
        ("<!channel> {name}", "&lt;!channel&gt; X"),
        (
            "<!here|you> <@U012> <#C012> <!subteam^S0>",
            "&lt;!here|you&gt; &lt;@U012&gt; &lt;#C012&gt; &lt;!subteam^S0&gt;",
        ),
        ("<https://evil.example|see {name}>", "&lt;https://evil.example|see X&gt;"),
        ("<!date^1^{{x}}^https://evil.example|now>", "&lt;!date^1^{x}^https://evil.example|now&gt;"),
        ("&lt;!channel&gt; & &amp;lt;!here&amp;gt;", "&lt;!channel&gt; &amp; &amp;lt;!here&amp;gt;"),
        ("*{name}* `x` _y_ :tada: {time}", "*X* `x` _y_ :tada: Y"),
        ("@here @channel @everyone a@b.example", "@\u2060here @\u2060channel @\u2060everyone a@b.example"),
        ("a\u202eb\x1b[31mc", "a\ufffdbc"),
    ],
)
def test_a_sentence_from_a_file_holds_no_link_and_no_mention(amended, sentence, said):
    assert find_translation_problem("en", "run.finished", sentence) == ""
    amended([("en", "run.finished", sentence)])

    assert translate("en", "run.finished", name="X", time="Y") == said


@given(st.text("<>&;!@|lgtamp{}nae: ", max_size=30))
def test_no_sentence_from_a_file_brings_an_angle_bracket(sentence):
    override_translations([("en", "cell", sentence)])
    try:
        shown = translate("en", "cell", n=3) if not find_translation_problem("en", "cell", sentence) else ""
    finally:
        override_translations(())

    assert not {"<", ">"} & {*shown}
    assert "&" not in shown.replace("&lt;", "").replace("&gt;", "").replace("&amp;", "")


def test_each_of_our_own_sentences_is_the_same_when_it_comes_from_a_file(amended):
    for lang, table in (("en", en.TRANSLATIONS), ("ko", ko.TRANSLATIONS)):
        amended([(lang, key, sentence) for key, sentence in table.items()])
        for key, sentence in table.items():
            values = dict.fromkeys(gaps(sentence), "1")
            assert translate(lang, key, **values) == sentence.format(**values)


@pytest.mark.parametrize(
    ("lang", "key", "sentence", "why"),
    [
        ("en", "run.finished", "{name} is done", ""),
        ("ko", "run.finished", "{name} {{끝}} {time}", ""),
        ("en", "run.finishd", "x", "there is no such sentence; did you mean run.finished?"),
        ("fr", "cell", "x", "there is no language fr; there are en, ko"),
        ("en", "run.finished", "{nme}", "nothing is known of {nme} there; it takes {name}, {time}"),
        ("en", "cell", "{n:999999999}", "nothing is known of {n:999999999} there; it takes {n}"),
        ("en", "cell", "{n.__class__}", "nothing is known of {n.__class__} there; it takes {n}"),
        ("en", "cell", "{n[0]}", "nothing is known of {n[0]} there; it takes {n}"),
        ("en", "cell", "{n!r}", "nothing is known of {n!r} there; it takes {n}"),
        ("en", "cell", "{}", "nothing is known of {} there; it takes {n}"),
        ("en", "hello.here", "{n}", "nothing is known of {n} there; it takes no braces"),
        ("en", "cell", "{n", "a brace has no partner; write {{ for one that shall be seen"),
        ("en", "cell", "", "a sentence is text of 1 to 300 characters"),
        ("en", "cell", "x" * 301, "a sentence is text of 1 to 300 characters"),
        ("en", "cell", 3, "a sentence is text of 1 to 300 characters"),
    ],
)
def test_what_cannot_be_said_instead_of_ours_is_told(lang, key, sentence, why):
    assert find_translation_problem(lang, key, sentence) == why


@given(st.sampled_from(sorted(en.TRANSLATIONS)), st.text() | st.text("{}n!:.[]name0", max_size=12))
def test_a_sentence_without_fault_can_be_said(key, sentence):
    if not find_translation_problem("en", key, sentence):
        assert len(sentence.format(**dict.fromkeys(gaps(en.TRANSLATIONS[key]), "1"))) <= 2 * len(sentence)


# The package as it would be with one more file in it: nothing else is told of the new language.
THIRD = """
import sys; sys.path.insert(0, sys.argv[1])
from cwnotify.alerts.events.run_options import RUN_OPTION_SPECS, LANGUAGES
from cwnotify.alerts.locale import format_timestamp, translate, resolve_time_zone
(lang,) = [option for option in OPTIONS if option.field == "lang"]
print(LANGUAGES, lang.metavar, lang.read("de"))
print(say("de", "cell", n=3), say("de", "minutes", n=3), clock(1_795_316_400.0, zone("", "de")))
"""


def test_a_third_language_is_one_file(tmp_path):
    shutil.copytree(Path(cwnotify.__file__).parent, tmp_path / "cwnotify", ignore=shutil.ignore_patterns("__pycache__"))
    words = 'DEFAULT_TIME_ZONE = "Europe/Berlin"\nTRANSLATIONS = {"cell": "Zelle [{n}]"}\n'
    (tmp_path / "cwnotify" / "alerts" / "locale" / "de.py").write_text(words)

    done = subprocess.run([sys.executable, "-P", "-c", THIRD, tmp_path], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines() == [
        "('de', 'en', 'ko') de|en|ko de",
        # What the file lacks is said in English.
        "Zelle [3] 3 min 2026-11-22 04:00:00 CET",
    ]


@pytest.mark.parametrize("table", [en.TRANSLATIONS, ko.TRANSLATIONS], ids=["en", "ko"])
def test_every_mark_that_a_sentence_begins_with_has_a_picture_for_terminals(table):
    first = {text.split(" ")[0] for key, text in table.items() if key.split(".")[0] in ("run", "notice", "plain")}
    marks = {word for word in first if word.startswith(":")} | {*SEVERITY_EMOJI.values(), ":zzz:"}

    assert {mark for mark in marks if to_plain_text(mark) == mark} == set()
