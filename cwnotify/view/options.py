"""What a user asks of a panel -> a `PanelRequest`. Standard library, `alerts`, `errors`, `settings` and `snapshot` only."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from typing import Any

from cwnotify.alerts.events.run_options import make_choice_parser, parse_duration
from cwnotify.errors import UsageError
from cwnotify.option_parser import OptionParser, strip_quotes
from cwnotify.settings import Settings
from cwnotify.view.snapshot import PanelRequest

PRESET_METRICS = ("cpu", "gpu", "mem", "disk")
MIN_RANGE, MAX_RANGE = 300.0, 15 * 86400.0
NameList = str | Iterable[str]


@cache
def panel_parser() -> OptionParser:
    """The parser of ``%cwnotify panel``; its help is the magic's."""
    parser = OptionParser("%cwnotify panel", "Show CPU, alarms and runs, live, while cells run.")
    several: dict[str, Any] = {"nargs": "+", "default": ()}
    ready = ", ".join(PRESET_METRICS)
    add = parser.add_argument
    add("--instance", metavar="ID", **several, help="EC2 instances; the one that this is, if not said")
    add("--tag", metavar="KEY=VALUE", default="", help="all instances that carry this tag")
    add("--metric", metavar="NAME", default="cpu", help=f"{ready}, or NAMESPACE/NAME; cpu if not said")
    add("--alarms", metavar="NAME", **several, help="alarms by name or PREFIX*; those of the instances if not said")
    add("--alarm-slack", metavar="WHEN", default="auto", help="whether Slack is told of alarms: auto, always or never")
    add("--range", metavar="SPAN", default="3h", help="how much of the past: 1h, 3h, 12h, 3d; 3h if not said")
    return parser


def parse_panel_arguments(line: str) -> dict[str, Any]:
    """Read the words after ``%cwnotify panel``: the arguments of `cwnotify.panel`.

    Raises
    ------
    UsageError
        With the usage, if the line cannot be understood.
    """
    return {name: _plain(value) for name, value in panel_parser().read(line).items()}


def _plain(value: str | Iterable[str]) -> str | tuple[str, ...]:
    return strip_quotes(value) if isinstance(value, str) else tuple(map(strip_quotes, value))


def build_panel_request(
    instance: NameList = (),
    tag: str = "",
    metric: str = "cpu",
    alarms: NameList = (),
    alarm_slack: str = "auto",
    range: str = "3h",
) -> PanelRequest:
    """Check what is asked.

    Raises
    ------
    UsageError
        That names what cannot be, and what could.
    """
    instances = _several(instance)
    for one in instances:
        if not re.fullmatch(r"m?i-[0-9a-f]{8,17}", one):
            raise UsageError(f"{one!r} is no instance id", hint="one looks like i-0abc12f9d8e7a6b54")
    if tag and not re.fullmatch(r"[^=]+=.*", tag):
        raise UsageError(f"{tag!r} is no tag", hint="write it like KEY=VALUE")
    if metric not in PRESET_METRICS and not re.fullmatch(r"[^/].*/[^/]+", metric):
        raise UsageError(f"{metric!r} is no metric", hint=f"take {', '.join(PRESET_METRICS)}, or NAMESPACE/NAME")
    span = parse_duration(range)
    if not MIN_RANGE <= span <= MAX_RANGE:
        raise UsageError("range takes 5m to 15d, such as 3h", hint=f"not {range!r}")
    slack = make_choice_parser("alarm-slack", ("auto", "always", "never"))(alarm_slack)
    return PanelRequest(instances, tag, metric, _several(alarms), slack, span)


def resolve_panel_request(
    found: Settings, *, instance: NameList = (), tag: str = "", alarms: NameList = (), **rest: str
) -> PanelRequest:
    """As `build_panel_request`, with the settings where nothing is asked."""
    chosen = instance or ("" if tag else found.instance)
    asked = build_panel_request(chosen, tag, alarms=alarms or found.alarms, **rest)
    return replace(asked, round=found.round_seconds, lang=found.lang, zone=found.zone, channel=found.channel)


def _several(words: NameList) -> tuple[str, ...]:
    """Names in a list, or in a text with commas between; a name may hold spaces."""
    parts = [words] if isinstance(words, str) else list(words)
    return tuple(name for part in parts for piece in part.split(",") if (name := piece.strip()))
