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
# Characters. Much more than a message shows, and fast enough for all patterns.
_MAX_TEXT_LENGTH = 20_480

# Every secret that `patterns` and `labels` find contains one of these in lower case, or a long run of letters.
_HINTS = (
    *("pass", "pwd", "secret", "key", "token", "cred", "signature", "auth", "bearer", "basic", "cookie", "dsn", "sig"),
    *("subscribe", "connection", "mnemonic", "비밀", "암호", "토큰", "시크릿", "@", "%40", "login", "eyj", "xox"),
    *("xapp-", "hooks.slack", "/services/", "webhook", "sg.", "q~", "oracle:", "mysql", "mariadb", "curl", "wget"),
    *("redis-cli", "valkey-cli", "keydb-cli", "mongo", "sqlcmd", "bcp", "ldap", "zip", "7z", "http", "xh", "ipmitool"),
    *("snowsql", "clickhouse", "rar", "smbclient", "identified", "fernet", "-----begin"),
)
# These fields identify an alarm and contain no text.
_IDENTITY_FIELDS = ("arn", "account", "region", "partition", "contributor_id", "instance")
_LONG_RUN = re.compile(r"[A-Za-z0-9_-]{20}|\\u[bc][0-9a-f]{3}")


def redact_bounded_text(text: str) -> str:
    """Return `text` without secrets, cut to a bounded length."""
    # A text of exactly this length may have been cut before.
    is_complete = len(text) < _MAX_TEXT_LENGTH
    safe = _redact_if_suspicious(text[:_MAX_TEXT_LENGTH])
    return safe if is_complete else safe[:-REDACTION_MARGIN]


def shorten_derived_name(text: str) -> str:
    """Return a command line or statement as the name of a run. It is redacted before it is cut."""
    if len(text) <= MAX_DERIVED_NAME_LENGTH:
        return text
    return truncate_text(redact_bounded_text(text), MAX_DERIVED_NAME_LENGTH)


def _redact_if_suspicious(text: str) -> str:
    # A color code inside a word would hide it from the hints.
    if not _may_contain_secret(sanitize_text(text)):
        return text
    from cwnotify.alerts.redaction.patterns import redact_text

    return redact_text(text)


def _may_contain_secret(text: str) -> bool:
    lowered = text.lower()
    return any(hint in lowered for hint in _HINTS) or _LONG_RUN.search(text) is not None


def redact_json_value(value: object) -> object:
    """Return a JSON value without the secrets in its texts and under its keys."""
    from cwnotify.alerts.redaction.values import redact_json_value as redact_json

    return redact_json(value)


def redact_aws_event(event: AwsEvent) -> AwsEvent:
    """Return `event` without secrets. Its `redacted` field records whether there were any."""
    if not isinstance(event, AlarmStateChange):
        return event
    values = {name: value for name, value in vars(event).items() if name not in _IDENTITY_FIELDS}
    changed = {name: safe for name, value in values.items() if (safe := _redact_value(value)) != value}
    if not changed:
        return event
    return AlarmStateChange(**{**vars(event), **changed, "redacted": REDACTION_MARK in repr(changed)})


def _redact_value(value: object) -> object:
    if isinstance(value, str):
        return redact_bounded_text(value)
    if isinstance(value, tuple):
        return tuple(map(_redact_value, value))
    if isinstance(value, Dimension):
        return Dimension(redact_bounded_text(value.name), _redact_named_value(value.name, value.value))
    if isinstance(value, Tag):
        return Tag(redact_bounded_text(value.key), _redact_named_value(value.key, value.value))
    if isinstance(value, WatchedMetric):
        fields: dict[str, Any] = {name: _redact_value(item) for name, item in vars(value).items()}
        return WatchedMetric(**fields)
    if isinstance(value, ChildAlarm):
        return ChildAlarm(redact_bounded_text(value.name), value.state, value.at)
    return value


def _redact_named_value(name: str, value: str) -> str:
    """Redact a value by its form and by its name: no form identifies a password."""
    if not _may_contain_secret(name):
        return redact_bounded_text(value)
    safe = redact_json_value({name: value})
    return next(iter(safe.values())) if isinstance(safe, dict) else REDACTION_MARK
