"""What an alarm's change means to a reader: which news it is, its tone, colour and mark. Pure.

Colour follows the state, and never the side of the threshold on which an alarm fires: free disk space, healthy hosts
and success rates fall too. Only an alarm whose firing is welcome is an exception: its name's last word is ``off``, or
its tag ``cwnotify`` is ``welcome``.
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
    """How a reader should feel about a change."""

    BAD = "bad"
    NO_DATA = "no data"
    NEUTRAL = "calm"
    GOOD = "good"


class ChangeKind(StrEnum):
    """What happened, as far as the event proves it."""

    FIRED = "fired"
    WORK_ENDED = "ended"  # work was measured before, and now its end
    IDLE = "idle"  # no work is measured, and none was seen before
    WELCOME = "welcome"  # a welcome alarm that is not about CPU or GPU load
    WELCOME_NO_DATA = "unknown"  # a welcome alarm that fired because nothing was measured
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
# Alarms on these AWS services' CPU are about servers, not about trainings.
_TRAINING_NAMESPACES = ("AWS/EC2", "AWS/ECS", "AWS/SageMaker", "AWS/Batch")
# The name's last word: alone, or begun by a capital as in trainingOff.
_OFF = re.compile(r"(?:(?<![^\W_])(?i:off)|(?<=[^\W_A-Z])O(?:ff|FF)|(?<=[A-Z])Off)[\W_]*$")
_LOAD = re.compile(r"(?:cpu|gpu).*(?:util|usage(?:active|user|percent|total)?$|active)|util\w*[cg]pu")
_NO_LOAD = ("idle", "credit", "mem", "limit", "reserv", "iowait", "steal", "encoder", "decoder")


def is_welcome_alarm(name: str, tags: Iterable[Tag] = ()) -> bool:
    """Whether it is good news when an alarm of this name, with these tags, fires."""
    tagged = any(tag.key.lower() == "cwnotify" and tag.value.strip().lower() == "welcome" for tag in tags)
    return tagged or bool(_OFF.search(name))


def classify_change(event: AlarmStateChange) -> ChangeKind:
    """Which news `event` is."""
    welcome = is_welcome_alarm(event.name, event.tags)
    again = event.before == AlarmState.ALARM
    if event.after == AlarmState.ALARM:
        if not welcome:
            return ChangeKind.FIRED
        if is_due_to_missing_data(event):
            return ChangeKind.WELCOME_NO_DATA
        if not _is_about_work(event):
            return ChangeKind.WELCOME
        return ChangeKind.WORK_ENDED if event.before == AlarmState.OK else ChangeKind.IDLE
    if event.after == AlarmState.OK:
        if welcome and not is_due_to_missing_data(event) and _is_about_work(event) and processor_type(event):
            return ChangeKind.WORK_RESUMED
        return ChangeKind.RECOVERED if again else ChangeKind.OK
    return ChangeKind.NO_DATA if event.after == AlarmState.INSUFFICIENT_DATA else ChangeKind.OTHER


def is_due_to_missing_data(event: AlarmStateChange) -> bool:
    """Whether missing data alone explains the state: nothing was measured, or nothing that would lead to it."""
    return event.no_data or (event.value is None and bool(event.recent))


def severity_of(event: AlarmStateChange) -> Severity:
    """The tone of `event`; a state that CloudWatch does not know is calm."""
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
    """The emoji that begins its first line."""
    return ":zzz:" if classify_change(event) is ChangeKind.IDLE else SEVERITY_EMOJI[severity_of(event)]


def alarm_subject(event: AlarmStateChange) -> str:
    """What a welcome alarm is about: its name without the final ``off``, else its instance."""
    match = _OFF.search(event.name)
    if not match:
        return event.name
    return event.name[: match.start()].rstrip(" -_./:#(") or event.instance or event.name


def processor_type(event: AlarmStateChange) -> str:
    """``CPU`` or ``GPU`` where an alarm compares such a load, else empty."""
    if not event.metrics:
        return _load(event.metric)
    parts = [one.name for one in event.metrics if not one.expression]
    # A query holds the names of its metrics itself.
    names = parts or [word for one in event.metrics for word in re.findall(r"\w+", one.expression[:2_000])]
    loads = [load for load in map(_load, names) if load]
    return loads[0] if loads and (not parts or len(loads) == len(parts)) else ""


def _load(metric: str) -> str:
    letters = re.sub(r"[^a-z]", "", metric.lower())
    if not _LOAD.search(letters) or any(word in letters for word in _NO_LOAD):
        return ""
    return "GPU" if "gpu" in letters else "CPU"


def _is_about_work(event: AlarmStateChange) -> bool:
    """Whether a welcome alarm that fires means that a machine's work is over."""
    if "Greater" in event.comparison:
        return False
    if processor_type(event):
        return not event.namespace.startswith("AWS/") or event.namespace in _TRAINING_NAMESPACES
    known = event.metric or event.metrics or event.query or event.rule or event.children
    # An event that does not say what is measured: the name is all there is, and `off` is the guide's.
    return not known and alarm_subject(event) != event.name
