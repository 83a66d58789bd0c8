"""The panel's pieces: every state has its sign and its word, and nothing that comes from outside is HTML."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cwnotify.errors import UsageError
from cwnotify.view import html
from cwnotify.view.css import build_stylesheet
from cwnotify.view.format import alarm_marker, format_local_time
from cwnotify.view.options import build_panel_request, panel_parser, parse_panel_arguments
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
ALONE = {"img", "path", "br"}


class Reader(HTMLParser):
    """What a browser would make of it; tags have to be closed in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in ALONE:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert tag in ALONE or self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)


def read(markup: str) -> Reader:
    reader = Reader()
    reader.feed(markup)
    reader.close()
    assert reader.open == []
    return reader


def words(markup: str) -> str:
    """What a person reads."""
    return "".join(read(markup).words)


def pieces(snapshot: Snapshot) -> Iterator[str]:
    yield html.render_subject(snapshot)
    yield html.render_freshness(snapshot)
    yield html.render_notices(snapshot)
    yield html.render_runs(snapshot)
    yield html.render_status(snapshot, ["a note"])
    yield html.render_static_panel(snapshot, PNG, PNG)


def only(**parts: object) -> Snapshot:
    return replace(Snapshot(AT, PanelRequest()), **parts)


@pytest.mark.parametrize("scene", [healthy_snapshot, troubled_snapshot])
def test_every_piece_is_whole(scene):
    for piece in pieces(scene(AT)):
        read(piece)


@pytest.mark.parametrize("scene", [healthy_snapshot, troubled_snapshot])
def test_the_pictures_story_is_told(scene):
    said = " ".join(map(words, pieces(scene(AT)))) + render_text(scene(AT))

    for word in ("i-0abc12f9 train-3", "train-off · ALARM since", "training ended", "train-busy · OK since"):
        assert word in said
    if scene is healthy_snapshot:
        assert "running 00:01:12" in said
        assert "failed after 3 s · ValueError: batch_size" in said
        assert "basic monitoring, 5 min" in said
    else:
        assert "the role lacks cloudwatch:GetMetricData" in said
        assert f"Last well {format_local_time(AT - 300, AT, show_seconds=True)}" in said
        assert "stale" in said
        assert "Slack: 1 dead, 404 no_service" in said


def hostile(name: str) -> Snapshot:
    """A snapshot in which every text is `name`."""
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


ALLOWED = {"a", "bdi", "div", "img", "li", "p", "path", "span", "style", "svg", "ul"}
SCRIPTS = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "javascript:alert(1)", "</style><b>", "&lt;")


@pytest.mark.parametrize("name", [*HOSTILE_STRINGS, *SCRIPTS], ids=range(len(HOSTILE_STRINGS) + len(SCRIPTS)))
def test_nothing_from_outside_is_html(name: str):
    for piece in pieces(hostile(name)):
        reader = read(piece)
        assert {tag for tag, _ in reader.tags} <= ALLOWED
        for tag, attributes in reader.tags:
            assert not [one for one in attributes if one.startswith("on")]
            assert attributes.get("href", "https://").startswith("https://")
            assert tag != "img" or attributes["src"].startswith("data:image/png;base64,")
        assert not re.search(r"[\x00-\x09\x0b-\x1f\u202a-\u202e\ud800-\udfff]", piece)
        piece.encode()


@given(st.text(max_size=60))
def test_any_text_is_only_text(name: str):
    for piece in pieces(hostile(name)):
        assert {tag for tag, _ in read(piece).tags} <= ALLOWED
    assert "\x1b" not in render_text(hostile(name))


@pytest.mark.parametrize("name", [*HOSTILE_STRINGS, *SCRIPTS], ids=range(len(HOSTILE_STRINGS) + len(SCRIPTS)))
def test_the_text_version_keeps_a_thing_a_line(name: str):
    assert len(render_text(hostile(name)).split("\n")) == len(render_text(hostile("x")).split("\n"))
    assert not re.search(r"[\x00-\x09\x0b-\x1f\u202a-\u202e\ud800-\udfff]", render_text(hostile(name)))


@pytest.mark.parametrize(
    ("alarm", "shown"),
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
def test_every_state_of_an_alarm_has_its_sign_and_word(alarm: PanelAlarm, shown: str):
    assert shown in words(html.render_notices(only(alarms=(alarm,))))
    assert shown in render_text(only(alarms=(alarm,)))


def test_only_news_of_an_end_is_called_one():
    for state, note in (("ALARM", "training ended"), ("ALARM", "idle"), ("OK", "training ended"), ("ALARM", "")):
        shown = words(html.render_notices(only(alarms=(PanelAlarm("a", state, AT, True, note=note),))))
        assert ("· training ended" in shown) is (state == "ALARM" and note == "training ended")
        assert ("· idle" in shown) is (note == "idle")


def test_ok_is_no_news_of_an_alarm_whose_firing_is_welcome():
    assert alarm_marker(PanelAlarm("busy", "OK", AT, False)) == ("●", "good")
    assert alarm_marker(PanelAlarm("off", "OK", AT, True)) == ("●", "calm")
    assert alarm_marker(PanelAlarm("off", "ALARM", AT, True)) == ("✓", "good")
    assert alarm_marker(PanelAlarm("off", "ALARM", AT, None)) == ("○", "calm")


def test_alarms_that_fire_come_first_and_many_are_counted():
    alarms = tuple(PanelAlarm(f"a{n}", "ALARM" if n == 40 else "OK", AT) for n in range(41))
    shown = words(html.render_notices(only(alarms=alarms)))

    assert shown.index("a40") < shown.index("a0")
    assert "and 31 more alarms" in shown


def test_an_alarm_leads_to_cloudwatch_in_a_page_of_its_own():
    alarm = PanelAlarm("a", "OK", AT, url="https://eu-west-1.console.aws.amazon.com/cloudwatch/home?a=1&b=2#alarm")
    links = [attributes for tag, attributes in read(html.render_notices(only(alarms=(alarm,)))).tags if tag == "a"]

    assert [(one["href"], one["rel"]) for one in links] == [(alarm.url, "noopener noreferrer")]


@pytest.mark.parametrize(
    ("run", "shown"),
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
def test_every_outcome_of_a_run_has_its_sign_and_word(run: PanelRun, shown: str):
    cells = [cell for cell in read(html.render_runs(only(runs=(run,)))).words if cell]

    assert " ".join(cells).replace("  ", " ").startswith(shown.replace(" · ", " · "))
    assert shown in render_text(only(runs=(run,)))


def test_what_runs_comes_first_then_the_last():
    runs = (PanelRun("old", 1, 2, "finished"), PanelRun("new", 3, 4, "finished"), PanelRun("now", 0))
    shown = words(html.render_runs(only(runs=runs)))

    assert shown.index("now") < shown.index("new") < shown.index("old")


def test_a_run_says_where_it_is_or_when_slack_was_told():
    told = PanelRun("r", AT - 60, AT, "finished", place="In [3]", notified=AT + 5)

    assert f"Slack {format_local_time(AT + 5, AT, show_seconds=True)}" in words(html.render_runs(only(runs=(told,))))
    assert "In [3]" in words(html.render_runs(only(runs=(replace(told, notified=0.0),))))


def test_a_sparkline_is_told_in_words():
    markup = html.render_runs(only(runs=(PanelRun("r", AT - 60, cpu=(10.0, 30.0)),)))
    (spark,) = [attributes for tag, attributes in read(markup).tags if tag == "svg"]

    assert spark["aria-label"] == "CPU over the run: 20 % on average, 30 % at most"


@pytest.mark.parametrize(
    ("health", "shown"),
    [
        (SlackHealth(), "no webhook is configured; run %cwnotify login"),
        (SlackHealth(True), "nothing sent yet, none waiting"),
        (SlackHealth(True, AT, 3), f"last delivered {format_local_time(AT, AT, show_seconds=True)}, 3 waiting"),
        (SlackHealth(True, AT, 0, 2, "404 no_service"), "2 dead, 404 no_service"),
        (SlackHealth(True, AT, 0, 2), "2 dead, see: %cwnotify outbox"),
        (SlackHealth(True, AT, muted_until=AT + 60), f"alarms muted until {format_local_time(AT + 60, AT)}"),
    ],
)
def test_slacks_health_is_one_sentence(health: SlackHealth, shown: str):
    assert shown in words(html.render_status(only(health=health)))
    assert shown in render_text(only(health=health))


def test_freshness_says_since_when():
    assert "nothing read yet" in words(html.render_freshness(only()))
    assert f"updated {format_local_time(AT, AT, show_seconds=True)}" in words(html.render_freshness(only(updated=AT)))
    assert "⚠ stale: last read" in words(html.render_freshness(only(updated=AT - 600, stale=True)))


def test_each_status_is_new_so_that_its_cover_waits_anew():
    assert html.render_status(only()) != html.render_status(replace(only(), at=AT + 1))
    assert "No word from the kernel since" in html.render_status(only())


def test_what_is_watched_is_named():
    ones = tuple(WatchedInstance(f"i-{n}", f"n{n}") for n in range(5))

    assert words(html.render_subject(only())) == "This hostno EC2 instance is watched"
    assert words(html.render_subject(only(subjects=ones[:1]))) == "i-0 n0"
    assert words(html.render_subject(only(subjects=ones))) == "5 instancesn0, n1, n2 and 2 more"


def test_the_kept_picture_says_what_it_shows():
    pictures = [a for tag, a in read(html.render_static_panel(healthy_snapshot(AT), PNG, PNG)).tags if tag == "img"]

    assert [one["class"] for one in pictures] == ["cw-light", "cw-dark"]
    assert all("CPU over the last 3 h" in one["alt"] for one in pictures)
    assert "display:none" in pictures[1]["style"], "where styles are stripped, one picture is enough"
    assert [tag for tag, _ in read(html.render_static_panel(healthy_snapshot(AT), b"", b"")).tags if tag == "img"] == []


def test_the_style_sheet_is_whole_and_names_only_what_is_ours():
    rules = re.sub(r"@\w+[^{;]*\{", "{", build_stylesheet())

    assert rules.count("{") == rules.count("}")
    assert "</" not in rules
    for selector in re.findall(r"([^{};]+)\{", build_stylesheet()):
        ours = re.search(r"cwnotify|@media|@container|@keyframes|^\s*to\s*$", selector)
        assert ours, f"{selector.strip()} would change a page that is not ours"


def test_a_line_is_a_sparkline_in_text():
    line = PlotLine("CloudWatch, 5 min", False, 300.0, ((AT - 600, 0.0), (AT - 300, 50.0), (AT, 100.0)))

    assert "CPU ▁▃▆ 100 %  CloudWatch, 5 min" in render_text(only(lines=(line,)))
    assert "CPU no data  CloudWatch, 5 min" in render_text(only(lines=(replace(line, points=()),)))
    assert "▁▁ 7 B" in render_text(only(lines=(replace(line, points=((AT - 1, 7.0), (AT, 7.0))),), unit="B"))


# What is asked of a panel


@pytest.mark.parametrize(
    ("line", "request_"),
    [
        ("", PanelRequest()),
        ("--instance i-0abc12f9", PanelRequest(instances=("i-0abc12f9",))),
        ("--instance i-0abc12f9,i-0abc12f8 i-0abc12f7", PanelRequest(("i-0abc12f9", "i-0abc12f8", "i-0abc12f7"))),
        ("--tag team=vision", PanelRequest(tag="team=vision")),
        ("--tag 'Name=my box'", PanelRequest(tag="Name=my box")),
        ("--metric gpu --range 12h", PanelRequest(metric="gpu", span=43200.0)),
        ("--metric AWS/EC2/NetworkIn", PanelRequest(metric="AWS/EC2/NetworkIn")),
        (
            "--alarms 'train busy' off* --alarm-slack never",
            PanelRequest(alarms=("train busy", "off*"), alarm_slack="never"),
        ),
    ],
)
def test_words_become_a_request(line: str, request_: PanelRequest):
    assert build_panel_request(**parse_panel_arguments(line)) == request_


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("--instance box", "'box' is no instance id; one looks like i-"),
        ("--tag vision", "'vision' is no tag; write it like KEY=VALUE"),
        ("--metric cpus", "'cpus' is no metric; take cpu, gpu, mem, disk, or NAMESPACE/NAME"),
        ("--range 1s", "range takes 5m to 15d, such as 3h; not '1s'"),
        ("--range long", "'long' is not a duration"),
        ("--alarm-slack maybe", "alarm-slack takes auto, always, never; not 'maybe'"),
        ("--instances i-0", "--instances is not an option; did you mean --instance?\nusage: %cwnotify panel"),
        ("tag team=ml", "tag is not an option; did you mean --tag?"),
        ("--tag 'x", "has no partner"),
    ],
)
def test_what_cannot_be_is_told_with_what_could(line: str, complaint: str):
    with pytest.raises(UsageError) as caught:
        build_panel_request(**parse_panel_arguments(line))

    assert complaint in str(caught.value)


def test_every_option_has_its_sentence():
    sentences = {action.dest: action.help for action in panel_parser()._actions}

    assert set(sentences) == set(panel_parser().read(""))
    assert all(sentences.values())
