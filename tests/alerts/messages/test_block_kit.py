"""Blocks: whatever goes in, Slack can take what comes out."""

from __future__ import annotations

import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cwnotify.alerts.messages import block_kit as b
from tests.slack_rules import assert_valid_payload
from tests.support.events import any_text
from tests.support.messages import assert_escaped

LIMITS = st.integers(1, 200)


@pytest.mark.parametrize(
    ("text", "limit", "shown"),
    [
        ("a < b & c > d", 100, "a &lt; b &amp; c &gt; d"),
        ("<!channel>", 100, "&lt;!channel&gt;"),
        ("&amp;", 100, "&amp;amp;"),
        ("abcdef", 6, "abcdef"),
        ("abcdefg", 6, "abcde…"),
        ("abc&", 8, "abc&amp;"),
        ("abc&&", 8, "abc…"),
        ("🚀🚀🚀", 2, "🚀…"),
        ("x", 1, "x"),
        ("xy", 1, "…"),
        ("", 5, ""),
        ("\x1b[1;31mred\x1b[0m and \x1b]8;;https://x\x07link", 100, "red and link"),
        ("a\tb\r\nc", 100, "a    b\nc"),
        ("nul\x00 lone\ud800 turned\u202e", 100, "nul� lone� turned�"),
        ("\x1b[31m" * 9 + "far behind colours", 10, "far behin…"),
    ],
)
def test_text_is_cleaned_then_escaped_then_cut(text, limit, shown):
    assert b.escape_mrkdwn(text, limit) == shown


@given(any_text(), LIMITS)
def test_escaped_text_keeps_its_limit_and_breaks_no_entity(text, limit):
    shown = b.escape_mrkdwn(text, limit)

    assert len(shown) <= limit
    assert_escaped(shown)


@given(any_text(), LIMITS)
def test_escaped_text_is_all_of_it_or_its_beginning_with_an_ellipsis(text, limit):
    whole = html.escape(b.sanitize_text(text), quote=False)
    shown = b.escape_mrkdwn(text, limit)

    assert shown == whole if len(whole) <= limit else (shown[-1] == "…" and whole.startswith(shown[:-1]))


@given(any_text(), LIMITS)
def test_plain_text_is_all_of_it_or_its_beginning_with_an_ellipsis(text, limit):
    whole = b.sanitize_text(text)
    shown = b.truncate_text(text, limit)

    assert len(shown) <= limit
    assert shown == whole if len(whole) <= limit else (shown[-1] == "…" and whole.startswith(shown[:-1]))


@given(any_text())
def test_a_name_and_a_sentence_are_one_line_that_formats_nothing(text):
    for shown in (b.escape_label(text), b.escape_prose(text, 200)):
        assert_escaped(shown)
        assert len(shown) <= 200
        assert not set(shown) & set("*~`")
        assert len(shown.splitlines()) <= 1
        assert shown == shown.strip()


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("my_run_3", "my_run_3"),
        ("_secret_", "ˍsecretˍ"),
        (":tada: 12:30:00", "∶tada: 12∶30:00"),
        ("*a* `b` ~c~", "∗a∗ ˋbˋ ∼c∼"),
        ("two\nlines", "two lines"),
        ("\x1b[32m  green \x1b[0m", "green"),
    ],
)
def test_a_name_is_shown_as_it_was_written_but_for_look_alikes(name, shown):
    assert b.escape_label(name) == shown


@given(any_text())
def test_bold_and_code_are_marked_at_both_ends_and_nowhere_else(text):
    bold, code = b.bold(text), b.inline_code(text)

    assert bold == "" or re.fullmatch(r"\*[^*\s](?:[^*\n]*[^*\s])?\*", bold)
    assert code == "" or re.fullmatch(r"`[^`\n]+`", code)
    assert_escaped(bold)
    assert_escaped(code)


@given(any_text(), st.integers(20, 3000))
def test_a_code_block_keeps_the_end_and_cannot_be_left(text, limit):
    whole = b.sanitize_text(text).replace("`", "ˋ").strip("\n")
    shown = b.code_block(text, limit)

    assert len(shown) <= limit
    assert_escaped(shown)
    inside = shown.removeprefix("```\n").removesuffix("\n```")
    assert "`" not in inside
    escaped = html.escape(whole, quote=False)
    fits = len(escaped) <= limit - 9
    assert inside == escaped if fits else (inside[0] == "…" and escaped.endswith(inside[1:]))


def test_a_long_code_block_shows_that_its_beginning_is_missing():
    shown = b.code_block("first line\n" + "x" * 3000 + "\nValueError: last line")

    assert shown.startswith("```\n…x")
    assert shown.endswith("\nValueError: last line\n```")
    assert len(shown) == b.MAX_SECTION_LENGTH


def test_colours_count_for_nothing_in_a_code_block():
    shown = b.code_block("\x1b[31mTraceback\x1b[0m" * 3, 40)

    assert shown == "```\nTracebackTracebackTraceback\n```"


READY = any_text().map(lambda text: b.inline_code(text, 2500)) | any_text().map(lambda text: b.escape_label(text, 2500))


@given(st.lists(st.tuples(any_text().map(b.escape_label), READY), max_size=25))
def test_fields_keep_every_limit_and_their_order(pairs):
    sections = b.two_column_sections(pairs)
    told = [cell["text"] for section in sections for cell in section["fields"]]

    for text in told:
        assert_escaped(text)
    wanted = [f"*{name}*\n{value}" for name, value in pairs if value.strip()]
    assert len(told) == len(wanted)
    assert all(a == w or (len(w) > b.MAX_FIELD_LENGTH and a.endswith("…")) for a, w in zip(told, wanted, strict=True))
    assert_valid_payload(b.build_payload("text", [b.section("x"), *sections]))


@pytest.mark.parametrize("length", range(b.MAX_FIELD_LENGTH - 8, b.MAX_FIELD_LENGTH + 3))
def test_a_field_is_cut_exactly_where_slack_would_refuse_it(length):
    (section,) = b.two_column_sections([("name", "x" * length)])

    assert_valid_payload(b.build_payload("text", [section]))
    assert section["fields"][0]["text"].endswith("…") == (len("*name*\n") + length > 2000)


@given(
    st.lists(st.tuples(any_text(), any_text() | st.sampled_from(("https://x.test/", "http://x.test/" + "y" * 3000))))
)
def test_buttons_are_left_out_where_slack_would_refuse_them(links):
    rows = b.link_buttons(links)

    assert_valid_payload(b.build_payload("text", [b.section("x"), *rows]))


def test_the_first_button_is_the_primary_one():
    (row,) = b.link_buttons(
        [("no link", "javascript:alert(1)"), ("one", "https://one.test"), ("two", "https://two.test")]
    )

    assert [(e["text"]["text"], e.get("style")) for e in row["elements"]] == [("one", "primary"), ("two", None)]
    (plain,) = b.link_buttons([("one", "https://one.test")], primary=False)
    assert "style" not in plain["elements"][0]


@given(st.lists(READY | any_text().map(lambda text: b.escape_label(text, 4000)), min_size=1, max_size=14))
def test_a_context_keeps_every_limit(lines):
    assert_valid_payload(b.build_payload("text", [b.context("first", *lines)]))


@given(st.integers(1, 120), st.integers(0, 120), any_text())
def test_a_message_keeps_every_limit(above, beside, text):
    payload = b.build_payload(
        b.escape_label(text, 50_000) or "x",
        [b.section(f"{number}") for number in range(above)],
        b.COLOR_BAD,
        [b.section(f"beside {number}") for number in range(beside)],
        channel=text,
    )

    assert_valid_payload(payload)
    shown = sum(map(len, [payload["blocks"], *(one["blocks"] for one in payload.get("attachments", []))]))
    assert shown == min(above + beside, 50)


def test_the_text_alone_is_what_remains_when_slack_cannot_read_the_blocks():
    payload = b.build_payload("told", [b.section("x")], b.COLOR_GOOD, [b.section("y")], channel="#ml")

    assert b.drop_blocks(payload) == {"text": "told", "channel": "#ml"}
