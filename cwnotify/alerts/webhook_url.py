"""Extract the webhook's URL from the text of a setting, parameter or secret. Pure, standard library only.

The command line, the sidecar and the Lambda function all use this module, so they accept the same texts. Errors name
the keys of a secret and never a part of a value.
"""

from __future__ import annotations

import json
import re
from urllib.parse import urlsplit

TYPE_CHECKING = False  # the import of `typing` takes 5 ms
if TYPE_CHECKING:
    from collections.abc import Iterator

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")
REFERENCE_PREFIXES = ("ssm:", "secretsmanager:")
SLACK_WEBHOOK_HOSTS = ("hooks.slack.com", "hooks.slack-gov.com")
# Characters around a URL that was copied from a shell, an .env file, a spreadsheet or a message.
_BLANKS = " \t\r\n\v\f\u00a0\u3000\ufeff"
WRAPPING_CHARACTERS = _BLANKS + "'\"<>`\u2018\u2019\u201c\u201d;,"
# Workflow webhooks: https://slack.com/help/articles/360041352714
_WORKFLOW = re.compile(r"/+(workflows|triggers)(/|$)", re.IGNORECASE)
# NAME=value in a shell or an .env file; "name": "value" in a line of YAML or JSON.
_ASSIGNMENT = re.compile(r"""(?:export\s+|set\s+|\$env:)?["']?([a-z_][\w.-]*)["']?\s*(?:=(?!=)|:\s)(.*)""", re.I | re.S)
# No user and password, no backslash, an ASCII name or an address without a zone, a port without leading zeros.
_PLAIN_URL = re.compile(
    r"[a-z]+://(?:(?P<name>[a-z0-9._-]{1,254})|\[(?P<ipv6>[0-9a-f:.]+)\])(?::(?!0)[0-9]{1,5})?(?:/[^\\#]*)?", re.I
)
_HOST_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.I)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.I)
_OCTET = re.compile(r"0|[1-9][0-9]{0,2}")
_DOT_SEGMENT = re.compile(r"/(?:\.|%2e){1,2}(?:[/?]|$)", re.I)
_PRINTABLE_KEY = re.compile(r"[\w .-]{1,60}")
_MAX_NAMED_KEYS = 10  # in an error
_MAX_VALUES = 1000
_MAX_DEPTH = 20


class InvalidWebhookError(ValueError):
    """The text contains no usable webhook. The message is a predicate; the name of the source precedes it."""


def parse_webhook_url(text: str | bytes, allow_missing_scheme: bool = False) -> str:
    """Return the webhook's URL, or the reference to where it is stored (``ssm:/name``, ``secretsmanager:name``).

    Parameters
    ----------
    text
        A URL, alone or in quotes, angle brackets or blanks; ``NAME=URL``, or several lines of an ``.env`` file; or a
        JSON object with the URL as one of its values.
    allow_missing_scheme
        Accept a URL without ``https://``, as AWS's blueprint stores it.

    Raises
    ------
    InvalidWebhookError
        If the text has no URL, more than one, or one that must not be used.
    """
    url = _unwrap(_choose_value(_decode(text)))
    if url.startswith(REFERENCE_PREFIXES):
        return url
    if not all("!" <= c <= "~" for c in url):
        raise InvalidWebhookError(
            "must be a URL, which holds no spaces or special characters; copy it again from Slack"
        )
    if allow_missing_scheme and "/" in url and "://" not in url:
        url = f"https://{url}"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise InvalidWebhookError("is not a URL; copy it again from Slack") from None
    if host and not _is_plain(url):
        raise InvalidWebhookError(
            "must be a plain URL, without a user, a backslash, a # or an unusual host or port; copy it again from Slack"
        )
    if not host or not (parts.scheme == "https" or (parts.scheme == "http" and host in LOOPBACK_HOSTS)):
        raise InvalidWebhookError("must begin with https:// (http:// only for this machine's own address)")
    if is_workflow_webhook(url):
        raise InvalidWebhookError(
            "is a Slack Workflow webhook, which takes other JSON than an incoming one; "
            "create an incoming webhook instead: cwnotify manifest"
        )
    return url


def _is_plain(url: str) -> bool:
    """Return whether RFC 3986 and browsers read the same host, port and path from `url`."""
    match = _PLAIN_URL.fullmatch(url)
    if match is None or _DOT_SEGMENT.search(url):
        return False
    if match["ipv6"]:
        from ipaddress import IPv6Address

        try:
            IPv6Address(match["ipv6"])
        except ValueError:
            return False
        return True
    labels = match["name"].removesuffix(".").split(".")
    if not all(_HOST_LABEL.fullmatch(label) for label in labels):
        return False
    # A name that ends with a number is an address, in any form that inet_aton reads: 127.1, 0x7f000001, 0177.0.0.1.
    if _NUMBER.fullmatch(labels[-1]):
        return len(labels) == 4 and all(_OCTET.fullmatch(label) and int(label) < 256 for label in labels)
    return True


def is_workflow_webhook(url: str) -> bool:
    """Return whether a URL starts a workflow in Slack instead of posting to a channel."""
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    return host in (*SLACK_WEBHOOK_HOSTS, *LOOPBACK_HOSTS) and bool(_WORKFLOW.match(parts.path))


def _decode(text: str | bytes) -> str:
    """Return the text of a binary secret. Windows PowerShell writes files in UTF-16."""
    if isinstance(text, str):
        return text
    return text.decode("utf-16" if text[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8", errors="replace")


def _unwrap(text: str) -> str:
    """Remove surrounding quotes, blanks and brackets, and the label of a Slack link ``<URL|label>``."""
    is_link = text.strip(_BLANKS + "\"'`").startswith("<")
    text = text.strip(WRAPPING_CHARACTERS)
    return text.partition("|")[0] if is_link else text


def _choose_value(text: str) -> str:
    """Return the value in the text that is the webhook."""
    text = _remove_quotes(text.strip(_BLANKS))
    if text.lstrip(_BLANKS).startswith(("{", "[")):
        return _choose_likeliest(list(_flatten("", _parse_json(text))), "is JSON")
    lines = [line.strip(_BLANKS) for line in re.split(r"[\r\n]+", text)]
    values = [_split_assignment(line) for line in lines if line and not line.startswith("#")]
    if len(values) == 1:
        return values[0][1]
    return _choose_likeliest(values, "has several lines") if any(name for name, _ in values) else text


def _remove_quotes(text: str) -> str:
    """Remove the quotes that a shell or JSON puts around the whole text."""
    if len(text) < 2 or text[0] not in "'\"" or text[-1] != text[0]:
        return text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    return value if isinstance(value, str) else text[1:-1]


def _parse_json(text: str) -> object:
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidWebhookError("begins like JSON, but is not valid JSON") from None
    return value


def _flatten(name: str, value: object, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Yield every text in a JSON value with its key. Keys of nested objects are joined: ``outer.inner``."""
    if isinstance(value, dict | list) and depth < _MAX_DEPTH:
        pairs = value.items() if isinstance(value, dict) else (("", item) for item in value)
        for key, item in pairs:
            yield from _flatten(".".join(filter(None, (name, key))), item, depth + 1)
    else:
        yield name, _split_assignment(value)[1] if isinstance(value, str) else ""


def _split_assignment(line: str) -> tuple[str, str]:
    """Return the name and value of ``NAME=value``; any other line has an empty name."""
    match = _ASSIGNMENT.fullmatch(line)
    if match is None:
        return "", line
    value = match[2].strip(_BLANKS)
    quoted = re.match(r"""(['"])(.*?)\1\s*(?:[;#].*)?$""", value)
    return match[1], quoted[2] if quoted else re.sub(r"\s+#.*$", "", value)


def _choose_likeliest(values: list[tuple[str, str]], shape: str) -> str:
    """Return the only value, or else the only URL of the likeliest kind among `values`."""
    if len(values) == 1 and values[0][1].strip():
        return values[0][1]
    ranked = [(_rank_url(text), name, text) for name, text in values[:_MAX_VALUES]]
    best = max((rank for rank, _, _ in ranked), default=0)
    if best == 0:
        raise InvalidWebhookError(
            f"{shape}, and none of its values is a webhook's URL{_format_keys([name for name, _ in values])}"
        )
    candidates = [(name, text) for rank, name, text in ranked if rank == best]
    if len({_unwrap(text) for _, text in candidates}) > 1:
        keys = _format_keys([name for name, _ in candidates])
        raise InvalidWebhookError(f"{shape}, and several values of it can be the webhook's URL{keys}; keep one of them")
    return candidates[0][1]


def _rank_url(text: str) -> int:
    """Rate how likely a value is the webhook: 3 incoming, 2 workflow, 1 another URL or a reference, 0 no URL."""
    text = _unwrap(text)
    if text.startswith(REFERENCE_PREFIXES):
        return 1
    try:
        parts = urlsplit(text if "://" in text else f"https://{text}")
        host = (parts.hostname or "").rstrip(".")
    except ValueError:
        return 0
    if host in SLACK_WEBHOOK_HOSTS or (host in LOOPBACK_HOSTS and parts.path.startswith("/services/")):
        return 2 if _WORKFLOW.match(parts.path) else 3
    if host in LOOPBACK_HOSTS and _WORKFLOW.match(parts.path):
        return 2
    is_usable = parts.scheme == "https" or host in LOOPBACK_HOSTS
    return 1 if "://" in text and host and is_usable else 0


def _format_keys(names: list[str]) -> str:
    """Format keys for an error. Keys that do not look like names are omitted, because they can be secrets."""
    printable = [name for name in dict.fromkeys(names) if _PRINTABLE_KEY.fullmatch(name)]
    more = ", …" if len(printable) > _MAX_NAMED_KEYS or len(printable) < len(set(names)) else ""
    return f" (keys: {', '.join(printable[:_MAX_NAMED_KEYS])}{more})" if printable else ""
