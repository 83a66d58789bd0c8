"""What JSON stands for, without the secrets in it, however its keys name them. Pure."""

from __future__ import annotations

import json
import re

from cwnotify.alerts.redaction.aws_events import REDACTION_MARK, redact_bounded_text
from cwnotify.alerts.redaction.labels import rate_secret_name

_MAX_DEPTH = 40
_MAX_KEY = 200
_WORD = re.compile(r"[^\W\d_]{1,20}|\W*[^\W\d_]{0,20}\W*", re.ASCII)


def redact_json_value(value: object, depth: int = 0) -> object:
    """What JSON stands for, without its secrets; JSON inside of its texts is opened for that."""
    if depth > _MAX_DEPTH:
        return value if isinstance(value, int | float | None) else REDACTION_MARK
    if isinstance(value, dict):
        # ``{"name": "DB_PASSWORD", "value": "..."}``, as in environments and headers.
        names = [item for key, item in value.items() if isinstance(key, str) and key.lower() in ("name", "key")]
        labelled = any(_is_secret(name, "") for name in names)
        return {
            _redact_key(key): _hidden(item)
            if _is_secret(key, item) or (labelled and str(key).lower().endswith("value"))
            else redact_json_value(item, depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        # ``["--password", "..."]``, as in the command of a container.
        options = [False, *(isinstance(item, str) and item[:1] == "-" and _is_secret(item, "") for item in value)]
        return [
            _hidden(item) if option else redact_json_value(item, depth + 1)
            for item, option in zip(value, options, strict=False)
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
    name = key.strip()[-_MAX_KEY:]
    certain = rate_secret_name(name)
    # The token of a language model is a word; that of a service is none.
    is_token = name.lower() == "token" and not (isinstance(value, str) and _WORD.fullmatch(value.strip()))
    return certain == 2 or (is_token and not isinstance(value, int | float))


def _hidden(value: object) -> object:
    """A value whose key says that it is secret: its shape, and nothing in it."""
    if isinstance(value, dict):
        return {_redact_key(key): _hidden(item) for key, item in list(value.items())[:20]}
    if isinstance(value, list | tuple):
        return [_hidden(item) for item in value[:20]]
    return value if value is None or isinstance(value, bool) or value == "" else REDACTION_MARK
