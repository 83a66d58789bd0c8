"""The panel as HTML and as text: every state has a symbol and a text, and every text from outside is escaped."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cwnotify.view import html
from cwnotify.view.css import build_stylesheet
from cwnotify.view.format import alarm_marker, format_local_time
from cwnotify.view.snapshot import (
    PanelAlarm,
    PanelProblem,
    PanelRequest,
    PanelRun,
    PlotLine,
    SlackHealth,
    Snapshot,
    WatchedInstance,
)
from cwnotify.view.text import render_text
from tests.hostile import HOSTILE_STRINGS
from tests.support.panel_feed import healthy_snapshot, troubled_snapshot

AT = 1_795_400_647.0
PNG = b"\x89PNG not really"
VOID_ELEMENTS = {"img", "path", "br"}


class MarkupParser(HTMLParser):
    """Collect the tags and the visible text. Elements must be closed in the right order."""

    def __init__(self) -> None:
        super().__init__()
        self.open_tags: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID_ELEMENTS:
            self.open_tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert tag in VOID_ELEMENTS or self.open_tags.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open_tags:
            self.texts.append(data)


def parse(markup: str) -> MarkupParser:
    """Parse HTML and check that every element is closed."""
    parser = MarkupParser()
    parser.feed(markup)
    parser.close()
    assert parser.open_tags == []
    return parser


def attributes_of(markup: str, tag: str) -> list[dict[str, str]]:
    """Return the attributes of each element with this tag."""
    return [attributes for name, attributes in parse(markup).tags if name == tag]


def visible_text(markup: str) -> str:
    """Return the text that a page shows."""
    return "".join(parse(markup).texts)


def render_pieces(snapshot: Snapshot) -> Iterator[str]:
    """Render every piece of HTML."""
    yield html.render_subject(snapshot)
    yield html.render_freshness(snapshot)
    yield html.render_notices(snapshot)
    yield html.render_runs(snapshot)
    yield html.render_status(snapshot, ["a note"])
    yield html.render_static_panel(snapshot, PNG, PNG)


def snapshot_with(**fields: Any) -> Snapshot:
    """Return a snapshot that holds only `fields`."""
    return replace(Snapshot(AT, PanelRequest()), **fields)


@pytest.mark.parametrize("build", [healthy_snapshot, troubled_snapshot])
def test_every_piece_is_well_formed(build: Callable[[float], Snapshot]) -> None:
    for piece in render_pieces(build(AT)):
        parse(piece)


@pytest.mark.parametrize("build", [healthy_snapshot, troubled_snapshot])
def test_panel_describes_the_plot_in_text(build: Callable[[float], Snapshot]) -> None:
    text = " ".join(map(visible_text, render_pieces(build(AT)))) + render_text(build(AT))

    for part in ("i-0abc12f9 train-3", "train-off · ALARM since", "training ended", "train-busy · OK since"):
        assert part in text
    if build is healthy_snapshot:
        assert "running 00:01:12" in text
        assert "failed after 3 s · ValueError: batch_size" in text
        assert "basic monitoring, 5 min" in text
    else:
        assert "the role lacks cloudwatch:GetMetricData" in text
        assert f"Last success {format_local_time(AT - 300, AT, show_seconds=True)}" in text
        assert "stale" in text
        assert "Slack: 1 dead, 404 no_service" in text


def hostile_snapshot(name: str) -> Snapshot:
    """Return a snapshot in which every text is `name`."""
    return Snapshot(
        AT,
        PanelRequest(),
        (WatchedInstance(name, name, name, name, name, name, name),),
        name,
        name,
        (PlotLine(name, False, 300.0, ((AT, 5.0),)),),
        (PanelAlarm(name, name, AT, None, 5.0, name), PanelAlarm(name, "ALARM", AT, True, url=f"https://x/{name}")),
        (PanelRun(name, AT - 5, AT, name, name, name, (5.0,), AT), PanelRun(name, AT - 5, place=name)),
        SlackHealth(True, AT, 0, 1, name),
        (PanelProblem(name, AT, AT),),
        AT,
    )


ALLOWED_TAGS = {"a", "bdi", "div", "img", "li", "p", "path", "span", "style", "svg", "ul"}
CONTROL_CHARACTERS = r"[\x00-\x09\x0b-\x1f\u202a-\u202e\ud800-\udfff]"
SCRIPTS = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "javascript:alert(1)", "</style><b>", "&lt;")
HOSTILE_TEXTS = [*HOSTILE_STRINGS, *SCRIPTS]


@pytest.mark.parametrize("name", HOSTILE_TEXTS, ids=range(len(HOSTILE_TEXTS)))
def test_text_from_outside_is_escaped(name: str) -> None:
    for piece in render_pieces(hostile_snapshot(name)):
        parser = parse(piece)
        assert {tag for tag, _ in parser.tags} <= ALLOWED_TAGS
        for tag, attributes in parser.tags:
            assert not [attribute for attribute in attributes if attribute.startswith("on")]
            assert attributes.get("href", "https://").startswith("https://")
            assert tag != "img" or attributes["src"].startswith("data:image/png;base64,")
        assert not re.search(CONTROL_CHARACTERS, piece)
        piece.encode()


@given(st.text(max_size=60))
def test_any_text_adds_no_tags(name: str) -> None:
    for piece in render_pieces(hostile_snapshot(name)):
        assert {tag for tag, _ in parse(piece).tags} <= ALLOWED_TAGS
    assert "\x1b" not in render_text(hostile_snapshot(name))


@pytest.mark.parametrize("name", HOSTILE_TEXTS, ids=range(len(HOSTILE_TEXTS)))
def test_text_version_has_one_line_per_item(name: str) -> None:
    text = render_text(hostile_snapshot(name))

    assert len(text.split("\n")) == len(render_text(hostile_snapshot("x")).split("\n"))
    assert not re.search(CONTROL_CHARACTERS, text)


@pytest.mark.parametrize(
    ("alarm", "text"),
    [
        (PanelAlarm("a", "OK", AT), "● a · OK since"),
        (PanelAlarm("a", "ALARM", AT, False), "▲ a · ALARM since"),
        (PanelAlarm("a", "ALARM", AT, True), "✓ a · ALARM since"),
        (PanelAlarm("a", "ALARM", AT, None), "○ a · ALARM since"),
        (PanelAlarm("a", "INSUFFICIENT_DATA", 0.0), "○ a · no data"),
        (PanelAlarm("a", "INSUFFICIENT_DATA", AT), "○ a · no data since"),
        (PanelAlarm("a", "SOMETHING_NEW", AT), "○ a · SOMETHING_NEW since"),
    ],
)
def test_alarm_state_has_symbol_and_text(alarm: PanelAlarm, text: str) -> None:
    snapshot = snapshot_with(alarms=(alarm,))

    assert text in visible_text(html.render_notices(snapshot))
    assert text in render_text(snapshot)


@pytest.mark.parametrize(
    ("state", "note", "is_visible"),
    [("ALARM", "training ended", True), ("ALARM", "idle", True), ("OK", "training ended", False)],
)
def test_only_firing_alarm_shows_its_note(state: str, note: str, is_visible: bool) -> None:
    snapshot = snapshot_with(alarms=(PanelAlarm("a", state, AT, True, note=note),))

    assert (f"· {note}" in visible_text(html.render_notices(snapshot))) is is_visible


def test_alarm_without_note_shows_only_its_state() -> None:
    text = visible_text(html.render_notices(snapshot_with(alarms=(PanelAlarm("a", "ALARM", AT, True),))))

    assert text.endswith(format_local_time(AT, AT))


def test_ok_of_welcome_alarm_is_calm() -> None:
    assert alarm_marker(PanelAlarm("busy", "OK", AT, False)) == ("●", "good")
    assert alarm_marker(PanelAlarm("off", "OK", AT, True)) == ("●", "calm")
    assert alarm_marker(PanelAlarm("off", "ALARM", AT, True)) == ("✓", "good")
    assert alarm_marker(PanelAlarm("off", "ALARM", AT, None)) == ("○", "calm")


def test_firing_alarms_come_first_and_hidden_alarms_are_counted() -> None:
    alarms = tuple(PanelAlarm(f"a{n}", "ALARM" if n == 40 else "OK", AT) for n in range(41))
    text = visible_text(html.render_notices(snapshot_with(alarms=alarms)))

    assert text.index("a40") < text.index("a0")
    assert "and 31 more alarms" in text


def test_alarm_links_to_cloudwatch_in_new_page() -> None:
    alarm = PanelAlarm("a", "OK", AT, url="https://eu-west-1.console.aws.amazon.com/cloudwatch/home?a=1&b=2#alarm")
    (link,) = attributes_of(html.render_notices(snapshot_with(alarms=(alarm,))), "a")

    assert (link["href"], link["rel"]) == (alarm.url, "noopener noreferrer")


@pytest.mark.parametrize(
    ("run", "text"),
    [
        (PanelRun("r", AT - 3672), "▶ r running 01:01:12"),
        (PanelRun("r", AT - 100 * 3600), "▶ r running 100:00:00"),
        (PanelRun("r", AT + 60), "▶ r running 00:00:00"),
        (PanelRun("r", AT - 8040, AT, "finished"), "✓ r finished in 2 h 14 min"),
        (PanelRun("r", AT - 3, AT, "failed", "E: no"), "✕ r failed after 3 s · E: no"),
        (PanelRun("r", AT - 60, AT, "interrupted"), "■ r interrupted after 1 min"),
        (PanelRun("r", AT - 60, AT, "lost"), "✕ r lost after 1 min"),
    ],
)
def test_run_outcome_has_symbol_and_text(run: PanelRun, text: str) -> None:
    snapshot = snapshot_with(runs=(run,))
    cells = " ".join(cell for cell in parse(html.render_runs(snapshot)).texts if cell)

    assert cells.replace("  ", " ").startswith(text)
    assert text in render_text(snapshot)


def test_running_runs_come_first_then_latest() -> None:
    runs = (PanelRun("old", 1, 2, "finished"), PanelRun("new", 3, 4, "finished"), PanelRun("now", 0))
    text = visible_text(html.render_runs(snapshot_with(runs=runs)))

    assert text.index("now") < text.index("new") < text.index("old")


def test_run_shows_delivery_time_or_place() -> None:
    run = PanelRun("r", AT - 60, AT, "finished", place="In [3]", notified=AT + 5)
    delivered = visible_text(html.render_runs(snapshot_with(runs=(run,))))
    pending = visible_text(html.render_runs(snapshot_with(runs=(replace(run, notified=0.0),))))

    assert f"Slack {format_local_time(AT + 5, AT, show_seconds=True)}" in delivered
    assert "In [3]" in pending


def test_sparkline_has_label() -> None:
    (sparkline,) = attributes_of(
        html.render_runs(snapshot_with(runs=(PanelRun("r", AT - 60, cpu=(10.0, 30.0)),))), "svg"
    )

    assert sparkline["aria-label"] == "CPU over the run: 20 % on average, 30 % at most"


@pytest.mark.parametrize(
    ("health", "text"),
    [
        (SlackHealth(), "no webhook is configured; run %cwnotify login"),
        (SlackHealth(True), "nothing sent yet, none waiting"),
        (SlackHealth(True, AT, 3), f"last delivered {format_local_time(AT, AT, show_seconds=True)}, 3 waiting"),
        (SlackHealth(True, AT, 0, 2, "404 no_service"), "2 dead, 404 no_service"),
        (SlackHealth(True, AT, 0, 2), "2 dead, see: %cwnotify outbox"),
        (SlackHealth(True, AT, muted_until=AT + 60), f"alarms muted until {format_local_time(AT + 60, AT)}"),
    ],
)
def test_slack_health_is_one_sentence(health: SlackHealth, text: str) -> None:
    snapshot = snapshot_with(health=health)

    assert text in visible_text(html.render_status(snapshot))
    assert text in render_text(snapshot)


@pytest.mark.parametrize(
    ("snapshot", "text"),
    [
        (snapshot_with(), "nothing read yet"),
        (snapshot_with(updated=AT), f"updated {format_local_time(AT, AT, show_seconds=True)}"),
        (snapshot_with(updated=AT - 600, stale=True), "⚠ stale: last read"),
    ],
)
def test_freshness_shows_time_of_last_read(snapshot: Snapshot, text: str) -> None:
    assert text in visible_text(html.render_freshness(snapshot))


def test_each_status_restarts_the_cover_timeout() -> None:
    assert html.render_status(snapshot_with()) != html.render_status(replace(snapshot_with(), at=AT + 1))
    assert "No update from the kernel since" in html.render_status(snapshot_with())


def test_subject_names_instances() -> None:
    instances = tuple(WatchedInstance(f"i-{n}", f"n{n}") for n in range(5))

    assert visible_text(html.render_subject(snapshot_with())) == "This hostno EC2 instance is watched"
    assert visible_text(html.render_subject(snapshot_with(subjects=instances[:1]))) == "i-0 n0"
    assert visible_text(html.render_subject(snapshot_with(subjects=instances))) == "5 instancesn0, n1, n2 and 2 more"


def test_text_header_names_instances() -> None:
    instances = tuple(WatchedInstance(f"i-{n}", f"n{n}") for n in range(5))

    assert "cwnotify · this host · last 3 h · nothing read yet" in render_text(snapshot_with())
    assert "cwnotify · i-0 n0 i-1 n1 i-2 n2 and 2 more · last 3 h" in render_text(snapshot_with(subjects=instances))


def test_static_plot_has_alternative_text() -> None:
    plots = attributes_of(html.render_static_panel(healthy_snapshot(AT), PNG, PNG), "img")

    assert [plot["class"] for plot in plots] == ["cw-light", "cw-dark"]
    assert all("CPU over the last 3 h" in plot["alt"] for plot in plots)
    assert "display:none" in plots[1]["style"], "a page that removes styles must show only one plot"
    assert attributes_of(html.render_static_panel(healthy_snapshot(AT), b"", b""), "img") == []


def test_style_sheet_is_well_formed_and_affects_only_panels() -> None:
    rules = re.sub(r"@\w+[^{;]*\{", "{", build_stylesheet())

    assert rules.count("{") == rules.count("}")
    assert "</" not in rules
    for selector in re.findall(r"([^{};]+)\{", build_stylesheet()):
        is_ours = re.search(r"cwnotify|@media|@container|@keyframes|^\s*to\s*$", selector)
        assert is_ours, f"{selector.strip()} would change the rest of the page"


def test_line_is_sparkline_in_text() -> None:
    line = PlotLine("CloudWatch, 5 min", False, 300.0, ((AT - 600, 0.0), (AT - 300, 50.0), (AT, 100.0)))

    assert "CPU ▁▃▆ 100 %  CloudWatch, 5 min" in render_text(snapshot_with(lines=(line,)))
    assert "CPU no data  CloudWatch, 5 min" in render_text(snapshot_with(lines=(replace(line, points=()),)))
    assert "▁▁ 7 B" in render_text(snapshot_with(lines=(replace(line, points=((AT - 1, 7.0), (AT, 7.0))),), unit="B"))
