"""The text of a setting, a parameter or a secret -> the webhook's URL. Pure, standard library only.

The command line, the sidecar and the Lambda function all read their webhook here, so that what works for one works for
all. An error names the keys of a secret and never a part of a value.
"""

from __future__ import annotations

import json
import re
from urllib.parse import urlsplit

TYPE_CHECKING = False  # as in `typing`, whose import would take the Lambda function 5 ms
if TYPE_CHECKING:
    from collections.abc import Iterator

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")
REFERENCE_PREFIXES = ("ssm:", "secretsmanager:")
SLACK_WEBHOOK_HOSTS = ("hooks.slack.com", "hooks.slack-gov.com")
# What comes along when a URL is copied out of a shell, an .env file, a spreadsheet or a message.
_BLANKS = " \t\r\n\v\f\u00a0\u3000\ufeff"
WRAPPING_CHARACTERS = _BLANKS + "'\"<>`\u2018\u2019\u201c\u201d;,"
# Workflow webhooks: https://slack.com/help/articles/360041352714
_WORKFLOW = re.compile(r"/+(workflows|triggers)(/|$)", re.IGNORECASE)
# NAME=value in a shell or an .env file; "name": "value" in a line of YAML or JSON.
_ASSIGNMENT = re.compile(r"""(?:export\s+|set\s+|\$env:)?["']?([a-z_][\w.-]*)["']?\s*(?:=(?!=)|:\s)(.*)""", re.I | re.S)
# No user and password, no backslash, an ASCII name or an address without a zone, a port without zeros before it.
_PLAIN = re.compile(
    r"[a-z]+://(?:(?P<name>[a-z0-9._-]{1,254})|\[(?P<six>[0-9a-f:.]+)\])(?::(?!0)[0-9]{1,5})?(?:/[^\\#]*)?", re.I
)
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.I)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.I)
_OCTET = re.compile(r"0|[1-9][0-9]{0,2}")
_DOTS = re.compile(r"/(?:\.|%2e){1,2}(?:[/?]|$)", re.I)
_KEY = re.compile(r"[\w .-]{1,60}")
_MAX_KEYS = 10  # named in an error
_MAX_VALUES = 1000
_MAX_DEPTH = 20


class InvalidWebhookError(ValueError):
    """The text holds no usable webhook. The message is a predicate: it follows the name of the place."""


def parse_webhook_url(text: str | bytes, allow_missing_scheme: bool = False) -> str:
    """Return the webhook's URL, or the reference to where it is stored (``ssm:/name``, ``secretsmanager:name``).

    Parameters
    ----------
    text
        A URL, alone or in quotes, angle brackets or blanks; ``NAME=URL``, also several lines of an ``.env`` file; or a
        JSON object of which one value is the URL.
    bare
        Accept a URL without ``https://``, as AWS's blueprint stores it.

    Raises
    ------
    WebhookError
        If there is none, or more than one, or one that must not be used.
    """
    url = _unwrapped(_chosen(_decoded(text)))
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
    """Whether all programs read the same host, port and path from `url`, as RFC 3986 and browsers' rules have them."""
    match = _PLAIN.fullmatch(url)
    if match is None or _DOTS.search(url):
        return False
    if match["six"]:
        from ipaddress import IPv6Address

        try:
            IPv6Address(match["six"])
        except ValueError:
            return False
        return True
    labels = match["name"].removesuffix(".").split(".")
    if not all(_LABEL.fullmatch(label) for label in labels):
        return False
    # What ends with a number is an address, in any of the ways that inet_aton takes: 127.1, 0x7f000001, 0177.0.0.1.
    if _NUMBER.fullmatch(labels[-1]):
        return len(labels) == 4 and all(_OCTET.fullmatch(label) and int(label) < 256 for label in labels)
    return True


def is_workflow_webhook(url: str) -> bool:
    """Whether a URL starts a workflow in Slack instead of posting to a channel."""
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    return host in (*SLACK_WEBHOOK_HOSTS, *LOOPBACK_HOSTS) and bool(_WORKFLOW.match(parts.path))


def _decoded(text: str | bytes) -> str:
    """The text of a binary secret; Windows PowerShell writes files in UTF-16."""
    if isinstance(text, str):
        return text
    return text.decode("utf-16" if text[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8", errors="replace")


def _unwrapped(text: str) -> str:
    """The text without quotes and the like around it; a link of Slack's, ``<URL|label>``, without its label."""
    is_link = text.strip(_BLANKS + "\"'`").startswith("<")
    text = text.strip(WRAPPING_CHARACTERS)
    return text.partition("|")[0] if is_link else text


def _chosen(text: str) -> str:
    """The one value that is meant, of all that the text holds."""
    text = _without_quotes(text.strip(_BLANKS))
    if text.lstrip(_BLANKS).startswith(("{", "[")):
        return _pick(list(_flat("", _json(text))), "is JSON")
    lines = [line.strip(_BLANKS) for line in re.split(r"[\r\n]+", text)]
    values = [_assigned(line) for line in lines if line and not line.startswith("#")]
    if len(values) == 1:
        return values[0][1]
    return _pick(values, "has several lines") if any(name for name, _ in values) else text


def _without_quotes(text: str) -> str:
    """The text without the quotes that a shell or JSON puts around all of it."""
    if len(text) < 2 or text[0] not in "'\"" or text[-1] != text[0]:
        return text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    return value if isinstance(value, str) else text[1:-1]


def _json(text: str) -> object:
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidWebhookError("begins like JSON, but is not valid JSON") from None
    return value


def _flat(name: str, value: object, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Every text in a JSON value, with its key; a key in an object in an object is ``outer.inner``."""
    if isinstance(value, dict | list) and depth < _MAX_DEPTH:
        pairs = value.items() if isinstance(value, dict) else (("", item) for item in value)
        for key, item in pairs:
            yield from _flat(".".join(filter(None, (name, key))), item, depth + 1)
    else:
        yield name, _assigned(value)[1] if isinstance(value, str) else ""


def _assigned(line: str) -> tuple[str, str]:
    """The name and the value of ``NAME=value``; a line that is none has no name."""
    match = _ASSIGNMENT.fullmatch(line)
    if match is None:
        return "", line
    value = match[2].strip(_BLANKS)
    quoted = re.match(r"""(['"])(.*?)\1\s*(?:[;#].*)?$""", value)
    return match[1], quoted[2] if quoted else re.sub(r"\s+#.*$", "", value)


def _pick(values: list[tuple[str, str]], shape: str) -> str:
    """The value that holds a webhook: the only one, else the only URL of the best kind that there is."""
    if len(values) == 1 and values[0][1].strip():
        return values[0][1]
    ranked = [(_rank(text), name, text) for name, text in values[:_MAX_VALUES]]
    best = max((rank for rank, _, _ in ranked), default=0)
    if best == 0:
        raise InvalidWebhookError(
            f"{shape}, and no value of it is a webhook's URL{_named([name for name, _ in values])}"
        )
    found = [(name, text) for rank, name, text in ranked if rank == best]
    if len({_unwrapped(text) for _, text in found}) > 1:
        names = _named([name for name, _ in found])
        raise InvalidWebhookError(
            f"{shape}, and several values of it can be the webhook's URL{names}; keep one of them"
        )
    return found[0][1]


def _rank(text: str) -> int:
    """How likely a value is the webhook: 3 an incoming one, 2 a workflow's, 1 another URL or a reference, 0 none."""
    text = _unwrapped(text)
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


def _named(names: list[str]) -> str:
    """The keys for an error; one that does not look like a name can hold a secret itself."""
    shown = [name for name in dict.fromkeys(names) if _KEY.fullmatch(name)]
    more = ", …" if len(shown) > _MAX_KEYS or len(shown) < len(set(names)) else ""
    return f" (keys: {', '.join(shown[:_MAX_KEYS])}{more})" if shown else ""
