"""The EventBridge rules that bring alarms to the function, and which alarm goes into which rule. Pure.

A rule is needed for an alarm that existed before the stack, because cwnotify never changes such an alarm.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cwnotify.errors import UsageError

# Characters in a rule's pattern, and rules on a bus in the region that allows the fewest:
# https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-quota.html
MAX_PATTERN_LENGTH = 2048
MAX_RULES = 100
_DETAIL_TYPES = ("CloudWatch Alarm State Change", "CloudWatch Alarm Contributor State Change")


@dataclass(frozen=True)
class AlarmRule:
    """An EventBridge rule for alarms that existed before the stack.

    Parameters
    ----------
    number
        The rule's number in the stack. It does not change when other rules are removed.
    alarms
        The names of the alarms.
    """

    number: int
    alarms: tuple[str, ...]

    @property
    def event_pattern(self) -> dict[str, object]:
        """The rule's event pattern."""
        detail = {"alarmName": list(self.alarms), "state": {"value": ["ALARM", "OK"]}}
        return {"source": ["aws.cloudwatch"], "detail-type": list(_DETAIL_TYPES), "detail": detail}


def assign_alarms_to_rules(rules: Iterable[AlarmRule], alarms: Iterable[str]) -> tuple[AlarmRule, ...]:
    """Return the rules for `alarms`, given the existing `rules`.

    An alarm stays in its rule because CloudFormation updates one rule after the other: an alarm that moved could be
    missed or matched twice. A new alarm goes into the first rule that has room.

    Raises
    ------
    UsageError
        If `MAX_RULES` rules cannot hold all alarms.
    """
    names = dict.fromkeys(alarms)
    names_by_rule = {rule.number: [name for name in rule.alarms if name in names] for rule in rules}
    assigned = {name for members in names_by_rule.values() for name in members}
    for name in names:
        if name not in assigned:
            numbers = range(1, len(names) + len(names_by_rule) + 1)
            number = next(n for n in numbers if _has_room(names_by_rule.get(n, ()), name))
            names_by_rule.setdefault(number, []).append(name)
    result = tuple(AlarmRule(number, tuple(members)) for number, members in sorted(names_by_rule.items()) if members)
    if len(result) > MAX_RULES:
        raise UsageError(
            f"{MAX_RULES} EventBridge rules cannot hold the names of {len(names)} alarms",
            hint="give the alarms a common prefix, and use --fleet",
        )
    return result


def build_fleet_pattern(prefix: object, excluded: Sequence[str]) -> dict[str, object]:
    """Return the event pattern of the fleet's rule.

    Parameters
    ----------
    prefix
        The prefix of the alarms' names, or the template's reference to it.
    excluded
        ARNs of alarms that the rule does not match, whatever their names.
    """
    detail = {"alarmName": [{"prefix": prefix}]}
    # If an alarm watches several time series, the first type only says how many crossed; the second names each.
    pattern: dict[str, object] = {"source": ["aws.cloudwatch"], "detail-type": list(_DETAIL_TYPES), "detail": detail}
    return {**pattern, "resources": [{"anything-but": list(excluded)}]} if excluded else pattern


def measure_pattern(pattern: object) -> int:
    """Return a pattern's length in UTF-8 bytes, which is never less than the characters that EventBridge counts."""
    return len(json.dumps(pattern, ensure_ascii=False).encode())


def _has_room(names: Sequence[str], name: str) -> bool:
    return measure_pattern(AlarmRule(0, (*names, name)).event_pattern) <= MAX_PATTERN_LENGTH or not names
