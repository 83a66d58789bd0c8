"""What looks like a secret -> a mark in its place. Pure; standard library and `alerts` only.

An exception's message, a shown value or a printed line may hold a password by accident, and Slack keeps what it is
told. So a run's texts pass through `scrub_run` or `scrub_ended` before anything is written or sent. Only what has
the form of a secret, or stands beside a word that says so, is taken out: hashes, paths and ordinary words stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from cwnotify.alerts.blocks import clean
from cwnotify.alerts.events import Run, RunEnded, Shown

MARK = "[removed]"
# A shorter path would be found in ordinary text.
_SHORTEST_PATH = 12

_WORD = (
    r"(?:pass(?:word|wd|phrase|code)|pwd|(?<=_)pass|secret|(?:api|access|account|private|signing|encryption)[ _-]?key"
    r"|(?:auth|access|refresh|session|security|bearer|bot|id)[_-]?token|x-amz-(?:signature|credential))"
)
_ABOUT = (
    r"\w{0,40}(?:min|max|len|length|count|file|path|field|name|policy|required|type|error|ur[il]|arn|version)(?!\w)"
)
_LABEL = rf"(?<![\w.:/-])[\w.-]{{0,60}}?{_WORD}(?:s|\d+|[_-](?!{_ABOUT})\w{{1,40}}|Key)?(?!\w)[\"']?\]?"
_LABEL_ALONE = re.compile(rf"{_LABEL}\s*$|[\[\"'.]{_WORD}[\"'\]]*\s*$", re.IGNORECASE)
_QUOTED = r"[bru]?(?P<quote>[\"'])(?P<secret>(?:\\.|(?!(?P=quote)).)+)"
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
    r"(?i:\bauthorization[\"']?\s*[:=]\s*[\"']?)(?!(?:bearer|basic)\s)(?i:[a-z]+ +)?(?P<secret>[^\s\"',}]+)",
    r"(?<=://)[^\s/:@\"'<>]*:(?P<secret>[^\s/\"'<>]+)@",
    r"(?<=://)(?P<secret>[^\s/:@\"'<>]{20,})@",
    rf"(?i:{_LABEL}\s*(?:=>?|:)\s*{_QUOTED})",
    rf"(?i:{_LABEL}\s*=>?\s*{_CODE}{_BARE})",
    rf"(?i:{_LABEL}:\s*{_CODE})(?-i:{_PROSE})(?i:{_BARE})",
    rf"(?i:(?<![\w-])--?[\w-]{{0,40}}?(?:{_WORD}|token)[\w-]{{0,20}}[ =]+(?!-){_CODE}[\"']?{_BARE})",
    # A token is a word as often as a secret: the value has to look like one.
    r"(?i:(?<![\w-])[\w-]{0,40}?token[\"']?\]?\s*[:=]\s*[\"']?)(?=[^\W\d]*\d)(?=[\d_]*[^\W\d])(?P<secret>[\w.~+/=-]{8,})",
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


def _marked(found: re.Match[str]) -> str:
    if "secret" not in found.re.groupindex:
        return MARK
    if MARK in found[0]:
        return found[0]
    start, end = (place - found.start() for place in found.span("secret"))
    return f"{found[0][:start]}{MARK}{found[0][end:]}"


def scrub_run(run: Run, known: Iterable[str] = ()) -> Run:
    """`run` with a name, and expressions to show, that hold no secret."""
    name = scrub(run.name, known)
    show = tuple(scrub(expression, known) for expression in run.options.show)
    if (name, show) == (clean(run.name), tuple(map(clean, run.options.show))):
        return run
    return replace(run, name=name, options=replace(run.options, show=show), scrubbed=True)


def scrub_ended(ended: RunEnded, known: Iterable[str] = ()) -> RunEnded:
    """`ended` with no secret in its name, error, values and output; it knows whether it held one."""
    known = tuple(known)
    failure = ended.failure
    if failure:
        failure = replace(
            failure,
            type=scrub(failure.type, known),
            message=scrub(failure.message, known),
            frames=scrub(failure.frames, known),
        )
    shown = tuple(_scrub_shown(one, known) for one in ended.shown)
    run, tail = scrub_run(ended.run, known), scrub(ended.tail, known)
    command = ended.command and replace(ended.command, text=scrub(ended.command.text, known))
    after = replace(ended, run=run, failure=failure, command=command, shown=shown, tail=tail)
    return replace(after, run=replace(run, scrubbed=True)) if _marks(after) > _marks(ended) else after


def _scrub_shown(shown: Shown, known: tuple[str, ...]) -> Shown:
    value = scrub(shown.value, known)
    if value not in ("", "None", "True", "False") and _LABEL_ALONE.search(shown.expression):
        value = MARK
    return Shown(scrub(shown.expression, known), value, scrub(shown.error, known))


def _marks(ended: RunEnded) -> int:
    texts = [ended.tail, *(text for one in ended.shown for text in (one.expression, one.value, one.error))]
    if ended.failure:
        texts += [ended.failure.type, ended.failure.message, ended.failure.frames]
    if ended.command:
        texts.append(ended.command.text)
    return sum(text.count(MARK) for text in texts)
