"""Events from AWS without the secrets that their texts may hold. Pure, and total: never raises.

Light, because the Lambda function imports it: the patterns themselves (`cwnotify.alerts.secret_forms`) take longer to
compile than all the rest of the function, and are imported only for a text that may hold a secret.
"""

from __future__ import annotations

import re

from cwnotify.alerts.alarm_events import AlarmChanged, Dimension, Tag
from cwnotify.alerts.blocks import clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cwnotify.alerts.alarm_events import AwsEvent

MARK = "[removed]"
# Far more than a message shows, and little enough for all the patterns.
_MAX_TEXT = 20_480
# What the end of a text that was cut may hold of a secret without showing its form.
_UNSURE = 1_000

# Every pattern of `secret_forms` needs one of these; a test holds that.
_HINTS = re.compile(
    r"(?i)pass|pwd|secret|key|token|credential|signature|authorization|bearer|basic|cookie|subscribe"
    r"|akia|asia|xox|xapp-|hooks\.slack|/services/|webhook|gh[oprsu]_|github_pat|glpat-|hf_|npm_|pypi-|dop_v1_"
    r"|[rsp]k_|sk-|aiza|ya29|sg\.|eyj|fwogzxiv|fqogzxiv|iqojb3jp|://[^\s/\"'<>]*@"
)


def redact(text: str) -> str:
    """`text` without secrets, cut to a bounded length."""
    whole = len(text) <= _MAX_TEXT
    safe = _scrub(text[:_MAX_TEXT])
    return safe if whole else safe[:-_UNSURE]


def _scrub(text: str) -> str:
    # A colour in the middle of a word hides it from the hints.
    if _HINTS.search(clean(text)) is None:
        return text
    from cwnotify.alerts.secret_forms import scrub

    return scrub(text)


def redact_value(value: object) -> object:
    """What JSON stands for, without the secrets in it, however its keys name them."""
    from cwnotify.alerts.secret_forms import redact_value as redact_json

    return redact_json(value)


def redact_event(event: AwsEvent) -> AwsEvent:
    """`event` without the secrets in its texts; it says whether there were any."""
    if not isinstance(event, AlarmChanged):
        return event
    texts: dict[str, object] = {
        "description": redact(event.description),
        "reason": redact(event.reason),
        "query": redact(event.query),
        "log_lines": tuple(map(redact, event.log_lines)),
        "tags": tuple(Tag(one.key, _valued(one.key, one.value)) for one in event.tags),
        "contributor": tuple(Dimension(one.name, _valued(one.name, one.value)) for one in event.contributor),
    }
    changed = {name: value for name, value in texts.items() if value != getattr(event, name)}
    if not changed:
        return event
    return AlarmChanged(**{**vars(event), **changed, "redacted": MARK in repr(changed)})


def _valued(name: str, value: str) -> str:
    """A value as its name allows to show it: ``password`` hides what no form gives away."""
    if _HINTS.search(name) is None:
        return redact(value)
    hidden = redact_value({name: value})
    return next(iter(hidden.values())) if isinstance(hidden, dict) else MARK
