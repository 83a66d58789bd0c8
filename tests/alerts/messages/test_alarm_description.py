"""Alarm descriptions: converted Markdown, honest links, and no pings."""

from __future__ import annotations

import json
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cwnotify.alerts.messages.alarm_description import markdown_to_mrkdwn
from tests.hostile import HOSTILE_STRINGS, SCALARS
from tests.slack_rules import assert_valid_mrkdwn

LINK = re.compile(r"<([^<>|]+)(?:\|([^<>]*))?>")


def link_urls(mrkdwn: str) -> list[str]:
    """Return the URLs of all links in `mrkdwn`."""
    return [match[1].replace("%7C", "|").replace("&amp;", "&") for match in LINK.finditer(mrkdwn)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The `-off` alarm: **page** the on-call", "The `-off` alarm: *page* the on-call"),
        ("## Disk full ##\ntext", "*Disk full*\ntext"),
        ("Disk full\n=========\ntext", "*Disk full*\ntext"),
        ("- one\n  - two\n* three\n+ four", "• one\n    ◦ two\n• three\n• four"),
        ("1. one\n2) two", "1. one\n2. two"),
        ("- [ ] call\n- [x] write", "• ☐ call\n• ☑ write"),
        ("> quoted <b>", "&gt; quoted &lt;b&gt;"),
        ("a\n\n\n\nb\n---\nc", "a\n*b*\nc"),
        ("a\n\n***\n\nc", "a\nc"),
        ("```py\nif `a` < 2:\n    **b**\n```\nend", "```\nif ˋaˋ &lt; 2:\n    **b**\n```\nend"),
        ("```\nnever closed", "```\nnever closed\n```"),
        ("__bold__ *it* _it_ ~~gone~~ ***both***", "*bold* _it_ _it_ ~gone~ *_both_*"),
        ("**a *b* c**", "*a _b_ c*"),
        ("**굵게**은", "*굵게*\u200b은"),
        ("2 * 3 ~ my_alarm_name `open **open", "2 ∗ 3 ∼ my_alarm_name ˋopen ∗∗open"),
        ("**over\nlines**", "∗∗over\nlines∗∗"),
        (r"\*not bold\*", "∗not bold∗"),
        ("| a | b |\n|---|---|\n| 1 | 2 |", "| a | b |\n| 1 | 2 |"),
        ("", ""),
    ],
)
def test_markdown_is_converted(text: str, expected: str) -> None:
    assert markdown_to_mrkdwn(text) == expected
    assert_valid_mrkdwn(expected or "x", 3_000, ())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[Runbook](https://wiki.example/rds)", "<https://wiki.example/rds|Runbook>"),
        ('[Runbook](https://wiki.example/rds "Title")', "<https://wiki.example/rds|Runbook>"),
        ("[**Run** `book`](<https://wiki.example/a>)", "<https://wiki.example/a|Run book>"),
        ("![graph](https://wiki.example/a.png)", "<https://wiki.example/a.png|graph>"),
        ("<https://wiki.example/~ml/*gpu*_x_|Runbook>", "<https://wiki.example/~ml/*gpu*_x_|Runbook>"),
        ("<https://wiki.example/a>", "<https://wiki.example/a>"),
        ("see https://wiki.example/~ml/*gpu*_x_?a=1&b=2.", "see <https://wiki.example/~ml/*gpu*_x_?a=1&amp;b=2>."),
        ("**see https://wiki.example/a_b_**", "*see <https://wiki.example/a_b_>*"),
        ("(https://en.wikipedia.org/wiki/A_(b))", "(<https://en.wikipedia.org/wiki/A_(b)>)"),
        ("https://wiki.example/runbook를 보세요", "<https://wiki.example/runbook>를 보세요"),
        ("https://wiki.example/학습-안내", "<https://wiki.example/학습-안내>"),
        ("[a](https://wiki.example/A_(b))", "<https://wiki.example/A_(b)|a>"),
        (
            "https://eu-west-1.console.aws.amazon.com/x#q=~(end~0~start~-3600~unit~'seconds)",
            "<https://eu-west-1.console.aws.amazon.com/x#q=~(end~0~start~-3600~unit~'seconds)>",
        ),
        ("http://10.0.0.1:8080/x", "<http://10.0.0.1:8080/x>"),
    ],
)
def test_link_keeps_its_url(text: str, expected: str) -> None:
    assert markdown_to_mrkdwn(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[https://aws.amazon.com](https://evil.example/x)", "<https://evil.example/x>"),
        ("[aws.amazon.com](https://evil.example/x)", "<https://evil.example/x>"),
        ("<https://evil.example/x|aws.amazon.com/login>", "<https://evil.example/x>"),
        ("[aws。amazon。com](https://evil.example/x)", "<https://evil.example/x>"),
        ("[aws\u200b.amazon.com](https://evil.example/x)", "<https://evil.example/x>"),
        ("[Go to aws.amazon.com](https://evil.example)", "<https://evil.example|Go to aws.amazon.com (evil.example)>"),
        ("[the aws.amazon.com docs](https://aws.amazon.com/x)", "<https://aws.amazon.com/x|the aws.amazon.com docs>"),
        ("[x](javascript:alert(1))", "[x](javascript:alert(1))"),
        ("<javascript:alert(1)>", "&lt;javascript:alert(1)&gt;"),
        ("[x](/relative) [y](mailto:a@b.example)", "[x](/relative) [y](mailto:a@b.example)"),
        ("https://aws.amazon.com@evil.example/", "https://aws.amazon.com@evil.example/"),
        (r"https://aws.amazon.com\@evil.example/", "https://aws.amazon.com@evil.example/"),
        ("<!channel> <!here|x> <@U1> <#C1> <!subteam^S1>",
         "&lt;!channel&gt; &lt;!here|x&gt; &lt;@U1&gt; &lt;#C1&gt; &lt;!subteam^S1&gt;"),
        ("&lt;!channel&gt; &amp;lt;", "&amp;lt;!channel&amp;gt; &amp;amp;lt;"),
        ("<https://a.example|<!channel>>", "&lt;https://a.example|&lt;!channel&gt;&gt;"),
        ("[<!channel>](https://a.example/x)", "<https://a.example/x|&lt;!channel&gt;>"),
        ("[a|b](https://a.example/x|y)", "<https://a.example/x%7Cy|a∣b>"),
        ("a\u202eb\x00\x1b[31mc", "a\ufffdb\ufffdc"),
    ],
)  # fmt: skip
def test_text_cannot_forge_link_or_ping(text: str, expected: str) -> None:
    assert markdown_to_mrkdwn(text) == expected


def test_lead_makes_first_line_bold_and_bold_false_removes_bold() -> None:
    text = "CPU is too high! See [this](https://a.example)\n**Page** the on-call"
    assert markdown_to_mrkdwn(text, lead=True) == "*CPU is too high! See <https://a.example|this>*\n*Page* the on-call"
    assert markdown_to_mrkdwn(text, bold=False) == "CPU is too high! See <https://a.example|this>\nPage the on-call"
    # The first line already has bold text.
    assert markdown_to_mrkdwn("**Writes stop.** Grow it", lead=True) == "*Writes stop.* Grow it"
    assert markdown_to_mrkdwn("- a\n- b", lead=True) == "• a\n• b"
    assert markdown_to_mrkdwn("# CPU!\n```\n**x**\n```", bold=False) == "CPU!\n```\n**x**\n```"


def test_json_object_becomes_one_line_per_field() -> None:
    fields = {
        "owner": "ml team", "runbook": "https://wiki.example/~ml/_x_", "n": 3, "on": True, "none": None,
        "tags": ["a", "b"], "deep": {"<!channel>": "*"}, "lines": "a\nb", "<!here>": "<!here>\u202e",
    }  # fmt: skip
    assert markdown_to_mrkdwn(json.dumps(fields)).split("\n") == [
        "*owner*: ml team",
        "*runbook*: <https://wiki.example/~ml/_x_>",
        "*n*: 3",
        "*on*: true",
        "*none*: null",
        "*tags*: a, b",
        '*deep*: `{"&lt;!channel&gt;": "*"}`',
        "*lines*: a b",
        "*&lt;!here&gt;*: &lt;!here&gt;\ufffd",
    ]
    assert markdown_to_mrkdwn('{"a": "**b**"}', lead=True, bold=False) == "a: b"
    assert markdown_to_mrkdwn("{not json}") == "{not json}"
    assert markdown_to_mrkdwn("[" * 3_001) == "[" * 2_999 + "…"


def test_long_description_is_cut_between_words_and_links() -> None:
    text = "see https://wiki.example/a_long_path and " * 100
    output = markdown_to_mrkdwn(text, 300)
    assert 200 < len(output) <= 300
    assert set(link_urls(output)) == {"https://wiki.example/a_long_path"}
    assert output.endswith("…")
    assert 2_890 < len(markdown_to_mrkdwn("&" * 5_000, 2_900)) <= 2_900
    assert markdown_to_mrkdwn("```\n" + "x\n" * 3_000 + "```", 500).endswith("…\n```")
    assert_valid_mrkdwn(markdown_to_mrkdwn("\n".join(["**" + "&" * 100 + "**"] * 100), 2_900), 2_900, ())


PIECES = (
    *("https://a.example/x_*~", "<https://b.example|t>", "[t](https://c.example)", "[t](javascript:x)", "<!channel>"),
    *("**", "*", "__", "_", "~~", "~", "`", "```", "\n", "\n- ", "\n1. ", "\n# ", "\n> ", "\n===\n", " ", "가", "a"),
    *("<@U1>", "&lt;", "|", "[", "](", ")", "\\", "https://", "<", ">", "&", '"', "(", "\u202e", "\u200b", "\x00"),
    *("\x01", "{", "}", ":x:"),
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=60).map("".join)
    | st.sampled_from(HOSTILE_STRINGS)
    | st.dictionaries(st.text(max_size=8), SCALARS, max_size=5).map(lambda fields: json.dumps(fields, default=str)),
    st.sampled_from([5, 80, 600, 3_000]),
    st.booleans(),
    st.booleans(),
)
def test_any_description_becomes_valid_mrkdwn(text: str, limit: int, lead: bool, bold: bool) -> None:
    output = markdown_to_mrkdwn(text, limit, lead, bold)
    assert len(output) <= limit
    if output.strip():
        assert_valid_mrkdwn(output, limit, ())
    parsed = json.loads(text) if text[:1] == "{" and text[-1:] == "}" and _is_json(text) else text
    for url in link_urls(output):
        assert re.match(r"(?i)https?://[^/@]+", url)
        assert url in json.dumps(parsed, ensure_ascii=False) or url in text


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(
    "text",
    ["[", "`", "**a ", "# " + " " * 99, "[]", "_a", "https://", "[x](" + " " * 99, "<https://a|", "~~~", "-", "| "],
)
def test_conversion_is_fast_for_repeated_marks(text: str) -> None:
    start = time.perf_counter()
    markdown_to_mrkdwn((text * 12_000)[:12_000] + "x")
    markdown_to_mrkdwn((text * 5_900)[:5_900] + "x")
    assert time.perf_counter() - start < 2
