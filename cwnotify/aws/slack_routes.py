"""Whether an alarm speaks in Slack by itself: through a stack of ours that is deployed."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping
from typing import Any

from cwnotify.alerts.parsing.lenient_json import as_json_object, as_json_objects, decode_json_text, first_text
from cwnotify.aws.models import CloudWatchAlarm
from cwnotify.aws.session import AwsSession
from cwnotify.errors import AwsError, AwsErrorKind

_STACK = "cwnotify"


class SlackRouteFinder:
    """Asks AWS once for each topic, and once for the rules of all stacks. Without an answer, a topic's name decides.

    A stack's topic and the function that it feeds are both named as the stack is, and so are its rules and the queue or
    function that they feed; that tells ours from others. A fleet's rule matches all alarms whose names begin alike, the
    others match alarms by name.

    Parameters
    ----------
    get
        Makes a call, given its kind and what it is about, or raises `AwsError` instead of waiting for it.
    """

    def __init__(self, get: Callable[[str, Hashable, Callable[[], Any]], Any] = lambda kind, key, call: call()) -> None:
        self._get = get
        self._topics: dict[str, bool] = {}
        self._rules: tuple[tuple[str, ...], frozenset[str]] | None = None

    def has_slack_route(self, aws: AwsSession, alarm: CloudWatchAlarm) -> bool:
        """Whether Slack hears of `alarm` without us."""
        topics = [action for action in alarm.action_arns if ":sns:" in action]
        if any(self._is_ours(aws, topic) for topic in topics):
            return True
        prefixes, names = self._routed(aws)
        return alarm.name.startswith(prefixes) or alarm.name in names

    def _is_ours(self, aws: AwsSession, topic: str) -> bool:
        name = topic.rpartition(":")[2]
        if topic not in self._topics:
            try:
                found = self._get("topics", topic, lambda: _subscriptions(aws, topic))
            except AwsError as error:
                # Whoever may only watch cannot look there; then the usual name has to do.
                if error.kind == AwsErrorKind.DENIED:
                    self._topics[topic] = name == _STACK
                return name == _STACK
            ours = f":function:{name}"
            self._topics[topic] = any(str(one.get("Endpoint", "")).endswith(ours) for one in found)
        return self._topics[topic]

    def _routed(self, aws: AwsSession) -> tuple[tuple[str, ...], frozenset[str]]:
        """Prefixes and names of the alarms that rules of ours match."""
        if self._rules is None:
            try:
                rules = self._get("rules", "", lambda: _our_rules(aws))
            except AwsError as error:
                if error.kind == AwsErrorKind.DENIED:
                    self._rules = (), frozenset()
                return (), frozenset()
            prefixes = tuple(prefix for rule in rules for prefix in _prefixes(rule))
            self._rules = prefixes, frozenset(name for rule in rules for name in _names(rule))
        return self._rules


def _subscriptions(aws: AwsSession, topic: str) -> list[Mapping[str, Any]]:
    return list(aws.paginate_items("sns", "list_subscriptions_by_topic", "Subscriptions", TopicArn=topic))


def _our_rules(aws: AwsSession) -> list[Mapping[str, Any]]:
    return [rule for rule in aws.paginate_items("events", "list_rules", "Rules") if _is_ours(aws, rule)]


def _is_ours(aws: AwsSession, rule: Mapping[str, Any]) -> bool:
    """Whether a rule leads to the queue or function of the stack that it is named after."""
    stack = re.sub(r"-alarms-\d+$", "", rule["Name"])
    if rule.get("State") == "DISABLED" or not (_prefixes(rule) or _names(rule)):
        return False
    targets = aws.call("events", "list_targets_by_rule", Rule=rule["Name"])["Targets"]
    return any(str(one["Arn"]).endswith((f":{stack}-changes", f":function:{stack}")) for one in targets)


def _matched(rule: Mapping[str, Any]) -> object:
    return as_json_object(as_json_object(decode_json_text(rule.get("EventPattern"))).get("detail")).get("alarmname")


def _prefixes(rule: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(filter(None, (first_text(one.get("prefix")) for one in as_json_objects(_matched(rule)))))


def _names(rule: Mapping[str, Any]) -> tuple[str, ...]:
    names = _matched(rule)
    return tuple(name for name in names if isinstance(name, str)) if isinstance(names, list) else ()
