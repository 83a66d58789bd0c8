"""The stack's template: stack.yaml, and in it instance.yaml once for each instance watched. Pure but for those files.

The template that AWS keeps is also the record of what was asked for: `read_watches` finds it again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from string import Template

from cwnotify.errors import UsageError

# AWS's own limits; a longer template has to come from a bucket.
MOST_BODY = 51_200
MOST_RESOURCES = 500
_SETTINGS = re.compile(r'cwnotify: "(i-\w+) (\S+) (\S+) (\d+) (\d+)/(\d+)"')
_RESOURCE = re.compile(r"^  (\w+):\n((?:(?:    .*)?\n)+)", re.MULTILINE)
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Watch:
    """How one instance's CPU is watched.

    Parameters
    ----------
    threshold, idle
        Percent: above the one it is busy, below the other its training has ended.
    period
        Seconds that one datapoint stands for.
    datapoints, evaluated
        M of N.
    """

    instance: str
    threshold: float = 50.0
    idle: float = 10.0
    period: int = 300
    datapoints: int = 2
    evaluated: int = 3

    def __post_init__(self) -> None:
        if not re.fullmatch(r"i-[0-9a-f]{8,17}", self.instance):
            raise UsageError(f"{self.instance!r} is no instance's id; they look like i-0abc1234def567890")
        if not 0 < self.idle < self.threshold < 100:
            raise UsageError("--idle has to be less than --threshold, and both between 0 and 100")
        if self.period not in (10, 30) and (self.period < 60 or self.period % 60):
            raise UsageError("--period takes 10, 30, or whole minutes in seconds: 60, 120, 300")
        if not 1 <= self.datapoints <= self.evaluated or self.period * self.evaluated > 86_400:
            raise UsageError("--datapoints takes M/N, such as 2/3, N periods being a day at most")

    @property
    def names(self) -> tuple[str, str]:
        """How its alarms' names end."""
        return f"{self.instance}-busy", f"{self.instance}-off"

    @property
    def described(self) -> tuple[str, str]:
        """What makes its alarms fire."""
        time = f"{self.period // 60} min" if self.period % 60 == 0 else f"{self.period} s"
        often = f"in {self.datapoints} of {self.evaluated} × {time}"
        return f"CPU above {self.threshold:g} % {often}", f"CPU below {self.idle:g} % {often}, or nothing measured"


class _Blanks(Template):
    # CloudFormation's own are ${...}.
    delimiter = "@"


def compose(watches: Iterable[Watch]) -> str:
    """The template's text, comments left out."""
    head, mark, outputs = _read("stack.yaml").partition("\nOutputs:\n")
    return head + "".join(f"\n{_alarms(watch)}" for watch in watches) + mark + outputs


def read_watches(template: str) -> tuple[Watch, ...]:
    """Which instances a template of ours watches, and how."""
    return tuple(
        Watch(instance, float(threshold), float(idle), int(period), int(m), int(n))
        for instance, threshold, idle, period, m, n in _SETTINGS.findall(template)
    )


def changed(old: str, new: str) -> tuple[str, ...]:
    """The names of the resources that two templates of ours do not have in common, word for word."""
    before, after = (dict(_RESOURCE.findall(f"{text}\n".partition("\nResources:\n")[2])) for text in (old, new))
    return tuple(name for name in before | after if before.get(name) != after.get(name))


def _alarms(watch: Watch) -> str:
    values = {
        "instance": watch.instance,
        "id": watch.instance.replace("-", "").upper(),
        "threshold": f"{watch.threshold:g}",
        "idle": f"{watch.idle:g}",
        "period": watch.period,
        "datapoints": watch.datapoints,
        "evaluated": watch.evaluated,
    }
    told = "{instance} {threshold} {idle} {period} {datapoints}/{evaluated}".format_map(values)
    return _Blanks(_read("instance.yaml")).substitute(values, settings=told)


def _read(name: str) -> str:
    text = (_HERE / name).read_text(encoding="utf-8")
    # A comment alone is nothing that AWS would call an update.
    return re.sub(r"^ *#.*\n", "", text, flags=re.MULTILINE)
