"""What looks like a secret in text, and in data made of it. Pure: standard library and `alerts.blocks` only.

An exception's message, a shown value, a printed line or an event may hold a password by accident, and Slack keeps
what it is sent. Only what has the form of a secret, or is labelled as one, is removed: hashes, paths and ordinary
words stay.
"""

from __future__ import annotations

import json
import re

from cwnotify.alerts.blocks import clean
from cwnotify.alerts.redact import MARK, redact

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# A shorter path would be found in ordinary text.
_SHORTEST_PATH = 12

_WORD = (
    r"(?:pass(?:word|wd|phrase|code)|pwd|(?<=_)pass|secret|(?:api|access|account|private|signing|encryption)[ _-]?key"
    r"|(?:auth|access|refresh|session|security|bearer|bot|id)[_-]?token|x-amz-(?:signature|credential))"
)
_ABOUT = (
    r"(?:\w{0,40}(?:min|max|len|length|count|file|path|field|name|policy|required|type|error|ur[il]|arn|version)"
    r"|(?:\w{0,40}[_-])?(?:loss|acc|accuracy|score|rate|auc|f1|precision|recall|entropy|mse|mae|perplexity))(?!\w)"
)
# JSON inside of JSON has backslashes before its quotes.
_QUOTE = r"(?:\\{0,7}[\"'])?"
_LABEL = rf"(?<![\w.:/-])[\w.-]{{0,60}}?{_WORD}(?:s|\d+|[_-](?!{_ABOUT})\w{{1,40}}|Key)?(?!\w){_QUOTE}\]?"
LABEL_ALONE = re.compile(rf"{_LABEL}\s*$|[\[\"'.]{_WORD}[\"'\]]*\s*$", re.IGNORECASE)
_QUOTED = r"[bru]?(?P<quote>\\{0,7}[\"'])(?P<secret>(?:(?!(?P=quote))(?:\\.|.))+)"
# Repetitions are bounded, so that no text takes long.
# Code that names a secret holds none: `password=self.password`, `api_key=os.environ[...]`, `secret=None`.
_CODE = (
    r"(?!(?:None|null|True|False|nil|str|bytes|int|Path|Optional|SecretStr)\b"
    rf"|(?:[\w.]{{0,60}}?[._])?{_WORD}(?!\w)|[\w.]{{1,60}}[(\[]|[*.…]+(?:\W|$)|[/~<$%{{(\[])"
)
_PROSE = r"(?![a-z]+[,.]? +[a-z])"
_BARE = r"(?P<secret>[^\s,;&|\"'(){}\[\]]+)"

_FORMS = (
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\Z)",
    # Its end alone, where a tail began in the middle of it.
    r"(?m:^(?:[A-Za-z0-9+/=]{1,100}[ \t]*\n){0,80}-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----)",
    r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b(?:[\s,:;\"']{1,5}[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+]))?",
    r"\bxox[a-z](?:\.xox[a-z])?-[\w-]{8,}",
    r"\bxapp-[\w-]{8,}",
    r"hooks\.slack(?:-gov)?\.com/(?:services|workflows|triggers)/(?P<secret>[^\s\"'<>)]+)",
    r"/services/(?P<secret>T\w+/B\w+/\w+)",
    r"/api/webhooks/(?P<secret>\d+/[\w-]+)",
    r"\.webhook\.office\.com/(?P<secret>[^\s\"'<>)]+)",
    r"\b(?:gh[oprsu]_|github_pat_|glpat-|hf_|npm_|pypi-|dop_v1_|[rsp]k_(?:live|test)_)[\w-]{16,}",
    r"\bsk-(?=[\w-]{0,60}\d)(?=[\w-]{0,60}[A-Z])[\w-]{20,}",
    r"\b(?:AIza|ya29\.)[\w-]{30,}",
    r"\bSG\.[\w-]{16,}\.[\w-]{16,}",
    r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]*",
    r"(?i:\bbearer\s+)(?=\S{0,60}\d|\S{24})(?P<secret>[\w.~+/=-]{8,})",
    r"(?i:\bbasic\s+)(?=\S{0,60}[\d=])(?P<secret>[A-Za-z0-9+/]{8,}={0,2})",
    rf"(?i:\bauthorization{_QUOTE}\s*[:=]\s*\[?\s*{_QUOTE})(?!(?:bearer|basic)\s)(?i:[a-z][\w-]{{0,40}} +)?"
    r"(?P<secret>[^\s\"',}]+)",
    # The rest of AWS's own Authorization header, https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html
    r"(?i:\bSignature=)(?P<secret>[0-9a-fA-F]{32,})",
    # How the session tokens of AWS STS begin: they are base64 of the same first bytes.
    r"\b(?:FwoGZXIvYXdz|FQoGZXIvYXdz|IQoJb3JpZ2lu)[\w+/=%-]{20,}",
    # These confirm or end a subscription: https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html
    r"(?i:[?&;]Token=)(?P<secret>[\w.~+/=%-]{8,})",
    r"(?i:\bAction=Unsubscribe\b[^\s\"'<>]{0,20}?SubscriptionArn=)(?P<secret>[^\s\"'<>\\]+)",
    r"(?i:\bunsubscribe\.html\?)(?P<secret>[^\s\"'<>\\]+)",
    r"(?im:(?:^|\\[nr])(?:set-)?cookie: *)(?P<secret>\S(?:(?!\\+[nr])[^\r\n\"'])*)",
    rf"(?i:[\"'](?:set-cookie|cookie|subscribeurl|unsubscribeurl)\\{{0,7}}[\"']\s*:\s*\[?\s*{_QUOTED})",
    r"(?<=://)[^\s/:@\"'<>]*:(?P<secret>[^\s/\"'<>]+)@",
    r"(?<=://)(?P<secret>[^\s/:@\"'<>]{20,})@",
    rf"(?i:{_LABEL}\s*(?:=>?|:)\s*{_QUOTED})",
    rf"(?i:{_LABEL}\s*=>?\s*{_CODE}{_BARE})",
    rf"(?i:{_LABEL}:\s*{_CODE})(?-i:{_PROSE})(?i:{_BARE})",
    rf"(?i:(?<![\w-])--?[\w-]{{0,40}}?(?:{_WORD}|token)[\w-]{{0,20}}[ =]+(?!-){_CODE}[\"']?{_BARE})",
    # A token is a word as often as a secret: the value has to look like one.
    rf"(?i:(?<![\w-])[\w-]{{0,40}}?token{_QUOTE}\]?\s*[:=]\s*{_QUOTE})(?=[^\W\d]*\d)(?=[\d_]*[^\W\d])"
    r"(?P<secret>[\w.~+/=-]{8,})",
)
_SECRETS = tuple(re.compile(form, re.DOTALL) for form in _FORMS)


def scrub(text: str, known: Iterable[str] = ()) -> str:
    """`text` with a mark in place of all that looks like a secret.

    Parameters
    ----------
    known
        URLs that are secrets: they and their paths are taken out, whatever they look like.
    """
    # Cleaned first: a colour between a label and its value hides neither.
    text = clean(text)
    for url in known:
        for part in (url, f"/{url.partition('://')[2].partition('/')[2]}"):
            if len(part) >= _SHORTEST_PATH:
                text = text.replace(part, MARK)
    for form in _SECRETS:
        text = form.sub(_marked, text)
    return text


# Keys whose values are secret whatever they look like, besides those that `LABEL_ALONE` knows. Keys in lower case.
_SECRET_KEYS = frozenset(
    (
        "authorization",
        "proxy-authorization",
        "cookie",
        "set-cookie",
        "x-api-key",
        "token",
        "subscribeurl",
        "unsubscribeurl",
    )
)
_MAX_DEPTH = 40


def redact_value(value: object, depth: int = 0) -> object:
    """What JSON stands for, without its secrets; JSON inside of its texts is opened for that."""
    if depth > _MAX_DEPTH:
        return value if isinstance(value, int | float | None) else MARK
    if isinstance(value, dict):
        # ``{"name": "DB_PASSWORD", "value": "..."}``, as in environments and headers.
        names = [item for key, item in value.items() if isinstance(key, str) and key.lower() in ("name", "key")]
        labelled = any(map(_is_secret, names))
        return {
            _redact_key(key): _hidden(item)
            if _is_secret(key) or (labelled and str(key).lower().endswith("value"))
            else redact_value(item, depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        # ``["--password", "..."]``, as in the command of a container.
        options = [False, *(isinstance(item, str) and item[:1] == "-" and _is_secret(item) for item in value)]
        return [
            _hidden(item) if option else redact_value(item, depth + 1)
            for item, option in zip(value, options, strict=False)
        ]
    return _redact_text(value, depth) if isinstance(value, str) else value


def _redact_text(text: str, depth: int) -> str:
    if text.lstrip()[:1] in ("{", "["):
        try:
            inner = json.loads(text)
        except (ValueError, RecursionError):
            return redact(text)
        safe = redact_value(inner, depth + 1)
        return redact(text if safe == inner else json.dumps(safe, ensure_ascii=False))
    return redact(text)


def _redact_key(key: object) -> object:
    return redact(key) if isinstance(key, str) else key


def _is_secret(key: object) -> bool:
    return isinstance(key, str) and (key.strip().lower() in _SECRET_KEYS or bool(LABEL_ALONE.search(key[:200])))


def _hidden(value: object) -> object:
    """A value whose key says that it is secret: its shape, and nothing in it."""
    if isinstance(value, dict):
        return {_redact_key(key): _hidden(item) for key, item in list(value.items())[:20]}
    if isinstance(value, list | tuple):
        return [_hidden(item) for item in value[:20]]
    return value if value is None or isinstance(value, bool) or value == "" else MARK


def _marked(found: re.Match[str]) -> str:
    if "secret" not in found.re.groupindex:
        return MARK
    if MARK in found[0]:
        return found[0]
    start, end = (place - found.start() for place in found.span("secret"))
    return f"{found[0][:start]}{MARK}{found[0][end:]}"
