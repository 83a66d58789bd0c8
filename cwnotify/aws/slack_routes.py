"""Find out whether an alarm reaches Slack already, through a deployed stack of ours. boto3 through `AwsSession`."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping
from typing import Any

from cwnotify.alerts.parsing.lenient_json import as_json_object, as_json_objects, decode_json_text, first_text
from cwnotify.aws.models import CloudWatchAlarm
from cwnotify.aws.session import AwsSession
from cwnotify.errors import AwsError, AwsErrorKind

_DEFAULT_STACK_NAME = "cwnotify"


class SlackRouteFinder:
    """Query AWS once for each topic, and once for the rules of all stacks. If AWS denies it, a topic's name decides.

    A stack's topic and the function that it feeds have the stack's name, and so have its rules and the queue or
    function that they feed. That distinguishes our stacks from others. A fleet's rule matches alarms by prefix, other
    rules by name.

    Parameters
    ----------
    get
        Makes a call, given its kind and its key, or raises `AwsError` instead of waiting for it.
    """

    def __init__(self, get: Callable[[str, Hashable, Callable[[], Any]], Any] = lambda kind, key, call: call()) -> None:
        self._get = get
        self._topics: dict[str, bool] = {}
        self._rules: tuple[tuple[str, ...], frozenset[str]] | None = None

    def has_slack_route(self, aws: AwsSession, alarm: CloudWatchAlarm) -> bool:
        """Return whether a deployed stack sends `alarm` to Slack."""
        topics = [arn for arn in alarm.action_arns if ":sns:" in arn]
        if any(self._is_our_topic(aws, topic) for topic in topics):
            return True
        prefixes, names = self._get_matched_alarms(aws)
        return alarm.name.startswith(prefixes) or alarm.name in names

    def _is_our_topic(self, aws: AwsSession, topic: str) -> bool:
        name = topic.rpartition(":")[2]
        if topic not in self._topics:
            try:
                subscriptions = self._get("topics", topic, lambda: _list_subscriptions(aws, topic))
            except AwsError as error:
                # Without the permission, assume that a topic with the default name is ours.
                if error.kind == AwsErrorKind.DENIED:
                    self._topics[topic] = name == _DEFAULT_STACK_NAME
                return name == _DEFAULT_STACK_NAME
            function = f":function:{name}"
            self._topics[topic] = any(str(entry.get("Endpoint", "")).endswith(function) for entry in subscriptions)
        return self._topics[topic]

    def _get_matched_alarms(self, aws: AwsSession) -> tuple[tuple[str, ...], frozenset[str]]:
        """Return prefixes and names of the alarms that our rules match."""
        if self._rules is None:
            try:
                rules = self._get("rules", "", lambda: _list_our_rules(aws))
            except AwsError as error:
                if error.kind == AwsErrorKind.DENIED:
                    self._rules = (), frozenset()
                return (), frozenset()
            prefixes = tuple(prefix for rule in rules for prefix in _list_prefixes(rule))
            self._rules = prefixes, frozenset(name for rule in rules for name in _list_names(rule))
        return self._rules


def _list_subscriptions(aws: AwsSession, topic: str) -> list[Mapping[str, Any]]:
    return list(aws.paginate_items("sns", "list_subscriptions_by_topic", "Subscriptions", TopicArn=topic))


def _list_our_rules(aws: AwsSession) -> list[Mapping[str, Any]]:
    return [rule for rule in aws.paginate_items("events", "list_rules", "Rules") if _is_our_rule(aws, rule)]


def _is_our_rule(aws: AwsSession, rule: Mapping[str, Any]) -> bool:
    """Return whether a rule's target is the queue or function of the stack whose name the rule has."""
    stack = re.sub(r"-alarms-\d+$", "", rule["Name"])
    if rule.get("State") == "DISABLED" or not (_list_prefixes(rule) or _list_names(rule)):
        return False
    targets = aws.call("events", "list_targets_by_rule", Rule=rule["Name"])["Targets"]
    return any(str(target["Arn"]).endswith((f":{stack}-changes", f":function:{stack}")) for target in targets)


def _get_alarm_names(rule: Mapping[str, Any]) -> object:
    return as_json_object(as_json_object(decode_json_text(rule.get("EventPattern"))).get("detail")).get("alarmname")


def _list_prefixes(rule: Mapping[str, Any]) -> tuple[str, ...]:
    matchers = as_json_objects(_get_alarm_names(rule))
    return tuple(filter(None, (first_text(matcher.get("prefix")) for matcher in matchers)))


def _list_names(rule: Mapping[str, Any]) -> tuple[str, ...]:
    names = _get_alarm_names(rule)
    return tuple(name for name in names if isinstance(name, str)) if isinstance(names, list) else ()
