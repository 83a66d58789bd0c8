"""The preview: how messages are rendered, and that no payload can break the page or run a script."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta, timezone
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cwnotify import alerts
from cwnotify.alerts.messages import block_kit as b
from cwnotify.preview import build_block_kit_builder_url, render_message_html, render_page_html
from cwnotify.preview.mrkdwn import render_mrkdwn_html, render_plain_text_html

KST = timezone(timedelta(hours=9), "KST")
AT = datetime(2026, 11, 22, 15, 16, tzinfo=KST)
VOID = {"br", "hr", "meta", "link"}
TAGS = VOID | {
    "html", "head", "title", "style", "body", "main", "section", "h1", "h2", "h3", "h4", "ol", "li", "article",
    "header", "div", "span", "time", "p", "a", "b", "i", "s", "code", "pre", "blockquote", "figure", "figcaption",
}  # fmt: skip
ATTRIBUTES = {
    "lang", "charset", "http-equiv", "content", "name", "rel", "href", "class", "id", "aria-label",
    "aria-labelledby", "aria-live", "aria-hidden", "datetime", "style", "target",
}  # fmt: skip


class DocumentCheck(HTMLParser):
    """Asserts that a document has only the preview's tags and attributes, correct nesting and safe links."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open_tags: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.open_tags, f"never closed: {self.open_tags}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS, f"unexpected tag: {tag}"
        values = dict(attrs)
        assert set(values) <= ATTRIBUTES, f"unexpected attribute: {sorted(values)} on {tag}"
        if tag == "a":
            assert "a" not in self.open_tags, "nested link"
            href = values["href"] or ""
            assert urlsplit(href).scheme in ("http", "https"), href
            assert "noopener" in (values["rel"] or "")
            self.links.append(href)
        if tag not in VOID:
            self.open_tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open_tags
        assert self.open_tags.pop() == tag

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"unexpected comment: {data}")

    def handle_data(self, data: str) -> None:
        if "style" not in self.open_tags:
            self.text += data


HOSTILE = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", '"><svg onload=alert(1)>', "' onclick='x",
    "<javascript:alert(1)|click>", "<http://a.b/\"onmouseover=\"x|hi>", "<https://a.b|<b>x</b>>", "<https://[|x>",
    "<data:text/html,x|y>", "<!--", "]]>", "</style><script>", "&lt;script&gt;", "&#60;script&#62;", "```", "`",
    "*", "_", "~", "&gt;", ">>>", "<", ">", "|", "\n", ":x:", "https://a.b/", "\ud800", "\x00", "\u202e", "<@U1|",
    "<!date^1^{date}^javascript:alert(1)|", "http://a.b?x=&quot;", "가", " ",
]  # fmt: skip
hostile_text = st.lists(st.sampled_from(HOSTILE) | st.text(max_size=8), max_size=12).map("".join)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | hostile_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(hostile_text, inner, max_size=3),
    max_leaves=6,
)


def mostly(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return a strategy for valid values, and sometimes any value."""
    return st.one_of(strategy, strategy, strategy, anything)


def objects(types: list[str], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return a strategy for objects with some of these fields."""
    return st.fixed_dictionaries(
        {"type": mostly(st.sampled_from(types))}, optional={k: mostly(v) for k, v in fields.items()}
    )


text_objects = objects(["mrkdwn", "plain_text"], text=hostile_text)
elements = text_objects | objects(
    ["button", "image"], text=text_objects, url=hostile_text, style=hostile_text, image_url=hostile_text,
    alt_text=hostile_text,
)  # fmt: skip
blocks = objects(
    ["header", "section", "context", "divider", "actions", "image", "rich_text"],
    text=text_objects, fields=st.lists(mostly(text_objects), max_size=3), accessory=elements,
    elements=st.lists(mostly(elements), max_size=3), title=text_objects, image_url=hostile_text,
    alt_text=hostile_text,
)  # fmt: skip
block_lists = st.lists(mostly(blocks), max_size=4)
attachments = st.fixed_dictionaries(
    {}, optional={"color": mostly(hostile_text), "blocks": mostly(block_lists), "text": mostly(hostile_text)}
)
payloads = mostly(
    st.fixed_dictionaries(
        {},
        optional={
            "text": mostly(hostile_text),
            "blocks": mostly(block_lists),
            "attachments": mostly(st.lists(mostly(attachments), max_size=2)),
        },
    )
)


@given(payloads)
def test_any_payload_renders_without_its_own_markup(payload: Any) -> None:
    html = render_page_html([(payload, AT)], "Preview")
    html.encode("utf-8")
    DocumentCheck(html)


@given(hostile_text)
def test_any_text_renders_without_its_own_markup(text: str) -> None:
    DocumentCheck(render_mrkdwn_html(text))
    assert not DocumentCheck(render_plain_text_html(text)).links


@given(st.text(alphabet="*_~`<>|: a&;가\n", max_size=60))
def test_mrkdwn_keeps_all_letters(text: str) -> None:
    def letters(value: str) -> str:
        return "".join(c for c in value if c in "a가")

    assert letters(DocumentCheck(render_mrkdwn_html(text)).text) == letters(text)


@given(payloads)
def test_any_payload_has_a_builder_link(payload: Any) -> None:
    content = json.loads(unquote(build_block_kit_builder_url(payload).partition("#")[2]))
    assert set(content) == {"blocks", "attachments"}


@pytest.mark.parametrize(
    ("mrkdwn", "html"),
    [
        ("*bold* _it_ ~no~ `a*b*`", "<b>bold</b> <i>it</i> <s>no</s> <code>a*b*</code>"),
        ("*_both_*", "<b><i>both</i></b>"),
        ("*bold*, (*bold*)", "<b>bold</b>, (<b>bold</b>)"),
        ("snake_case_name 2*3*4", "snake_case_name 2*3*4"),
        ("* not bold * and **", "* not bold * and **"),
        ("*기차*의 소식", "*기차*의 소식"),
        ("one\ntwo", "one<br>two"),
        ("a &lt;b&gt; &amp;amp; &quot;", "a &lt;b&gt; &amp;amp; &amp;quot;"),
        ("a\n```\nx = *1*\n y\n```\nb", "a<pre><code>x = *1*\n y</code></pre>b"),
        ("&gt; q\n> *r*\nafter", "<blockquote>q<br><b>r</b></blockquote>after"),
        ("before\n>>> q\nr", "before<blockquote>q<br>r</blockquote>"),
        (":x: :no_such_emoji: 13:02:07", "❌ :no_such_emoji: 13:02:07"),
        ("<!here>", '<span class="mention everyone">@here</span>'),
        ("<@U12|minsu> <@U12>", '<span class="mention">@minsu</span> <span class="mention">@U12</span>'),
        ("<!subteam^S1|@ml>", '<span class="mention">@ml</span>'),
        ("<#C1|general>", '<span class="mention">#general</span>'),
        ("<!date^1^{date}^https://a.b|22 Nov>", "22 Nov"),
        ("<javascript:alert(1)|click>", "&lt;javascript:alert(1)|click&gt;"),
    ],
)  # fmt: skip
def test_mrkdwn_is_rendered_as_in_slack(mrkdwn: str, html: str) -> None:
    assert render_mrkdwn_html(mrkdwn) == html


def test_every_emoji_of_alerts_is_rendered() -> None:
    sources = Path(alerts.__path__[0]).rglob("*.py")
    used = {name for source in sources for name in re.findall(r'"(:[a-z_]+:)[" ]', source.read_text("utf-8"))}
    assert ":white_check_mark:" in used
    assert {name for name in used if render_plain_text_html(name) == name} == set()


@pytest.mark.parametrize(
    ("mrkdwn", "target", "text"),
    [
        ("<https://a.b/?x=1&amp;y=2|a *name*>", "https://a.b/?x=1&y=2", "a *name*"),
        ("<https://a.b>", "https://a.b", "https://a.b"),
        ("see https://a.b/c.", "https://a.b/c", "see https://a.b/c."),
    ],
)
def test_links_have_target_and_text(mrkdwn: str, target: str, text: str) -> None:
    document = DocumentCheck(render_mrkdwn_html(mrkdwn))
    assert document.links == [target]
    assert document.text == text


def test_message_shows_all_parts() -> None:
    payload = b.build_payload(
        ":white_check_mark: *resnet50* finished",
        [b.section(":white_check_mark: *resnet50* finished in 3 s"), {"type": "divider"}, b.context("train.ipynb")],
        b.COLOR_GOOD,
        [
            *b.two_column_sections([("loss", "0.2"), ("acc", "0.9")]),
            *b.link_buttons([("CloudWatch", "https://aws.example/x")]),
        ],
    )
    html = render_message_html(payload, AT)
    document = DocumentCheck(html)
    assert document.links == ["https://aws.example/x"]
    for text in ("cwnotify", "APP", "3:16 PM", "✅ resnet50 finished in 3 s", "train.ipynb", "loss", "CloudWatch"):
        assert text in document.text
    assert f"--bar:{b.COLOR_GOOD}" in html
    assert 'aria-label="✅ resnet50 finished"' in html
    assert 'class="button primary"' in html
    assert '<time datetime="2026-11-22T15:16:00+09:00">' in html


def test_korean_message_has_language_and_korean_time() -> None:
    html = render_message_html({"text": "학습이 끝났어요"}, AT)
    assert 'lang="ko"' in html
    assert "오후 3:16" in html


def test_text_is_shown_only_without_blocks() -> None:
    assert "hello" in DocumentCheck(render_message_html({"text": "hello"})).text
    assert "hello" not in DocumentCheck(render_message_html({"text": "hello", "blocks": [b.section("other")]})).text


@pytest.mark.parametrize(
    ("payload", "placeholder"),
    [
        ({"blocks": [{"type": "rich_text"}]}, "“rich_text”"),
        ({"blocks": ["no block"]}, "“?”"),
        ({"blocks": [{"type": "actions", "elements": [{"type": "datepicker"}]}]}, "“datepicker”"),
        ({"blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": 3}}]}, "Text is missing"),
        ({"attachments": [{"color": "red;}"}]}, "This attachment is empty"),
        ([], "This message is empty"),
    ],
)
def test_unsupported_part_becomes_a_placeholder(payload: Any, placeholder: str) -> None:
    assert placeholder in DocumentCheck(render_message_html(payload)).text


def test_picture_is_linked_but_not_embedded() -> None:
    image = {"type": "image", "image_url": "https://a.b/x.png", "alt_text": "CPU over the run"}
    document = DocumentCheck(render_message_html({"blocks": [image]}))
    assert "CPU over the run" in document.text
    assert document.links == ["https://a.b/x.png"]


def test_builder_link_contains_blocks_and_attachments() -> None:
    def parse_link(payload: Any) -> Any:
        return json.loads(
            unquote(build_block_kit_builder_url(payload).removeprefix("https://app.slack.com/block-kit-builder/#"))
        )

    payload = b.build_payload("끝 & <!here>", [b.section("끝 & 100 %")], b.COLOR_BAD, [{"type": "divider"}], "alerts")
    assert parse_link(payload) == {"blocks": payload["blocks"], "attachments": payload["attachments"]}
    assert parse_link({"text": "끝"}) == {"blocks": [b.section("끝")], "attachments": []}


def test_recursive_payload_renders() -> None:
    blocks: list[Any] = []
    blocks.append(blocks)
    DocumentCheck(render_page_html([({"blocks": blocks}, None)], "Preview"))


def test_page_loads_nothing_and_allows_only_its_script() -> None:
    page = render_page_html([], "Title & more", subtitle="<none>")
    assert "script-src 'none'" in page
    assert "<script" not in page
    assert "Title &amp; more" in page
    assert "&lt;none&gt;" in page
    assert "url(" not in page
    assert "script-src 'sha256-" in render_page_html([], "Live", script="poll();")
