"""Secrets that only their label gives away: ``password=hunter2``, ``{"api_key": "..."}``, ``--token x``. Pure.

A scan finds words that may name a secret. The whole name decides: ``db_password`` names one, ``password_loss`` and
``max_tokens`` do not. Then the value decides: numbers, code, placeholders and plain words stay. What may be one thing
or the other (`token`, `key`) is removed only if its value looks random.

The scan goes on behind each value that it has read, so its time is linear in the text.
"""

from __future__ import annotations

import re

from cwnotify.alerts.redaction.aws_events import REDACTION_MARK


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_MAX_QUOTED = 8_192  # characters; a longer value is read once, to the end of its line
_MAX_JUDGED = 512  # characters of a value
_MAX_NAME = 60  # characters on either side of the word that names a secret
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_A-Za-z]+")

_NOUN = re.compile(
    r"(?i:pass|pwd|secret|token|key|cred|cookie|auth|signature|dsn|connection_?string|mnemonic|비밀|암호|토큰)"
)

# Names, with their words in lower case and joined by underscores.
_STRONG = re.compile(
    r"(?:\w*(?:password|passwd|passphrase|passcode|pwd|secret|mnemonic|secret_phrase|seed_phrase|비밀_?번호|암호|시크릿)"
    r"|(?:\w*_)?(?:api|access|account|private|secret|signing|signature|encryption|decryption|master|license|shared"
    r"|shared_access|subscription|service|app|application|consumer|client|root|admin|deploy|storage|ssh|gpg|pgp|rsa"
    r"|auth|webhook|ingest|write|read|project|bot|security|account)_?key"
    r"|\w*(?:apikey|secretkey|accesskey|privatekey|authkey|accountkey)"
    r"|(?:\w*_)?(?:auth|access|refresh|session|security|bearer|id|api|csrf|xsrf|oauth|personal_access|deploy|github|gitlab"
    r"|slack|bot|hf|hub|huggingface|wandb|registry|npm|pypi|vault|service|user|login|private|secret)_?token"
    r"|\w*(?:authtoken|accesstoken|apitoken)"
    r"|(?:\w*_)?(?:db|database|user|admin|root|my|mysql|pg|smtp|ftp|sftp|ssh|ldap|redis|mongo|rabbit|rabbitmq|mail|email"
    r"|proxy|http|auth|login|store|key|sudo|vpn|wifi|svn|jenkins|docker|kafka|es|elastic|neo4j)_?pass"
    r"|x_amz_(?:signature|credential)|(?:\w*_)?connection_?string)"
    r"(?:e?s)?(?:_?\d+)?(?P<rest>(?:_\w+)?)"
)
_WEAK = re.compile(r"(?:\w*_)?(?:token|key|pass|credentials?|auth|dsn|토큰)(?:_?\d+)?(?P<rest>(?:_\w+)?)|\w*[a-z]token")
# Words behind the noun (and, for what counts or measures, before it) that make it the name of something else.
_ABOUT = _set(
    "min max minimum maximum len length count num number total avg mean std sum size file files filename path paths"
    " dir"
    " folder field fields name names policy required require type types error errors exception url uri endpoint arn"
    " version id ids loss losses acc accuracy rate ratio score scores step steps layer layers dim dims dimension shape"
    " index idx mask prob probs embedding embeddings embed weight weights ttl timeout expiry expires expired expiration"
    " age attempts attempt retries retry enabled disabled reset strength manager provider hint prompt format class"
    " column columns input inputs label check checker checked valid validity validator validation changed change at"
    " date time day days hour hours minutes seconds sec lifetime per s metric metrics grad lr lengths limit budget"
    " usage used exists rotation rotated ref reference source store storage backend method mode algorithm alg kind"
    " digest fingerprint status state throughput ing er less ary vocab vocabulary position positions pos encoder model"
    " var variable env parameter param generator management recovery history group dropout heads head"
)
_COUNTING = _set(
    "min max minimum maximum num number n total avg mean std count len size has is no per first last next prev forward"
    " backward single multi"
)
_OF_MODELS = _set(
    "pad padding eos bos sos unk cls sep mask special image img audio video text start end new begin stop space vocab"
    " input output prompt completion generated predicted target source sub word bpe draft think eot sort cache"
    " partition primary foreign hash group dict public index dimension object s3 row column max min num n last first"
    " next prev forward backward train val test eval single multi by natural surrogate join shift range idempotency"
    " arrow hot short query attention attn value"
)

_COLOUR = r"(?:\\(?:x1b|u001[bB]|033|e)\[[\d;]{0,12}m){0,3}"
# Three or more are Python's, or a shell's within quotes of its own: '"'"'.
_QUOTE = r"(?:(?:\\{0,64}[\"']){3,40}|\\{0,64}[\"'`]|&quot;|&#3[49];|&#x2[27];|%2[27])"
_ASSIGNS = r"(?:=>|:=|[!=]?==?|：|＝|:|%3[DdAa]|\\{1,64}u003[dDaA])"
# Between a name and its value. `closing` is the name's own quote.
_BETWEEN = re.compile(
    rf"{_COLOUR}(?P<closing>{_QUOTE})?\]?{_COLOUR}(?:"
    rf"[ \t]{{0,20}}:[ \t]{{0,4}}[A-Za-z_][\w.]{{0,30}}(?:\[[\w., |]{{0,40}}\])?(?:[ \t]{{1,4}}\|[ \t]{{1,4}}None)?"
    rf"[ \t]{{0,4}}=[ \t]{{0,4}}(?=[bruf]{{0,2}}\\{{0,64}}[\"'])|"
    rf"[ \t]{{0,20}}(?P<assigns>{_ASSIGNS}){_COLOUR}[ \t]{{0,20}}(?:\\?\n[ \t]{{0,20}}(?=[\"']))?{_COLOUR}"
    rf"|(?P<comma>[ \t]{{0,2}},\s{{0,4}})(?=\\{{0,64}}[\"'])"
    r"|(?P<table>[ \t]{0,20}[|│┃][ \t]{0,20}|[ \t]{2,40}|[ \t]is[ \t]:?)"
    r"|(?P<markup>>)"
    r"|(?P<space>[ \t]{1,20})"
    r")"
)
_OPENING = re.compile(rf"[bruf]{{0,2}}({_QUOTE})", re.IGNORECASE)
_LIST = re.compile(r"\\?[\[({]\s{0,4}[bruf]?\\{0,64}[\"']")
_BARE_FORM = r"(?:(?!\\+(?:[nrt\"'`]|x1b|u001b|u00[23][2367cCeE])|&(?:quot|amp|lt|gt);)[^\s,;&\"'`<>])"
# Judged by its beginning, so that a harmless one is not read to its end at every name in it.
_BARE = re.compile(_BARE_FORM + f"{{1,{_MAX_JUDGED}}}")
_BARE_REST = re.compile(_BARE_FORM + "*")
_SHELL_NAME = re.compile(r"(?:(?<![A-Za-z])|(?<=\\[nrt])|(?<=m))(?:set(?:x|env|-string)?|ENV|export)[ \t]{1,4}\Z")

_WORD_AHEAD = re.compile(r"(?i:\b(api|access|secret|private|auth|session|bearer|signing|encryption|account))[ ]\Z")

_NUMBER = re.compile(r"[-+]?(?:\d{1,3}|\d{1,12}[.,]\d*|\.\d+)(?:[eE][-+]?\d+)?(?:%|[a-zA-Z]{1,5}(?:/[a-z]{1,5})?)?")
_ANY_NUMBER = re.compile(r"[-+]?\d[\d.,_]*(?:[eE][-+]?\d+)?(?:%|[kKMGTBsx]{1,3}|/s|ms)?")
_PLAIN = _set(
    "none null nil true false yes no on off str string bytes int float bool any object optional path required invalid"
    " incorrect wrong missing expired changed ok okay failed denied empty unset unknown strict enabled disabled hidden"
    " redacted removed masked needed rejected accepted valid the a an is was must not and or if for in undefined"
    " default prompt interactive type field text secretstr self cls n/a na nan -"
)
_PLACEHOLDER = re.compile(
    r"<[^<>]{0,60}>|\$\{\w+\}|\$[a-z_]+|\$\{\{.*\}\}|\$\(.*|\{+[^{}]*\}+|%\(?\w*\)?[sdrf]|%[A-Z_]+%|[*.…•xX#_-]{3,}|[*…•]+"
    r"|\[(?:removed|redacted|hidden|masked|filtered|secret|\*+)\]\W*|your[-_ ].{0,40}|.{0,40}[-_]here",
    re.IGNORECASE | re.DOTALL,
)
_CODE = re.compile(
    r"[A-Za-z_][\w.]{0,80}[(\[].*|(?:self|args|cfg|config|settings|opts|options|os|env|conf|params|kwargs)\.[\w.]+",
    re.DOTALL,
)
_FILE = re.compile(
    r"(?:~|\.{1,2})?(?:/[\w.@-]{1,60}){1,16}/?|[A-Za-z]:\\[^\s]*|(?:https?|s3|gs|file|arn|ssm|vault|op)[:/][^\s]*"
)
# One segment with digits and capitals is rather a password that begins with a slash.
_ODD_FILE = re.compile(r"/(?=[^/]*\d)(?=[^/]*[A-Z])[\w+=-]{6,}")
_PROSE = re.compile(r"[ \t]+[a-zA-Z]")
_SECRET_LIKE = re.compile(r"(?=[^\d]*\d)(?=[^A-Za-z]*[A-Za-z])[\w.~+/=%:@!$^*?-]{8,}")
_RANDOM = re.compile(r"(?=[^\d]*\d)(?=[^A-Z]*[A-Z])(?=[^a-z]*[a-z])[\w.~+/=%-]{16,}|[0-9a-f]{16,64}")
_HEX_OR_UUID = re.compile(r"(?:0x)?[0-9a-f]{7,128}|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_ELEMENT = re.compile(r"[^<>\n]{1,4000}(?=</)")
# What a comma in a password cuts off; another name and value, or the next of a list, is no part of it.
_MORE = re.compile(r"[,;&](?=[^\s=:\"'`,;&<>()\[\]{}\\]*\d)[^\s=:\"'`,;&<>()\[\]{}\\]{1,60}(?=[\s\"'`\\)\]}]|\Z)")
_PASSPHRASE = re.compile(r"[^\n\"'\\;|&<>]+")

# Keys of JSON whose values are secret whatever they look like.
_HEADERS = _set(
    "authorization proxy_authorization cookie cookies set_cookie x_api_key subscribe_url unsubscribe_url"
    " subscribe_uri unsubscribe_uri cookie_jar set_cookies"
)


def rate_secret_name(name: str) -> int:
    """How surely `name` names a secret: 2, or 1 if it may name something else too, or 0."""
    words = [word.lower() for word in _WORDS.findall(name)]
    joined = "_".join(words)
    if joined in _HEADERS:
        return 2
    match = _STRONG.fullmatch(joined)
    if match is not None:
        rest = match["rest"].split("_")
        ahead = joined[: len(joined) - len(match["rest"])].split("_")
        if not _ABOUT.intersection(rest) and not _COUNTING.intersection(ahead[:-1]):
            return 2
        return 0
    match = _WEAK.fullmatch(joined)
    if match is None or _ABOUT.intersection((match["rest"] or "").split("_")) or _OF_MODELS.intersection(words):
        return 0
    return 1


def rate_secret_expression(expression: str) -> int:
    """`rate_secret_name` of what an expression ends in: ``os.environ['DB_PASSWORD']``, ``config.password``, ``password``."""
    last = re.search(r"([\w-]{1,120})[\"'\]\s]*\Z", expression[-200:])
    return rate_secret_name(last[1]) if last else 0


def redact_labeled_secrets(text: str) -> str:
    """`text` with a mark in place of the values whose names call them secret."""
    pieces: list[str] = []
    done = at = 0
    while (noun := _NOUN.search(text, at)) is not None:
        start, end = _name_around(text, noun.start(), noun.end(), done)
        at = end
        value = _value(text, start, end)
        if value is None:
            continue
        pieces += [text[done : value[0]], REDACTION_MARK]
        done = at = value[1]
    return "".join([*pieces, text[done:]]) if pieces else text


def _name_around(text: str, start: int, end: int, least: int) -> tuple[int, int]:
    least = max(least, start - _MAX_NAME)
    while start > least and (text[start - 1].isalnum() or text[start - 1] in "_.-"):
        start -= 1
    most = min(len(text), end + _MAX_NAME)
    while end < most and (text[end].isalnum() or text[end] in "_-."):
        end += 1
    return start, end


def _value(text: str, start: int, end: int) -> tuple[int, int] | None:
    """Where the value of the name is that is at `start`, if it is a secret."""
    name = text[start:end].rstrip(".")
    # Escapes before a name end in a letter: a repr's \npassword, a colour's \x1b[32mtoken.
    certain = rate_secret_name(re.sub(r"\A\d{1,3}m", "", name))
    escaped = (
        "nrt" if text[max(0, start - 1) : start] == "\\" else "m" if text[max(0, start - 1) : start] == "[" else ""
    )
    if not certain and name[:1] and name[0] in escaped:
        certain = rate_secret_name(name[1:])
    if certain < 2 and (ahead := _WORD_AHEAD.search(text, max(0, start - 16), start)):
        # "API key: ..."
        certain = max(certain, rate_secret_name(f"{ahead[1]}_{name}"))
    if not certain:
        return None
    between = _BETWEEN.match(text, start + len(name))
    if between is None:
        return None
    is_option = name[:1] == "-"
    before = text[start - 1 : start]
    if between["assigns"] == ":" and before == ":" and between.end() - between.start() == 1:
        return None  # One part of an ARN or of an address.
    if between["comma"] is not None and not is_option and not _is_pair(text, start):
        return None
    if between["markup"]:
        element = _ELEMENT.match(text, between.end())
        return element.span() if before == "<" and element and certain == 2 else None
    at = between.end()
    if between["space"] and not is_option and not _SHELL_NAME.search(text, max(0, start - 12), start):
        return None
    if between["table"] is not None:
        certain = certain if is_option else 1
    return _judged(text, at, name, certain, between, is_option)


def _is_pair(text: str, start: int) -> bool:
    """Whether the name is the first of two in brackets: ``("password", "...")``."""
    return re.search(r"\([bru]?\\{0,64}[\"']\Z", text[max(0, start - 70) : start]) is not None


def _judged(
    text: str, at: int, name: str, certain: int, between: re.Match[str], is_option: bool
) -> tuple[int, int] | None:
    words = name.lower()
    opening = _OPENING.match(text, at)
    if opening is not None:
        start, end = _quoted(text, opening)
        # The quote ends a text, as in ``input("Password: ")``.
        if between["closing"] is None and re.match(r"[)\],]|\s*\Z|\s*[)\n]", text[opening.end() :][:3]):
            return None
        value = text[start:end]
        if between["comma"] is not None and value[:1] == "-":
            return None
        return (start, end) if _is_secret(value, name, certain, quoted=True) else None
    if _LIST.match(text, at) and (certain == 2 or "auth" in words):
        close = {"[": "]", "(": ")", "{": "}"}[text[at + (text[at] == "\\")]]
        end = text.find(close, at, at + 4_000)
        inside = text[at + 1 : end if end >= 0 else at + 4_000]
        if "auth" in words and "cookie" not in words:
            return None
        return (at + 1, at + 1 + len(inside)) if REDACTION_MARK not in inside and re.search(r"\w", inside) else None
    if between["comma"] is not None:
        return None
    bare = _BARE.match(text, at)
    if bare is None:
        return None
    start, end = bare.span()
    if "cookie" in words or "authorization" in words:
        return None  # `secret_forms` has the header's own form.
    value = _untrimmed(bare[0])
    end = start + len(value)
    if not value or (value[0] == "-" and (is_option or not value.strip("-"))):
        return None
    is_colon = (between["assigns"] or "") in (":", "：") or between["table"] is not None
    if is_colon and value.rstrip(".,").isalpha() and _PROSE.match(text, end):
        if "phrase" in words and value.lower() not in _PLAIN and (phrase := _PASSPHRASE.match(text, start)):
            return phrase.span()
        return None
    if re.match(r"[\w-]*[(\[]", text[end : end + 60]) and value.isidentifier():
        return None
    if not _is_secret(value, name, certain, quoted=False):
        return None
    rest = _BARE_REST.match(text, bare.end())
    end = rest.end() if rest and rest[0] else end
    more = _MORE.match(text, end) if certain == 2 else None
    return start, more.end() if more else end


def _untrimmed(value: str) -> str:
    """A bare value without the brackets that close around it."""
    while (
        value
        and value[-1] in ")]}\\>"
        and value.count(value[-1]) > value.count({")": "(", "]": "[", "}": "{", "\\": "\0", ">": "<"}[value[-1]])
    ):
        value = value[:-1]
    return value


def _quoted(text: str, opening: re.Match[str]) -> tuple[int, int]:
    """Where the value is that a quote opens; unclosed, it goes on to the end of its line."""
    quote, start = opening[1], opening.end()
    if quote[0] in "&%" or len(quote) - quote.count("\\") >= 3:
        end = text.find(quote, start)
        return start, end if end >= 0 else len(text)
    line = text.find("\n", start, start + _MAX_QUOTED)
    if line < 0 and _closing(text, quote, start, start + _MAX_QUOTED) is None:
        line = text.find("\n", start)
        line = len(text) if line < 0 else line
    line = start + _MAX_QUOTED if line < 0 else line
    closing = _closing(text, quote, start, line)
    return start, line if closing is None else closing


def _closing(text: str, quote: str, start: int, line: int) -> int | None:
    depth, mark, at = quote.count("\\"), quote[-1], start
    while True:
        end = text.find(mark, at, line)
        if end < 0:
            return None
        slashes = 0
        while end - slashes > start and text[end - slashes - 1] == "\\":
            slashes += 1
        # JSON within JSON: a quote of the value's own has more backslashes, one of the text around it has fewer.
        if slashes < depth or (slashes - depth) % (2 * (depth + 1)) == 0:
            return end - min(slashes, depth)
        at = end + 1


def _is_secret(value: str, name: str, certain: int, quoted: bool) -> bool:
    value = value[:_MAX_JUDGED].strip()
    lowered = value.lower().strip(".,:;!?)")
    if (
        not value
        or REDACTION_MARK in value
        or lowered in _PLAIN
        or _PLACEHOLDER.fullmatch(value)
        or _NUMBER.fullmatch(value)
    ):
        return False
    if certain == 2:
        if quoted:
            return not _is_a_name(value)
        is_code = _CODE.fullmatch(value) or (value.replace(".", "").isidentifier() and _is_a_name(value))
        is_file = len(value) != 40 and _FILE.fullmatch(value) and not _ODD_FILE.fullmatch(value)
        return not is_code and not is_file
    if _ANY_NUMBER.fullmatch(value) or _FILE.fullmatch(value) or (not quoted and _CODE.fullmatch(value)):
        return False
    if name.lower().rstrip("0123456789_")[-3:] == "key":
        # Caches and tables have keys too.
        return _RANDOM.fullmatch(value) is not None and not _HEX_OR_UUID.fullmatch(value)
    return _SECRET_LIKE.fullmatch(value) is not None


def _is_a_name(value: str) -> bool:
    """Whether a value only names a secret in turn: ``self.api_key``, ``"password"``."""
    last = value.rpartition(".")[2]
    return len(value) < 40 and rate_secret_name(last) == 2 and last.replace("_", "").replace("-", "").isalpha()
