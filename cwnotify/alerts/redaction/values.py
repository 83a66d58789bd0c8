"""Remove the secrets from JSON values, by form and by key. Pure."""

from __future__ import annotations

import json
import re

from cwnotify.alerts.redaction.aws_events import REDACTION_MARK, redact_bounded_text
from cwnotify.alerts.redaction.labels import rate_secret_name

_MAX_DEPTH = 40
_MAX_KEY_LENGTH = 200
_WORD = re.compile(r"[^\W\d_]{1,20}|\W*[^\W\d_]{0,20}\W*", re.ASCII)


def redact_json_value(value: object, depth: int = 0) -> object:
    """Return a JSON value without its secrets, including those in JSON inside of its texts."""
    if depth > _MAX_DEPTH:
        return value if isinstance(value, int | float | None) else REDACTION_MARK
    if isinstance(value, dict):
        # ``{"name": "DB_PASSWORD", "value": "..."}``, as in environments and headers.
        names = [item for key, item in value.items() if isinstance(key, str) and key.lower() in ("name", "key")]
        is_secret_entry = any(_is_secret(name, "") for name in names)
        return {
            _redact_key(key): _hide(item)
            if _is_secret(key, item) or (is_secret_entry and str(key).lower().endswith("value"))
            else redact_json_value(item, depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        # ``["--password", "..."]``, as in the command of a container.
        is_option = [isinstance(item, str) and item[:1] == "-" and _is_secret(item, "") for item in value]
        return [
            _hide(item) if is_secret_value else redact_json_value(item, depth + 1)
            for item, is_secret_value in zip(value, [False, *is_option], strict=False)
        ]
    return _redact_text(value, depth) if isinstance(value, str) else value


def _redact_text(text: str, depth: int) -> str:
    if text.lstrip()[:1] in ("{", "["):
        try:
            inner = json.loads(text)
        except (ValueError, RecursionError):
            return redact_bounded_text(text)
        safe = redact_json_value(inner, depth + 1)
        return redact_bounded_text(text if safe == inner else json.dumps(safe, ensure_ascii=False))
    return redact_bounded_text(text)


def _redact_key(key: object) -> object:
    return redact_bounded_text(key) if isinstance(key, str) else key


def _is_secret(key: object, value: object) -> bool:
    if not isinstance(key, str):
        return False
    name = key.strip()[-_MAX_KEY_LENGTH:]
    certainty = rate_secret_name(name)
    # The token of a language model is a word; that of a service is not.
    is_token = name.lower() == "token" and not (isinstance(value, str) and _WORD.fullmatch(value.strip()))
    return certainty == 2 or (is_token and not isinstance(value, int | float))


def _hide(value: object) -> object:
    """Replace every text and number in a value, and preserve its shape."""
    if isinstance(value, dict):
        return {_redact_key(key): _hide(item) for key, item in list(value.items())[:20]}
    if isinstance(value, list | tuple):
        return [_hide(item) for item in value[:20]]
    return value if value is None or isinstance(value, bool) or value == "" else REDACTION_MARK
