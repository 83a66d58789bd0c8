"""Remove secrets from AWS events. Pure; never raises.

Compiling `patterns` takes longer than importing the rest of the Lambda function. So `patterns` is imported only when a
text may contain a secret.
"""

from __future__ import annotations

import re

from cwnotify.alerts.events.alarms import AlarmStateChange, ChildAlarm, Dimension, Tag, WatchedMetric
from cwnotify.alerts.messages.block_kit import sanitize_text, truncate_text
from cwnotify.alerts.text_limits import MAX_DERIVED_NAME_LENGTH, REDACTION_MARGIN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cwnotify.alerts.events.alarms import AwsEvent

REDACTION_MARK = "[removed]"
# Far more than a message shows, and little enough for all the patterns.
_MAX_TEXT = 20_480

# Each secret that `secret_forms` and `secret_labels` find has one of these, in lower case, or a long run.
_HINTS = (
    *("pass", "pwd", "secret", "key", "token", "cred", "signature", "auth", "bearer", "basic", "cookie", "dsn", "sig"),
    *("subscribe", "connection", "mnemonic", "비밀", "암호", "토큰", "시크릿", "@", "%40", "login", "eyj", "xox"),
    *("xapp-", "hooks.slack", "/services/", "webhook", "sg.", "q~", "oracle:", "mysql", "mariadb", "curl", "wget"),
    *("redis-cli", "valkey-cli", "keydb-cli", "mongo", "sqlcmd", "bcp", "ldap", "zip", "7z", "http", "xh", "ipmitool"),
    *("snowsql", "clickhouse", "rar", "smbclient", "identified", "fernet", "-----begin"),
)
# What tells one alarm from another, and holds no text.
_IDENTITY = ("arn", "account", "region", "partition", "contributor_id", "instance")
_LONG_RUN = re.compile(r"[A-Za-z0-9_-]{20}|\\u[bc][0-9a-f]{3}")


def redact_bounded_text(text: str) -> str:
    """`text` without secrets, cut to a bounded length."""
    # A text of just that length may have been cut to it.
    whole = len(text) < _MAX_TEXT
    safe = _scrub(text[:_MAX_TEXT])
    return safe if whole else safe[:-REDACTION_MARGIN]


def shorten_derived_name(text: str) -> str:
    """A command line or statement as the name of a run: redacted before it is cut."""
    return (
        text
        if len(text) <= MAX_DERIVED_NAME_LENGTH
        else truncate_text(redact_bounded_text(text), MAX_DERIVED_NAME_LENGTH)
    )


def _scrub(text: str) -> str:
    # A colour in the middle of a word hides it from the hints.
    if not _may_hold_secret(sanitize_text(text)):
        return text
    from cwnotify.alerts.redaction.patterns import redact_text

    return redact_text(text)


def _may_hold_secret(text: str) -> bool:
    lowered = text.lower()
    return any(hint in lowered for hint in _HINTS) or _LONG_RUN.search(text) is not None


def redact_json_value(value: object) -> object:
    """What JSON stands for, without the secrets in it, however its keys name them."""
    from cwnotify.alerts.redaction.values import redact_json_value as redact_json

    return redact_json(value)


def redact_aws_event(event: AwsEvent) -> AwsEvent:
    """`event` without the secrets in its texts; it says whether there were any."""
    if not isinstance(event, AlarmStateChange):
        return event
    values = {name: value for name, value in vars(event).items() if name not in _IDENTITY}
    changed = {name: safe for name, value in values.items() if (safe := _safe(value)) != value}
    if not changed:
        return event
    return AlarmStateChange(**{**vars(event), **changed, "redacted": REDACTION_MARK in repr(changed)})


def _safe(value: object) -> object:
    if isinstance(value, str):
        return redact_bounded_text(value)
    if isinstance(value, tuple):
        return tuple(map(_safe, value))
    if isinstance(value, Dimension):
        return Dimension(redact_bounded_text(value.name), _valued(value.name, value.value))
    if isinstance(value, Tag):
        return Tag(redact_bounded_text(value.key), _valued(value.key, value.value))
    if isinstance(value, WatchedMetric):
        fields: dict[str, Any] = {name: _safe(item) for name, item in vars(value).items()}
        return WatchedMetric(**fields)
    return (
        ChildAlarm(redact_bounded_text(value.name), value.state, value.at) if isinstance(value, ChildAlarm) else value
    )


def _valued(name: str, value: str) -> str:
    """A value as its name allows to show it: ``password`` hides what no form gives away."""
    if not _may_hold_secret(name):
        return redact_bounded_text(value)
    hidden = redact_json_value({name: value})
    return next(iter(hidden.values())) if isinstance(hidden, dict) else REDACTION_MARK
