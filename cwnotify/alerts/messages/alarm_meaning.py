"""Classify an alarm's state change, and choose its severity, colour and emoji. Pure.

The colour follows the state, not the side of the threshold: a fall can be bad news too, such as less free disk space.
The exception is a welcome alarm: the last word of its name is ``off``, or its tag ``cwnotify`` is ``welcome``.
"""

from __future__ import annotations

import re

from cwnotify.alerts.events.alarms import AlarmState, AlarmStateChange
from cwnotify.alerts.messages import block_kit as b
from cwnotify.alerts.python310 import StrEnum

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from cwnotify.alerts.events.alarms import Tag


class Severity(StrEnum):
    """How good or bad a change is for the reader."""

    BAD = "bad"
    NO_DATA = "no data"
    NEUTRAL = "calm"
    GOOD = "good"


class ChangeKind(StrEnum):
    """What happened, as far as the event proves it."""

    FIRED = "fired"
    WORK_ENDED = "ended"  # the load was high before, and is low now
    IDLE = "idle"  # the load is low, and was not measured before
    WELCOME = "welcome"  # a welcome alarm that does not watch CPU or GPU load
    WELCOME_NO_DATA = "unknown"  # a welcome alarm that fired because of missing data
    NO_DATA = "no data"
    RECOVERED = "recovered"
    OK = "ok"
    WORK_RESUMED = "working"
    OTHER = "other"


SEVERITY_COLORS = {
    Severity.BAD: b.COLOR_BAD,
    Severity.NO_DATA: b.COLOR_NEUTRAL,
    Severity.NEUTRAL: b.COLOR_NEUTRAL,
    Severity.GOOD: b.COLOR_GOOD,
}
SEVERITY_EMOJI = {
    Severity.BAD: ":rotating_light:",
    Severity.NO_DATA: ":grey_question:",
    Severity.NEUTRAL: ":information_source:",
    Severity.GOOD: ":white_check_mark:",
}
# Of AWS's own namespaces, only these measure machines that train. The CPU of others is a server's.
_TRAINING_NAMESPACES = ("AWS/EC2", "AWS/ECS", "AWS/SageMaker", "AWS/Batch")
# As the name's last word, separate or in camel case as in trainingOff.
_OFF = re.compile(r"(?:(?<![^\W_])(?i:off)|(?<=[^\W_A-Z])O(?:ff|FF)|(?<=[A-Z])Off)[\W_]*$")
_LOAD = re.compile(r"(?:cpu|gpu).*(?:util|usage(?:active|user|percent|total)?$|active)|util\w*[cg]pu")
_NO_LOAD = ("idle", "credit", "mem", "limit", "reserv", "iowait", "steal", "encoder", "decoder")


def is_welcome_alarm(name: str, tags: Iterable[Tag] = ()) -> bool:
    """Return whether it is good news when an alarm with this name and these tags fires."""
    tagged = any(tag.key.lower() == "cwnotify" and tag.value.strip().lower() == "welcome" for tag in tags)
    return tagged or bool(_OFF.search(name))


def classify_change(event: AlarmStateChange) -> ChangeKind:
    """Return the kind of change that `event` reports."""
    is_welcome = is_welcome_alarm(event.name, event.tags)
    if event.after == AlarmState.ALARM:
        if not is_welcome:
            return ChangeKind.FIRED
        if is_due_to_missing_data(event):
            return ChangeKind.WELCOME_NO_DATA
        if not _is_about_work(event):
            return ChangeKind.WELCOME
        return ChangeKind.WORK_ENDED if event.before == AlarmState.OK else ChangeKind.IDLE
    if event.after == AlarmState.OK:
        if is_welcome and not is_due_to_missing_data(event) and _is_about_work(event) and processor_type(event):
            return ChangeKind.WORK_RESUMED
        return ChangeKind.RECOVERED if event.before == AlarmState.ALARM else ChangeKind.OK
    return ChangeKind.NO_DATA if event.after == AlarmState.INSUFFICIENT_DATA else ChangeKind.OTHER


def is_due_to_missing_data(event: AlarmStateChange) -> bool:
    """Return whether the state is due to missing data: no datapoint was measured, or none explains the state."""
    return event.no_data or (event.value is None and bool(event.recent))


def severity_of(event: AlarmStateChange) -> Severity:
    """Return the severity of `event`; neutral for an unknown state."""
    match classify_change(event):
        case ChangeKind.FIRED:
            return Severity.BAD
        case ChangeKind.WORK_ENDED | ChangeKind.IDLE | ChangeKind.WELCOME:
            return Severity.GOOD
        case ChangeKind.WELCOME_NO_DATA | ChangeKind.NO_DATA:
            return Severity.NO_DATA
        case ChangeKind.RECOVERED | ChangeKind.OK if not is_welcome_alarm(event.name, event.tags):
            return Severity.GOOD
    return Severity.NEUTRAL


def emoji_for_change(event: AlarmStateChange) -> str:
    """Return the emoji at the start of the first line."""
    return ":zzz:" if classify_change(event) is ChangeKind.IDLE else SEVERITY_EMOJI[severity_of(event)]


def alarm_subject(event: AlarmStateChange) -> str:
    """Return what a welcome alarm is about: its name without the final ``off``, or its instance."""
    match = _OFF.search(event.name)
    if not match:
        return event.name
    return event.name[: match.start()].rstrip(" -_./:#(") or event.instance or event.name


def processor_type(event: AlarmStateChange) -> str:
    """Return ``CPU`` or ``GPU`` if the alarm compares its load, else an empty string."""
    if not event.metrics:
        return _processor_of_metric(event.metric)
    inputs = [metric.name for metric in event.metrics if not metric.expression]
    # A Metrics Insights query contains the names of its metrics.
    names = inputs or [word for metric in event.metrics for word in re.findall(r"\w+", metric.expression[:2_000])]
    processors = [processor for processor in map(_processor_of_metric, names) if processor]
    return processors[0] if processors and (not inputs or len(processors) == len(inputs)) else ""


def _processor_of_metric(metric: str) -> str:
    letters = re.sub(r"[^a-z]", "", metric.lower())
    if not _LOAD.search(letters) or any(word in letters for word in _NO_LOAD):
        return ""
    return "GPU" if "gpu" in letters else "CPU"


def _is_about_work(event: AlarmStateChange) -> bool:
    """Return whether a welcome alarm that fires means that a machine has finished its work."""
    if "Greater" in event.comparison:
        return False
    if processor_type(event):
        return not event.namespace.startswith("AWS/") or event.namespace in _TRAINING_NAMESPACES
    has_source = event.metric or event.metrics or event.query or event.rule or event.children
    # If the event does not say what is measured, a name that ends with "off" is enough.
    return not has_source and alarm_subject(event) != event.name
