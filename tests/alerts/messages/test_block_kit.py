"""Block Kit: any input becomes blocks that Slack accepts."""

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
    ("text", "limit", "expected"),
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
def test_escape_mrkdwn_sanitizes_then_escapes_then_cuts(text: str, limit: int, expected: str) -> None:
    assert b.escape_mrkdwn(text, limit) == expected


@given(any_text(), LIMITS)
def test_escaped_text_respects_limit_and_entities(text: str, limit: int) -> None:
    output = b.escape_mrkdwn(text, limit)

    assert len(output) <= limit
    assert_escaped(output)


@given(any_text(), LIMITS)
def test_escaped_text_is_complete_or_ends_with_ellipsis(text: str, limit: int) -> None:
    whole = html.escape(b.sanitize_text(text), quote=False)
    output = b.escape_mrkdwn(text, limit)

    assert output == whole if len(whole) <= limit else (output[-1] == "…" and whole.startswith(output[:-1]))


@given(any_text(), LIMITS)
def test_truncated_text_is_complete_or_ends_with_ellipsis(text: str, limit: int) -> None:
    whole = b.sanitize_text(text)
    output = b.truncate_text(text, limit)

    assert len(output) <= limit
    assert output == whole if len(whole) <= limit else (output[-1] == "…" and whole.startswith(output[:-1]))


@given(any_text())
def test_label_and_prose_are_one_line_without_formatting(text: str) -> None:
    for output in (b.escape_label(text), b.escape_prose(text, 200)):
        assert_escaped(output)
        assert len(output) <= 200
        assert not set(output) & set("*~`")
        assert len(output.splitlines()) <= 1
        assert output == output.strip()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("my_run_3", "my_run_3"),
        ("_secret_", "ˍsecretˍ"),
        (":tada: 12:30:00", "∶tada: 12∶30:00"),
        ("*a* `b` ~c~", "∗a∗ ˋbˋ ∼c∼"),
        ("two\nlines", "two lines"),
        ("\x1b[32m  green \x1b[0m", "green"),
    ],
)
def test_label_replaces_marks_with_look_alikes(name: str, expected: str) -> None:
    assert b.escape_label(name) == expected


@given(any_text())
def test_bold_and_code_have_marks_only_at_both_ends(text: str) -> None:
    bold, code = b.bold(text), b.inline_code(text)

    assert bold == "" or re.fullmatch(r"\*[^*\s](?:[^*\n]*[^*\s])?\*", bold)
    assert code == "" or re.fullmatch(r"`[^`\n]+`", code)
    assert_escaped(bold)
    assert_escaped(code)


@given(any_text(), st.integers(20, 3000))
def test_code_block_keeps_the_end_and_cannot_be_closed(text: str, limit: int) -> None:
    whole = b.sanitize_text(text).replace("`", "ˋ").strip("\n")
    output = b.code_block(text, limit)

    assert len(output) <= limit
    assert_escaped(output)
    inside = output.removeprefix("```\n").removesuffix("\n```")
    assert "`" not in inside
    escaped = html.escape(whole, quote=False)
    fits = len(escaped) <= limit - 9
    assert inside == escaped if fits else (inside[0] == "…" and escaped.endswith(inside[1:]))


def test_long_code_block_begins_with_ellipsis() -> None:
    output = b.code_block("first line\n" + "x" * 3000 + "\nValueError: last line")

    assert output.startswith("```\n…x")
    assert output.endswith("\nValueError: last line\n```")
    assert len(output) == b.MAX_SECTION_LENGTH


def test_code_block_ignores_terminal_colors_in_length() -> None:
    output = b.code_block("\x1b[31mTraceback\x1b[0m" * 3, 40)

    assert output == "```\nTracebackTracebackTraceback\n```"


MRKDWN = any_text().map(lambda text: b.inline_code(text, 2500)) | any_text().map(
    lambda text: b.escape_label(text, 2500)
)


@given(st.lists(st.tuples(any_text().map(b.escape_label), MRKDWN), max_size=25))
def test_two_column_sections_respect_limits_and_order(pairs: list[tuple[str, str]]) -> None:
    sections = b.two_column_sections(pairs)
    texts = [cell["text"] for section in sections for cell in section["fields"]]

    for text in texts:
        assert_escaped(text)
    expected = [f"*{name}*\n{value}" for name, value in pairs if value.strip()]
    assert len(texts) == len(expected)
    for text, whole in zip(texts, expected, strict=True):
        assert text == whole or (len(whole) > b.MAX_FIELD_LENGTH and text.endswith("…"))
    assert_valid_payload(b.build_payload("text", [b.section("x"), *sections]))


@pytest.mark.parametrize("length", range(b.MAX_FIELD_LENGTH - 8, b.MAX_FIELD_LENGTH + 3))
def test_field_is_cut_exactly_at_slacks_limit(length: int) -> None:
    (section,) = b.two_column_sections([("name", "x" * length)])

    assert_valid_payload(b.build_payload("text", [section]))
    assert section["fields"][0]["text"].endswith("…") == (len("*name*\n") + length > 2000)


@given(
    st.lists(st.tuples(any_text(), any_text() | st.sampled_from(("https://x.test/", "http://x.test/" + "y" * 3000))))
)
def test_link_buttons_omit_invalid_links(links: list[tuple[str, str]]) -> None:
    rows = b.link_buttons(links)

    assert_valid_payload(b.build_payload("text", [b.section("x"), *rows]))


def test_first_button_is_primary() -> None:
    (row,) = b.link_buttons(
        [("no link", "javascript:alert(1)"), ("one", "https://one.test"), ("two", "https://two.test")]
    )

    assert [(e["text"]["text"], e.get("style")) for e in row["elements"]] == [("one", "primary"), ("two", None)]
    (plain,) = b.link_buttons([("one", "https://one.test")], primary=False)
    assert "style" not in plain["elements"][0]


@given(st.lists(MRKDWN | any_text().map(lambda text: b.escape_label(text, 4000)), min_size=1, max_size=14))
def test_context_respects_limits(lines: list[str]) -> None:
    assert_valid_payload(b.build_payload("text", [b.context("first", *lines)]))


@given(st.integers(1, 120), st.integers(0, 120), any_text())
def test_payload_respects_limits(above: int, beside: int, text: str) -> None:
    payload = b.build_payload(
        b.escape_label(text, 50_000) or "x",
        [b.section(f"{number}") for number in range(above)],
        b.COLOR_BAD,
        [b.section(f"beside {number}") for number in range(beside)],
        channel=text,
    )

    assert_valid_payload(payload)
    count = sum(map(len, [payload["blocks"], *(attachment["blocks"] for attachment in payload.get("attachments", []))]))
    assert count == min(above + beside, 50)


def test_drop_blocks_keeps_text_and_channel() -> None:
    payload = b.build_payload("headline", [b.section("x")], b.COLOR_GOOD, [b.section("y")], channel="#ml")

    assert b.drop_blocks(payload) == {"text": "headline", "channel": "#ml"}
