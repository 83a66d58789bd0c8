"""Find secrets that only their label identifies: ``password=hunter2``, ``{"api_key": "..."}``, ``--token x``. Pure.

A scan finds words that may name a secret. The whole name decides first: ``db_password`` names one, ``password_loss``
and ``max_tokens`` do not. Then the value decides: numbers, code, placeholders and plain words stay. If the name is
ambiguous (`token`, `key`), the value is removed only if it looks random.

The scan continues after each value that it has read, so its time is linear in the text.
"""

from __future__ import annotations

import re

from cwnotify.alerts.redaction.aws_events import REDACTION_MARK


def _word_set(words: str) -> frozenset[str]:
    return frozenset(words.split())


# All in characters. A longer quoted value extends to the end of its line.
_MAX_QUOTED_LENGTH = 8_192
_MAX_JUDGED_LENGTH = 512  # of a value
_MAX_LIST_LENGTH = 4_000
_MAX_NAME_LENGTH = 60  # on either side of the word that names a secret
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_A-Za-z]+")

_NOUN = re.compile(
    r"(?i:pass|pwd|secret|token|key|cred|cookie|auth|signature|dsn|connection_?string|mnemonic|비밀|암호|토큰)"
)

# Names, with their words in lower case and joined by underscores. Strong names always name secrets.
_STRONG_NAME = re.compile(
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
_WEAK_NAME = re.compile(
    r"(?:\w*_)?(?:token|key|pass|credentials?|auth|dsn|토큰)(?:_?\d+)?(?P<rest>(?:_\w+)?)|\w*[a-z]token"
)
# Words after the noun (or before it, if they count or measure) that make it the name of something else.
_OTHER_MEANING_WORDS = _word_set(
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
_COUNTING_WORDS = _word_set(
    "min max minimum maximum num number n total avg mean std count len size has is no per first last next prev forward"
    " backward single multi"
)
_MODEL_WORDS = _word_set(
    "pad padding eos bos sos unk cls sep mask special image img audio video text start end new begin stop space vocab"
    " input output prompt completion generated predicted target source sub word bpe draft think eot sort cache"
    " partition primary foreign hash group dict public index dimension object s3 row column max min num n last first"
    " next prev forward backward train val test eval single multi by natural surrogate join shift range idempotency"
    " arrow hot short query attention attn value"
)

_COLOR_CODE = r"(?:\\(?:x1b|u001[bB]|033|e)\[[\d;]{0,12}m){0,3}"
# Three or more are Python's, or a shell's nested quotes: '"'"'.
_QUOTE = r"(?:(?:\\{0,64}[\"']){3,40}|\\{0,64}[\"'`]|&quot;|&#3[49];|&#x2[27];|%2[27])"
_ASSIGNS = r"(?:=>|:=|[!=]?==?|：|＝|:|%3[DdAa]|\\{1,64}u003[dDaA])"
# Between a name and its value. `closing` is the quote after the name.
_BETWEEN = re.compile(
    rf"{_COLOR_CODE}(?P<closing>{_QUOTE})?\]?{_COLOR_CODE}(?:"
    rf"[ \t]{{0,20}}:[ \t]{{0,4}}[A-Za-z_][\w.]{{0,30}}(?:\[[\w., |]{{0,40}}\])?(?:[ \t]{{1,4}}\|[ \t]{{1,4}}None)?"
    rf"[ \t]{{0,4}}=[ \t]{{0,4}}(?=[bruf]{{0,2}}\\{{0,64}}[\"'])|"
    rf"[ \t]{{0,20}}(?P<assigns>{_ASSIGNS}){_COLOR_CODE}[ \t]{{0,20}}(?:\\?\n[ \t]{{0,20}}(?=[\"']))?{_COLOR_CODE}"
    rf"|(?P<comma>[ \t]{{0,2}},\s{{0,4}})(?=\\{{0,64}}[\"'])"
    r"|(?P<table>[ \t]{0,20}[|│┃][ \t]{0,20}|[ \t]{2,40}|[ \t]is[ \t]:?)"
    r"|(?P<markup>>)"
    r"|(?P<space>[ \t]{1,20})"
    r")"
)
_OPENING = re.compile(rf"[bruf]{{0,2}}({_QUOTE})", re.IGNORECASE)
_LIST = re.compile(r"\\?[\[({]\s{0,4}[bruf]?\\{0,64}[\"']")
_BARE_CHARACTER = r"(?:(?!\\+(?:[nrt\"'`]|x1b|u001b|u00[23][2367cCeE])|&(?:quot|amp|lt|gt);)[^\s,;&\"'`<>])"
# The beginning of a bare value decides, so that a harmless one is not read to its end for every name in it.
_BARE = re.compile(_BARE_CHARACTER + f"{{1,{_MAX_JUDGED_LENGTH}}}")
_BARE_REST = re.compile(_BARE_CHARACTER + "*")
_SHELL_NAME = re.compile(r"(?:(?<![A-Za-z])|(?<=\\[nrt])|(?<=m))(?:set(?:x|env|-string)?|ENV|export)[ \t]{1,4}\Z")

_PRECEDING_WORD = re.compile(r"(?i:\b(api|access|secret|private|auth|session|bearer|signing|encryption|account))[ ]\Z")

_NUMBER = re.compile(r"[-+]?(?:\d{1,3}|\d{1,12}[.,]\d*|\.\d+)(?:[eE][-+]?\d+)?(?:%|[a-zA-Z]{1,5}(?:/[a-z]{1,5})?)?")
_ANY_NUMBER = re.compile(r"[-+]?\d[\d.,_]*(?:[eE][-+]?\d+)?(?:%|[kKMGTBsx]{1,3}|/s|ms)?")
_PLAIN_WORDS = _word_set(
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
# One segment with digits and capitals is more likely a password that begins with a slash.
_UNLIKELY_FILE = re.compile(r"/(?=[^/]*\d)(?=[^/]*[A-Z])[\w+=-]{6,}")
_PROSE = re.compile(r"[ \t]+[a-zA-Z]")
_SECRET_LIKE = re.compile(r"(?=[^\d]*\d)(?=[^A-Za-z]*[A-Za-z])[\w.~+/=%:@!$^*?-]{8,}")
_RANDOM = re.compile(r"(?=[^\d]*\d)(?=[^A-Z]*[A-Z])(?=[^a-z]*[a-z])[\w.~+/=%-]{16,}|[0-9a-f]{16,64}")
_HEX_OR_UUID = re.compile(r"(?:0x)?[0-9a-f]{7,128}|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_ELEMENT = re.compile(r"[^<>\n]{1,4000}(?=</)")
# The part of a password after a comma. Another name and value, or a list's next item, does not belong to it.
_CONTINUATION = re.compile(
    r"[,;&](?=[^\s=:\"'`,;&<>()\[\]{}\\]*\d)[^\s=:\"'`,;&<>()\[\]{}\\]{1,60}(?=[\s\"'`\\)\]}]|\Z)"
)
_PASSPHRASE = re.compile(r"[^\n\"'\\;|&<>]+")

# JSON keys and headers whose values are always secret.
_SECRET_HEADERS = _word_set(
    "authorization proxy_authorization cookie cookies set_cookie x_api_key subscribe_url unsubscribe_url"
    " subscribe_uri unsubscribe_uri cookie_jar set_cookies"
)


def rate_secret_name(name: str) -> int:
    """Return 2 if `name` names a secret, 1 if it may also name something else, and 0 if it does not name one."""
    words = [word.lower() for word in _WORDS.findall(name)]
    joined = "_".join(words)
    if joined in _SECRET_HEADERS:
        return 2
    match = _STRONG_NAME.fullmatch(joined)
    if match is not None:
        rest = match["rest"].split("_")
        prefix = joined[: len(joined) - len(match["rest"])].split("_")
        if not _OTHER_MEANING_WORDS.intersection(rest) and not _COUNTING_WORDS.intersection(prefix[:-1]):
            return 2
        return 0
    match = _WEAK_NAME.fullmatch(joined)
    if (
        match is None
        or _OTHER_MEANING_WORDS.intersection((match["rest"] or "").split("_"))
        or _MODEL_WORDS.intersection(words)
    ):
        return 0
    return 1


def rate_secret_expression(expression: str) -> int:
    """Rate the name that an expression ends with: ``os.environ['DB_PASSWORD']``, ``config.password``, ``password``."""
    match = re.search(r"([\w-]{1,120})[\"'\]\s]*\Z", expression[-200:])
    return rate_secret_name(match[1]) if match else 0


def redact_labeled_secrets(text: str) -> str:
    """Replace the values in `text` whose names identify them as secret with a mark."""
    pieces: list[str] = []
    copied = position = 0
    while (noun := _NOUN.search(text, position)) is not None:
        start, end = _extend_to_name(text, noun.start(), noun.end(), copied)
        position = end
        value = _find_value(text, start, end)
        if value is None:
            continue
        pieces += [text[copied : value[0]], REDACTION_MARK]
        copied = position = value[1]
    return "".join([*pieces, text[copied:]]) if pieces else text


def _extend_to_name(text: str, start: int, end: int, min_start: int) -> tuple[int, int]:
    min_start = max(min_start, start - _MAX_NAME_LENGTH)
    while start > min_start and (text[start - 1].isalnum() or text[start - 1] in "_.-"):
        start -= 1
    max_end = min(len(text), end + _MAX_NAME_LENGTH)
    while end < max_end and (text[end].isalnum() or text[end] in "_-."):
        end += 1
    return start, end


def _find_value(text: str, start: int, end: int) -> tuple[int, int] | None:
    """Return the span of a name's value if it is a secret; the name is from `start` to `end`."""
    name = text[start:end].rstrip(".")
    # Escapes before a name end with a letter: \npassword in a repr, \x1b[32mtoken in a color code.
    certainty = rate_secret_name(re.sub(r"\A\d{1,3}m", "", name))
    before = text[max(0, start - 1) : start]
    escape_letters = {"\\": "nrt", "[": "m"}.get(before, "")
    if not certainty and name[:1] and name[0] in escape_letters:
        certainty = rate_secret_name(name[1:])
    if certainty < 2 and (preceding := _PRECEDING_WORD.search(text, max(0, start - 16), start)):
        # "API key: ..."
        certainty = max(certainty, rate_secret_name(f"{preceding[1]}_{name}"))
    if not certainty:
        return None
    between = _BETWEEN.match(text, start + len(name))
    if between is None:
        return None
    is_option = name[:1] == "-"
    if between["assigns"] == ":" and before == ":" and between.end() - between.start() == 1:
        return None  # It is a part of an ARN or an address.
    if between["comma"] is not None and not is_option and not _is_pair(text, start):
        return None
    if between["markup"]:
        element = _ELEMENT.match(text, between.end())
        return element.span() if before == "<" and element and certainty == 2 else None
    if between["space"] and not is_option and not _SHELL_NAME.search(text, max(0, start - 12), start):
        return None
    if between["table"] is not None:
        certainty = certainty if is_option else 1
    return _judge_value(text, name, certainty, between, is_option)


def _is_pair(text: str, start: int) -> bool:
    """Return whether the name is the first of a pair: ``("password", "...")``."""
    return re.search(r"\([bru]?\\{0,64}[\"']\Z", text[max(0, start - 70) : start]) is not None


def _judge_value(
    text: str, name: str, certainty: int, between: re.Match[str], is_option: bool
) -> tuple[int, int] | None:
    """Return the span of the value after `between` if it is a secret."""
    position, lowered_name = between.end(), name.lower()
    opening = _OPENING.match(text, position)
    if opening is not None:
        start, end = _find_quoted(text, opening)
        # The quote ends a text, as in ``input("Password: ")``.
        if between["closing"] is None and re.match(r"[)\],]|\s*\Z|\s*[)\n]", text[opening.end() :][:3]):
            return None
        value = text[start:end]
        if between["comma"] is not None and value[:1] == "-":
            return None
        return (start, end) if _is_secret(value, name, certainty, quoted=True) else None
    if _LIST.match(text, position) and (certainty == 2 or "auth" in lowered_name):
        close = {"[": "]", "(": ")", "{": "}"}[text[position + (text[position] == "\\")]]
        end = text.find(close, position, position + _MAX_LIST_LENGTH)
        content = text[position + 1 : end if end >= 0 else position + _MAX_LIST_LENGTH]
        if "auth" in lowered_name and "cookie" not in lowered_name:
            return None
        is_secret = REDACTION_MARK not in content and re.search(r"\w", content)
        return (position + 1, position + 1 + len(content)) if is_secret else None
    if between["comma"] is not None:
        return None
    bare = _BARE.match(text, position)
    if bare is None:
        return None
    start, end = bare.span()
    if "cookie" in lowered_name or "authorization" in lowered_name:
        return None  # `patterns` has the forms of these headers.
    value = _strip_closing_brackets(bare[0])
    end = start + len(value)
    if not value or (value[0] == "-" and (is_option or not value.strip("-"))):
        return None
    is_colon = (between["assigns"] or "") in (":", "：") or between["table"] is not None
    if is_colon and value.rstrip(".,").isalpha() and _PROSE.match(text, end):
        if (
            "phrase" in lowered_name
            and value.lower() not in _PLAIN_WORDS
            and (phrase := _PASSPHRASE.match(text, start))
        ):
            return phrase.span()
        return None
    if re.match(r"[\w-]*[(\[]", text[end : end + 60]) and value.isidentifier():
        return None
    if not _is_secret(value, name, certainty, quoted=False):
        return None
    remainder = _BARE_REST.match(text, bare.end())
    end = remainder.end() if remainder and remainder[0] else end
    continuation = _CONTINUATION.match(text, end) if certainty == 2 else None
    return start, continuation.end() if continuation else end


def _strip_closing_brackets(value: str) -> str:
    """Return a bare value without the closing brackets of the text around it."""
    while (
        value
        and value[-1] in ")]}\\>"
        and value.count(value[-1]) > value.count({")": "(", "]": "[", "}": "{", "\\": "\0", ">": "<"}[value[-1]])
    ):
        value = value[:-1]
    return value


def _find_quoted(text: str, opening: re.Match[str]) -> tuple[int, int]:
    """Return the span of a quoted value. Without a closing quote it extends to the end of its line."""
    quote, start = opening[1], opening.end()
    if quote[0] in "&%" or len(quote) - quote.count("\\") >= 3:
        end = text.find(quote, start)
        return start, end if end >= 0 else len(text)
    line = text.find("\n", start, start + _MAX_QUOTED_LENGTH)
    if line < 0 and _find_closing_quote(text, quote, start, start + _MAX_QUOTED_LENGTH) is None:
        line = text.find("\n", start)
        line = len(text) if line < 0 else line
    line = start + _MAX_QUOTED_LENGTH if line < 0 else line
    closing = _find_closing_quote(text, quote, start, line)
    return start, line if closing is None else closing


def _find_closing_quote(text: str, quote: str, start: int, line: int) -> int | None:
    depth, mark, position = quote.count("\\"), quote[-1], start
    while True:
        end = text.find(mark, position, line)
        if end < 0:
            return None
        slashes = 0
        while end - slashes > start and text[end - slashes - 1] == "\\":
            slashes += 1
        # In JSON within JSON, quotes inside the value have more backslashes, and those around it have fewer.
        if slashes < depth or (slashes - depth) % (2 * (depth + 1)) == 0:
            return end - min(slashes, depth)
        position = end + 1


def _is_secret(value: str, name: str, certainty: int, quoted: bool) -> bool:
    value = value[:_MAX_JUDGED_LENGTH].strip()
    lowered = value.lower().strip(".,:;!?)")
    if (
        not value
        or REDACTION_MARK in value
        or lowered in _PLAIN_WORDS
        or _PLACEHOLDER.fullmatch(value)
        or _NUMBER.fullmatch(value)
    ):
        return False
    if certainty == 2:
        if quoted:
            return not _is_reference(value)
        is_code = _CODE.fullmatch(value) or (value.replace(".", "").isidentifier() and _is_reference(value))
        is_file = len(value) != 40 and _FILE.fullmatch(value) and not _UNLIKELY_FILE.fullmatch(value)
        return not is_code and not is_file
    if _ANY_NUMBER.fullmatch(value) or _FILE.fullmatch(value) or (not quoted and _CODE.fullmatch(value)):
        return False
    if name.lower().rstrip("0123456789_")[-3:] == "key":
        # Caches and tables also have keys.
        return _RANDOM.fullmatch(value) is not None and not _HEX_OR_UUID.fullmatch(value)
    return _SECRET_LIKE.fullmatch(value) is not None


def _is_reference(value: str) -> bool:
    """Return whether a value only names a secret: ``self.api_key``, ``"password"``."""
    last = value.rpartition(".")[2]
    return len(value) < 40 and rate_secret_name(last) == 2 and last.replace("_", "").replace("-", "").isalpha()
