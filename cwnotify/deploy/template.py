"""The stack's template: stack.yaml, with alarms.yaml once for each rule and instance.yaml once for each instance.

The template that AWS keeps is also the record of what is deployed: `parse_instance_watches` and `parse_alarm_rules` read it back. It is
ASCII only, because GetTemplate returns a question mark for every other character.
https://github.com/aws-cloudformation/cloudformation-coverage-roadmap/issues/1220

Pure but for those files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

from cwnotify.errors import UsageError

# AWS's own limits; a longer template has to come from a bucket.
MAX_TEMPLATE_BODY_BYTES = 51_200
MAX_STACK_RESOURCES = 500
# https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-quota.html: characters in a rule's pattern, and rules on a
# bus where there are fewest.
MAX_PATTERN_LENGTH = 2048
MAX_RULES = 100
_SETTINGS = re.compile(r'cwnotify: "(i-\w+) (\S+) (\S+) (\d+) (\d+)/(\d+)"')
_RESOURCE = re.compile(r"^  (\w+):\n((?:(?:    .*)?\n)+)", re.MULTILINE)
_NAMES = re.compile(r"^  Alarms(\d+):\n(?:    .*\n)*? +alarmName: \[(.*)\]$", re.MULTILINE)
_ESCAPED = re.compile(r"\\u([0-9a-f]{4})|\\U([0-9a-f]{8})")
_FLEET = "            - prefix: !Ref Prefix\n"
_DETAIL_TYPES = ("CloudWatch Alarm State Change", "CloudWatch Alarm Contributor State Change")
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class InstanceWatch:
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
            raise UsageError(f"{self.instance!r} is no instance's id", hint="they look like i-0abc1234def567890")
        if not 0 < self.idle < self.threshold < 100:
            raise UsageError("--idle has to be less than --threshold, and both between 0 and 100")
        if self.period not in (10, 30) and (self.period < 60 or self.period % 60):
            raise UsageError("--period takes 10, 30, or whole minutes in seconds: 60, 120, 300")
        if not 1 <= self.datapoints <= self.evaluated or self.period * self.evaluated > 86_400:
            raise UsageError("--datapoints takes M/N, such as 2/3, N periods being a day at most")

    @property
    def alarm_name_suffixes(self) -> tuple[str, str]:
        """How its alarms' names end."""
        return f"{self.instance}-busy", f"{self.instance}-off"

    @property
    def alarm_conditions(self) -> tuple[str, str]:
        """What makes its alarms fire."""
        time = f"{self.period // 60} min" if self.period % 60 == 0 else f"{self.period} s"
        often = f"in {self.datapoints} of {self.evaluated} × {time}"
        return f"CPU above {self.threshold:g} % {often}", f"CPU below {self.idle:g} % {often}, or nothing measured"


@dataclass(frozen=True)
class AlarmRule:
    """An EventBridge rule for alarms that existed before.

    Parameters
    ----------
    number
        Its number in the stack; it stays the same when other rules go.
    alarms
        Their names.
    """

    number: int
    alarms: tuple[str, ...]

    @property
    def event_pattern(self) -> dict[str, object]:
        """The event pattern, as alarms.yaml has it."""
        detail = {"alarmName": list(self.alarms), "state": {"value": ["ALARM", "OK"]}}
        return {"source": ["aws.cloudwatch"], "detail-type": list(_DETAIL_TYPES), "detail": detail}


def assign_alarms_to_rules(routes: Iterable[AlarmRule], alarms: Iterable[str]) -> tuple[AlarmRule, ...]:
    """Return the rules for `alarms`, given the rules that exist.

    A name stays in its rule, because CloudFormation changes rules one after the other: a name that moved could be
    missed, or matched twice. A new name goes into the first rule with room for it.

    Raises
    ------
    UsageError
        If there are more names than rules for them.
    """
    wanted = dict.fromkeys(alarms)
    rules = {one.number: [name for name in one.alarms if name in wanted] for one in routes}
    known = {name for names in rules.values() for name in names}
    for name in wanted:
        if name not in known:
            number = next(n for n in range(1, len(wanted) + len(rules) + 1) if _has_room(rules.get(n, ()), name))
            rules.setdefault(number, []).append(name)
    routed = tuple(AlarmRule(number, tuple(names)) for number, names in sorted(rules.items()) if names)
    if len(routed) > MAX_RULES:
        raise UsageError(
            f"{len(wanted)} alarms are more than {MAX_RULES} rules can hold", hint="name them alike, use --fleet"
        )
    return routed


def _has_room(names: Sequence[str], name: str) -> bool:
    return measure_pattern(AlarmRule(0, (*names, name)).event_pattern) <= MAX_PATTERN_LENGTH or not names


def measure_pattern(pattern: object) -> int:
    """Return how long a pattern is for EventBridge; where it counts characters, bytes of UTF-8 are on the safe side."""
    return len(json.dumps(pattern, ensure_ascii=False).encode())


class _Blanks(Template):
    # CloudFormation's own are ${...}.
    delimiter = "@"


def render_template(
    watches: Iterable[InstanceWatch], routes: Iterable[AlarmRule] = (), apart: Sequence[str] = ()
) -> str:
    """Return the template's text, without comments.

    Parameters
    ----------
    routes
        The rules for alarms that existed before.
    apart
        ARNs of alarms that the fleet's rule does not match, whatever their names.
    """
    head, mark, outputs = _read("stack.yaml").partition("\nOutputs:\n")
    if apart:
        listed = ", ".join(map(_quoted, apart))
        head = head.replace(_FLEET, f"{_FLEET}        resources: [{{anything-but: [{listed}]}}]\n")
    parts = [*map(_rule, routes), *map(_alarms, watches)]
    return head + "".join(f"\n{part}" for part in parts) + mark + outputs


def build_fleet_pattern(prefix: str, apart: Sequence[str]) -> dict[str, object]:
    """The event pattern of the fleet's rule, as stack.yaml has it."""
    detail = {"alarmName": [{"prefix": prefix}]}
    pattern: dict[str, object] = {"source": ["aws.cloudwatch"], "detail-type": list(_DETAIL_TYPES), "detail": detail}
    return {**pattern, "resources": [{"anything-but": list(apart)}]} if apart else pattern


def parse_instance_watches(template: str) -> tuple[InstanceWatch, ...]:
    """Which instances a template of ours watches, and how."""
    return tuple(
        InstanceWatch(instance, float(threshold), float(idle), int(period), int(m), int(n))
        for instance, threshold, idle, period, m, n in _SETTINGS.findall(template)
    )


def parse_alarm_rules(template: str) -> tuple[AlarmRule, ...]:
    """Return the rules for alarms that existed before, from a template of ours."""
    return tuple(
        AlarmRule(int(number), tuple(map(_unquoted, re.findall(r'"([^"]*)"', names))))
        for number, names in _NAMES.findall(template)
    )


def list_changed_resources(old: str, new: str) -> tuple[str, ...]:
    """The names of the resources that two templates of ours do not have in common, word for word."""
    before, after = (dict(_RESOURCE.findall(f"{text}\n".partition("\nResources:\n")[2])) for text in (old, new))
    return tuple(name for name in before | after if before.get(name) != after.get(name))


def _rule(one: AlarmRule) -> str:
    return _Blanks(_read("alarms.yaml")).substitute(number=one.number, names=", ".join(map(_quoted, one.alarms)))


def _alarms(watch: InstanceWatch) -> str:
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
    text = re.sub(r"^ *#.*\n", "", text, flags=re.MULTILINE)
    return re.sub(r"[^\n -~]", lambda found: _escaped(found[0]), text)


def _quoted(text: str) -> str:
    """A YAML scalar in double quotes, ASCII only."""
    return '"{}"'.format(re.sub(r'[^ -~]|["\\]', lambda found: _escaped(found[0]), text))


def _escaped(character: str) -> str:
    # Unlike JSON, YAML has no surrogate pairs.
    return f"\\u{ord(character):04x}" if ord(character) < 0x10000 else f"\\U{ord(character):08x}"


def _unquoted(text: str) -> str:
    return _ESCAPED.sub(lambda found: chr(int(found[1] or found[2], 16)), text)
