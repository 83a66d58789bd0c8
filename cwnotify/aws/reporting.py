"""Whether an alarm speaks in Slack by itself: through a stack of ours that is deployed."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

from cwnotify.alerts.loose import decoded, node, nodes, text
from cwnotify.aws.client import Aws
from cwnotify.aws.readings import AlarmReading
from cwnotify.errors import AwsError

_STACK = "cwnotify"


class Reporting:
    """Asks AWS once for each topic, and once for the rules of fleets. Without an answer, a topic's name decides.

    A stack's topic and the function that it feeds are both named as the stack is, a fleet's rule and the queue that it
    fills too; that tells ours from others. Such a rule follows all alarms whose names begin alike.

    Parameters
    ----------
    get
        Makes a call, given its kind and what it is about, or raises `AwsError` instead of waiting for it.
    """

    def __init__(self, get: Callable[[str, Hashable, Callable[[], Any]], Any] = lambda kind, key, call: call()) -> None:
        self._get = get
        self._topics: dict[str, bool] = {}
        self._prefixes: tuple[str, ...] | None = None

    def speaks(self, aws: Aws, alarm: AlarmReading) -> bool:
        """Whether Slack hears of `alarm` without us."""
        topics = [action for action in alarm.actions if ":sns:" in action]
        return any(self._is_ours(aws, topic) for topic in topics) or alarm.name.startswith(self._fleet(aws))

    def _is_ours(self, aws: Aws, topic: str) -> bool:
        name = topic.rpartition(":")[2]
        if topic not in self._topics:
            try:
                found = self._get("topics", topic, lambda: _subscriptions(aws, topic))
            except AwsError as error:
                # Whoever may only watch cannot look there; then the usual name has to do.
                if error.kind == "denied":
                    self._topics[topic] = name == _STACK
                return name == _STACK
            ours = f":function:{name}"
            self._topics[topic] = any(str(one.get("Endpoint", "")).endswith(ours) for one in found)
        return self._topics[topic]

    def _fleet(self, aws: Aws) -> tuple[str, ...]:
        """How the names of alarms begin that a fleet's rule follows."""
        if self._prefixes is None:
            try:
                rules = self._get("rules", "", lambda: _fleet_rules(aws))
            except AwsError as error:
                if error.kind == "denied":
                    self._prefixes = ()
                return ()
            self._prefixes = tuple(prefix for rule in rules for prefix in _prefixes(rule))
        return self._prefixes


def _subscriptions(aws: Aws, topic: str) -> list[Mapping[str, Any]]:
    return list(aws.pages("sns", "list_subscriptions_by_topic", "Subscriptions", TopicArn=topic))


def _fleet_rules(aws: Aws) -> list[Mapping[str, Any]]:
    return [rule for rule in aws.pages("events", "list_rules", "Rules") if _is_fleets(aws, rule)]


def _is_fleets(aws: Aws, rule: Mapping[str, Any]) -> bool:
    """Whether a rule leads to the queue of a stack of the same name."""
    if not _prefixes(rule):
        return False
    targets = aws.ask("events", "list_targets_by_rule", Rule=rule["Name"])["Targets"]
    return any(str(one["Arn"]).endswith(f":{rule['Name']}-changes") for one in targets)


def _prefixes(rule: Mapping[str, Any]) -> tuple[str, ...]:
    pattern = node(node(decoded(rule.get("EventPattern"))).get("detail")).get("alarmname")
    return tuple(filter(None, (text(one.get("prefix")) for one in nodes(pattern))))
