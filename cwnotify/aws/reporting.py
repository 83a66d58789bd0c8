"""Whether an alarm speaks in Slack by itself: through a stack of ours that is deployed."""

from __future__ import annotations

from cwnotify.alerts.loose import decoded, node, nodes, text
from cwnotify.aws.client import Aws
from cwnotify.aws.readings import AlarmReading
from cwnotify.errors import AwsError

_STACK = "cwnotify"


class Reporting:
    """Asks AWS once for each topic, and once for a fleet's rule.

    A stack's topic and the function that it feeds are both named as the stack is; that tells ours from others. A
    fleet's rule follows all alarms whose names begin alike.
    """

    def __init__(self) -> None:
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
                found = list(aws.pages("sns", "list_subscriptions_by_topic", "Subscriptions", TopicArn=topic))
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
                rule = aws.find("events", "describe_rule", ("ResourceNotFoundException",), Name=_STACK) or {}
            except AwsError as error:
                if error.kind == "denied":
                    self._prefixes = ()
                return ()
            pattern = node(node(decoded(rule.get("EventPattern"))).get("detail")).get("alarmname")
            self._prefixes = tuple(filter(None, (text(one.get("prefix")) for one in nodes(pattern))))
        return self._prefixes
