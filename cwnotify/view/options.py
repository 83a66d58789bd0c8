"""Turn the options of a panel into a `PanelRequest`.

Imports the standard library, `alerts`, `errors`, `option_parser`, `settings` and `snapshot` only.
"""

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
MIN_RANGE, MAX_RANGE = 300.0, 15 * 86400.0  # seconds
NameList = str | Iterable[str]


@cache
def panel_parser() -> OptionParser:
    """Return the parser of ``%cwnotify panel``; it also produces the magic's help."""
    parser = OptionParser("%cwnotify panel", "Show CPU, alarms and runs, live, while cells run.")
    many: dict[str, Any] = {"nargs": "+", "default": ()}
    presets = ", ".join(PRESET_METRICS)
    add = parser.add_argument
    add("--instance", metavar="ID", **many, help="watch these EC2 instances (default: this one)")
    add("--tag", metavar="KEY=VALUE", default="", help="watch all instances with this tag")
    add("--metric", metavar="NAME", default="cpu", help=f"plot {presets}, or NAMESPACE/NAME (default: cpu)")
    add("--alarms", metavar="NAME", **many, help="show alarms by name or PREFIX* (default: those of the instances)")
    add(
        "--alarm-slack",
        metavar="WHEN",
        default="auto",
        help="send alarms to Slack: auto, always, never (default: auto)",
    )
    add("--range", metavar="SPAN", default="3h", help="plot this much of the past: 1h, 3h, 12h, 3d (default: 3h)")
    return parser


def parse_panel_arguments(line: str) -> dict[str, Any]:
    """Parse the text after ``%cwnotify panel`` into the arguments of `cwnotify.panel`.

    Raises
    ------
    UsageError
        If the line is invalid. The message includes the usage.
    """
    return {name: _strip_value(value) for name, value in panel_parser().read(line).items()}


def _strip_value(value: str | Iterable[str]) -> str | tuple[str, ...]:
    return strip_quotes(value) if isinstance(value, str) else tuple(map(strip_quotes, value))


def build_panel_request(
    instance: NameList = (),
    tag: str = "",
    metric: str = "cpu",
    alarms: NameList = (),
    alarm_slack: str = "auto",
    range: str = "3h",
) -> PanelRequest:
    """Check the options of a panel; see `cwnotify.panel` for their meaning.

    Raises
    ------
    UsageError
        If an option is invalid.
    """
    instances = _split_names(instance)
    for name in instances:
        if not re.fullmatch(r"m?i-[0-9a-f]{8,17}", name):
            raise UsageError(f"{name!r} is not an instance ID", hint="write it like i-0abc12f9d8e7a6b54")
    if tag and not re.fullmatch(r"[^=]+=.*", tag):
        raise UsageError(f"{tag!r} is not a tag", hint="write it like KEY=VALUE")
    if metric not in PRESET_METRICS and not re.fullmatch(r"[^/].*/[^/]+", metric):
        raise UsageError(f"{metric!r} is not a metric", hint=f"use {', '.join(PRESET_METRICS)}, or NAMESPACE/NAME")
    span = parse_duration(range)
    if not MIN_RANGE <= span <= MAX_RANGE:
        raise UsageError(f"range takes 5m to 15d, not {range!r}", hint="write it like 3h")
    slack = make_choice_parser("alarm-slack", ("auto", "always", "never"))(alarm_slack)
    return PanelRequest(instances, tag, metric, _split_names(alarms), slack, span)


def resolve_panel_request(
    settings: Settings, *, instance: NameList = (), tag: str = "", alarms: NameList = (), **options: str
) -> PanelRequest:
    """Build a request like `build_panel_request`, with the settings as defaults.

    Raises
    ------
    UsageError
        If an option is invalid.
    """
    instances = instance or ("" if tag else settings.instance)
    request = build_panel_request(instances, tag, alarms=alarms or settings.alarms, **options)
    return replace(
        request,
        round=settings.round_seconds,
        lang=settings.lang,
        zone=settings.zone,
        channel=settings.channel,
    )


def _split_names(names: NameList) -> tuple[str, ...]:
    """Split a list of names, or text with commas between them. A name may contain spaces."""
    parts = [names] if isinstance(names, str) else list(names)
    return tuple(name for part in parts for piece in part.split(",") if (name := piece.strip()))
