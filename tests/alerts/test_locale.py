"""Translations, users' own sentences, and the format of durations and times."""

from __future__ import annotations

import shutil
import string
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
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

Override = Callable[[Iterable[tuple[str, str, str]]], None]

NOON = 1_795_316_400.0  # 2026-11-22 12:00:00 in Seoul


def placeholders(sentence: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(sentence) if name}


@pytest.mark.parametrize("key", sorted(en.TRANSLATIONS.keys() | ko.TRANSLATIONS.keys()))
def test_korean_sentence_has_no_placeholder_that_english_lacks(key: str) -> None:
    assert placeholders(ko.TRANSLATIONS[key]) <= placeholders(en.TRANSLATIONS[key])


def test_translate_unknown_language_returns_english() -> None:
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
def test_format_duration_uses_the_two_largest_units(seconds: float, english: str, korean: str) -> None:
    assert (format_duration(seconds, "en"), format_duration(seconds, "ko")) == (english, korean)


@given(st.floats(-1e12, 1e12))
def test_format_duration_accepts_any_number(seconds: float) -> None:
    assert format_duration(seconds, "en")[0].isdigit()


def test_resolve_time_zone_prefers_name_then_language() -> None:
    assert format_timestamp(NOON, resolve_time_zone("", "ko")) == "2026-11-22 12:00:00 KST"
    assert format_timestamp(NOON, resolve_time_zone("", "en")) == "2026-11-22 03:00:00 UTC"
    assert format_timestamp(NOON, resolve_time_zone("Europe/Berlin", "ko")) == "2026-11-22 04:00:00 CET"


STRANGE_ZONES = ["../../etc/passwd", "America", "/", "tzdata.zi", "Asia/Seoul\x00", "x" * 5000]


@given(st.text(st.characters(exclude_categories=())) | st.sampled_from(STRANGE_ZONES))
def test_resolve_time_zone_accepts_any_name(name: str) -> None:
    assert format_timestamp(NOON, resolve_time_zone(name, "en")) != "?"


def test_format_timestamp_omits_date_on_the_same_day() -> None:
    assert format_timestamp(NOON, UTC, same_day_as=NOON + 60) == "03:00:00 UTC"
    assert format_timestamp(NOON, UTC, same_day_as=NOON + 86_400) == "2026-11-22 03:00:00 UTC"
    assert format_timestamp(NOON, UTC, show_seconds=False) == "2026-11-22 03:00 UTC"


@pytest.mark.parametrize("at", [float("nan"), float("inf"), 1e30, -1e30])
def test_format_timestamp_outside_the_calendar_returns_question_mark(at: float) -> None:
    assert format_timestamp(at, UTC) == "?"
    assert format_timestamp(NOON, UTC, same_day_as=at) == "?"


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
def test_sparkline_draws_means(values: tuple[float, ...], bars: str) -> None:
    assert sparkline(values) == bars


@given(st.lists(st.floats(0, 100), min_size=1, max_size=500))
def test_sparkline_respects_width(values: list[float]) -> None:
    assert len(sparkline(tuple(values))) == min(len(values), 12)


def test_to_plain_text_removes_marks() -> None:
    assert to_plain_text(":x: *a &lt; b &amp; c* failed: `Oops`") == "❌ a < b & c failed: Oops"
    assert to_plain_text("&amp;lt;") == "&lt;"


@pytest.fixture
def override() -> Iterator[Override]:
    yield override_translations
    override_translations(())


def test_override_replaces_one_sentence(override: Override) -> None:
    override([("en", "cell", "Zelle {n}")])

    assert translate("en", "cell", n=3) == "Zelle 3"
    assert translate("ko", "cell", n=3) == "[3]번 셀"
    override(())
    assert translate("en", "cell", n=3) == "Cell [3]"


@pytest.mark.parametrize(
    ("sentence", "expected"),
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
def test_override_cannot_link_or_mention(override: Override, sentence: str, expected: str) -> None:
    assert find_translation_problem("en", "run.finished", sentence) == ""
    override([("en", "run.finished", sentence)])

    assert translate("en", "run.finished", name="X", time="Y") == expected


@given(st.text("<>&;!@|lgtamp{}nae: ", max_size=30))
def test_override_never_contains_angle_brackets(sentence: str) -> None:
    override_translations([("en", "cell", sentence)])
    try:
        output = translate("en", "cell", n=3) if not find_translation_problem("en", "cell", sentence) else ""
    finally:
        override_translations(())

    assert not {"<", ">"} & {*output}
    assert "&" not in output.replace("&lt;", "").replace("&gt;", "").replace("&amp;", "")


def test_override_with_built_in_sentence_changes_nothing(override: Override) -> None:
    for lang, table in (("en", en.TRANSLATIONS), ("ko", ko.TRANSLATIONS)):
        override([(lang, key, sentence) for key, sentence in table.items()])
        for key, sentence in table.items():
            values = dict.fromkeys(placeholders(sentence), "1")
            assert translate(lang, key, **values) == sentence.format(**values)


@pytest.mark.parametrize(
    ("lang", "key", "sentence", "problem"),
    [
        ("en", "run.finished", "{name} is done", ""),
        ("ko", "run.finished", "{name} {{끝}} {time}", ""),
        ("en", "run.finishd", "x", "no sentence has this key; did you mean run.finished?"),
        ("fr", "cell", "x", "unknown language fr; choose from en, ko"),
        ("en", "run.finished", "{nme}", "unknown placeholder {nme}; use {name}, {time}"),
        ("en", "cell", "{n:999999999}", "unknown placeholder {n:999999999}; use {n}"),
        ("en", "cell", "{n.__class__}", "unknown placeholder {n.__class__}; use {n}"),
        ("en", "cell", "{n[0]}", "unknown placeholder {n[0]}; use {n}"),
        ("en", "cell", "{n!r}", "unknown placeholder {n!r}; use {n}"),
        ("en", "cell", "{}", "unknown placeholder {}; use {n}"),
        ("en", "hello.here", "{n}", "unknown placeholder {n}; this sentence has none"),
        ("en", "cell", "{n", "unmatched brace; write {{ or }} for a literal brace"),
        ("en", "cell", "", "a sentence must be text of 1 to 300 characters"),
        ("en", "cell", "x" * 301, "a sentence must be text of 1 to 300 characters"),
        ("en", "cell", 3, "a sentence must be text of 1 to 300 characters"),
    ],
)
def test_find_translation_problem_describes_the_problem(lang: str, key: str, sentence: object, problem: str) -> None:
    assert find_translation_problem(lang, key, sentence) == problem


@given(st.sampled_from(sorted(en.TRANSLATIONS)), st.text() | st.text("{}n!:.[]name0", max_size=12))
def test_sentence_without_problem_can_be_formatted(key: str, sentence: str) -> None:
    if not find_translation_problem("en", key, sentence):
        assert len(sentence.format(**dict.fromkeys(placeholders(en.TRANSLATIONS[key]), "1"))) <= 2 * len(sentence)


# Runs a copy of the package that has one more language file.
THIRD_LANGUAGE_SCRIPT = """
import sys; sys.path.insert(0, sys.argv[1])
from cwnotify.alerts.events.run_options import RUN_OPTION_SPECS, LANGUAGES
from cwnotify.alerts.locale import format_timestamp, translate, resolve_time_zone
(lang,) = [option for option in RUN_OPTION_SPECS if option.field == "lang"]
print(LANGUAGES, lang.metavar, lang.read("de"))
at = format_timestamp(1_795_316_400.0, resolve_time_zone("", "de"))
print(translate("de", "cell", n=3), translate("de", "minutes", n=3), at)
"""


def test_third_language_needs_one_file(tmp_path: Path) -> None:
    shutil.copytree(Path(cwnotify.__file__).parent, tmp_path / "cwnotify", ignore=shutil.ignore_patterns("__pycache__"))
    translations = 'DEFAULT_TIME_ZONE = "Europe/Berlin"\nTRANSLATIONS = {"cell": "Zelle [{n}]"}\n'
    (tmp_path / "cwnotify" / "alerts" / "locale" / "de.py").write_text(translations)

    command = [sys.executable, "-P", "-c", THIRD_LANGUAGE_SCRIPT, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert done.stdout.splitlines() == [
        "('de', 'en', 'ko') de|en|ko de",
        # Missing sentences are in English.
        "Zelle [3] 3 min 2026-11-22 04:00:00 CET",
    ]


@pytest.mark.parametrize("table", [en.TRANSLATIONS, ko.TRANSLATIONS], ids=["en", "ko"])
def test_to_plain_text_knows_every_leading_emoji(table: dict[str, str]) -> None:
    first_words = {text.split(" ")[0] for key, text in table.items() if key.split(".")[0] in ("run", "notice", "plain")}
    names = {word for word in first_words if word.startswith(":")} | {*SEVERITY_EMOJI.values(), ":zzz:"}

    assert {name for name in names if to_plain_text(name) == name} == set()
