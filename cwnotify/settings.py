"""Where every setting comes from, in which order; secrets masked.

Standard library, `errors` and `alerts.options` only.

Magic arguments come first, then ``%config CWNotify``, then the environment, then ``config.toml``, then defaults.
The webhook is a password: it comes from the environment or from the file that ``cwnotify login`` wrote, never
from a notebook, and it lives in a `Secret`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cwnotify.alerts.options import LANGUAGES, duration, mention, one_of
from cwnotify.errors import SettingsError, UsageError

LOOPBACK = ("localhost", "127.0.0.1", "::1")
REFERENCES = ("ssm:", "secretsmanager:")


class Secret:
    """A string that shows itself only to who asks by name: `reveal`."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself. Keep it out of argv, logs, exceptions, notebooks and databases."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(****)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> str:
        raise TypeError("a Secret is not to be pickled")


@dataclass(frozen=True)
class Settings:
    """Every setting, read and checked.

    Parameters
    ----------
    webhook
        The Slack webhook's URL, or ``ssm:/name`` or ``secretsmanager:name`` where it is kept; None if not set.
    mention
        In Slack's own form, see `cwnotify.alerts.options.mention`.
    min_seconds
        Runs shorter than this are not told.
    zone
        IANA time zone for the times in alerts; empty for the language's default.
    round_seconds
        Seconds between two looks at AWS while somebody watches.
    """

    webhook: Secret | None = None
    channel: str = ""
    lang: str = "en"
    instance: str = ""
    alarms: str = ""
    mention: str = ""
    min_seconds: float = 0.0
    zone: str = ""
    round_seconds: float = 30.0


@dataclass(frozen=True)
class _Source:
    """How one field is found: variables, first wins; then its key in config.toml."""

    variables: tuple[str, ...]
    key: str
    read: Callable[[str], Any] = str


_SOURCES = {
    "channel": _Source(("CWNOTIFY_CHANNEL",), "channel"),
    "lang": _Source(("CWNOTIFY_LANG",), "lang", one_of("lang", LANGUAGES)),
    "instance": _Source(("CWNOTIFY_INSTANCE",), "instance"),
    "alarms": _Source(("CWNOTIFY_ALARMS",), "alarms"),
    "mention": _Source(("CWNOTIFY_MENTION",), "mention", mention),
    "min_seconds": _Source(("CWNOTIFY_MIN_DURATION",), "min_duration", duration),
    "zone": _Source(("CWNOTIFY_TZ",), "timezone"),
    "round_seconds": _Source(("CWNOTIFY_ROUND",), "round", duration),
}
WEBHOOK_VARIABLES = ("CWNOTIFY_WEBHOOK_URL", "SLACK_WEBHOOK_URL")


def gather(
    environ: Mapping[str, str] | None = None, overrides: Mapping[str, str] | None = None
) -> tuple[Settings, tuple[str, ...]]:
    """Gather the settings; one that cannot be used stays at its default and is told.

    Parameters
    ----------
    environ
        The environment; `os.environ` by default.
    overrides
        What ``%config CWNotify`` sets, by the names of `Settings`' fields, as the user wrote it.

    Returns
    -------
    tuple
        The settings, and a sentence for each trouble: the setting, where it stands, what would be right.
    """
    environ = os.environ if environ is None else environ
    troubles: list[str] = []

    def attempt(find: Callable[[], Any]) -> Any:
        try:
            return find()
        except (SettingsError, UsageError) as error:
            troubles.append(str(error))
            return None

    file = attempt(lambda: _config_file(environ)) or {}
    troubles += _unknown(file, config_path(environ))
    values = {}
    for name, source in _SOURCES.items():
        text, where = _find(name, source, environ, overrides or {}, file)
        if text:
            values[name] = attempt(partial(_read, source.read, text, where))
    webhook = attempt(lambda: _find_webhook(environ))
    found = {name: value for name, value in values.items() if value is not None}
    return Settings(webhook=webhook, **found), tuple(troubles)


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """As `gather`, for programs that had better stop.

    Raises
    ------
    SettingsError
        Where any setting cannot be used.
    """
    settings, troubles = gather(environ)
    if troubles:
        raise SettingsError("; ".join(troubles))
    return settings


def _find(
    name: str,
    source: _Source,
    environ: Mapping[str, str],
    overrides: Mapping[str, str],
    file: Mapping[str, Any],
) -> tuple[str, str]:
    """The text of one setting and where it stands; both empty if it is not set."""
    if overrides.get(name):
        return overrides[name], f"%config CWNotify.{name}"
    for variable in source.variables:
        if environ.get(variable):
            return environ[variable], variable
    if source.key in file:
        return str(file[source.key]), f"{source.key} in {config_path(environ)}"
    return "", ""


def _read(read: Callable[[str], Any], text: str, where: str) -> Any:
    try:
        return read(text)
    except UsageError as error:
        raise SettingsError(f"{where}: {error}") from None


def _home(environ: Mapping[str, str], variable: str, below: str) -> Path:
    base = environ.get(variable, "")
    if not base.startswith("/"):
        base = os.path.join(environ.get("HOME") or os.path.expanduser("~"), below)  # noqa: PTH111, PTH118 (in the kernel: no cost)
    return Path(base) / "cwnotify"


def config_path(environ: Mapping[str, str] | None = None) -> Path:
    """Where ``config.toml`` is looked for: ``$XDG_CONFIG_HOME/cwnotify``, else ``~/.config/cwnotify``."""
    return _home(os.environ if environ is None else environ, "XDG_CONFIG_HOME", ".config") / "config.toml"


def webhook_path(environ: Mapping[str, str] | None = None) -> Path:
    """Where ``cwnotify login`` keeps the webhook: one line, mode 0600, apart from the settings one may share."""
    return config_path(environ).with_name("webhook")


def state_dir(environ: Mapping[str, str] | None = None) -> Path:
    """Where the outbox lives: ``CWNOTIFY_STATE_DIR``, ``$XDG_STATE_HOME/cwnotify``, ``~/.local/state/cwnotify``."""
    environ = os.environ if environ is None else environ
    if chosen := environ.get("CWNOTIFY_STATE_DIR"):
        return Path(chosen).expanduser().absolute()
    return _home(environ, "XDG_STATE_HOME", ".local/state")


def _config_file(environ: Mapping[str, str]) -> dict[str, Any]:
    path = config_path(environ)
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
    import tomllib

    try:
        table = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not valid TOML: {error}") from None
    return table


def _unknown(table: Mapping[str, Any], path: Path) -> list[str]:
    """A sentence for each key of config.toml that sets nothing."""
    known = {source.key for source in _SOURCES.values()}
    troubles = []
    for key in [key for key in table if key not in known]:
        import difflib

        near = difflib.get_close_matches(key, known, 1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known))}"
        secret = "a webhook is stored by: cwnotify login" if "webhook" in key else hint
        troubles.append(f"{path}: {key} is not a setting; {secret}")
    return troubles


def check_webhook(url: str, where: str) -> Secret:
    """Check that `url` may be posted to: https, or http on loopback, or a reference to where it is kept.

    Raises
    ------
    SettingsError
        Without any part of `url`, which may be a secret.
    """
    url = url.strip()
    if url.startswith(REFERENCES):
        return Secret(url)
    if not all("!" <= c <= "~" for c in url):
        raise SettingsError(f"{where}: a webhook URL holds no spaces or special characters; copy it again from Slack")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise SettingsError(f"{where} is not a URL; copy it again from Slack") from None
    if parts.scheme == "https" and host:
        return Secret(url)
    if parts.scheme == "http" and host in LOOPBACK:
        return Secret(url)
    raise SettingsError(f"{where} must begin with https:// (http:// only for this machine's own address)")


def _find_webhook(environ: Mapping[str, str]) -> Secret | None:
    for variable in WEBHOOK_VARIABLES:
        if environ.get(variable):
            return check_webhook(environ[variable], variable)
    path = webhook_path(environ)
    try:
        mode = path.stat().st_mode
        url = path.read_text().strip()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError):
        raise SettingsError(f"{path} cannot be read; store the webhook again: cwnotify login") from None
    if stat.S_IMODE(mode) & 0o077:
        raise SettingsError(f"{path} can be read by others; close it with: chmod 600 {path}")
    return check_webhook(url, str(path)) if url else None


def store_webhook(secret: Secret, environ: Mapping[str, str] | None = None) -> Path:
    """Keep the webhook for later sessions, readable by this user alone; tells where.

    Raises
    ------
    SettingsError
        If the file cannot be written.
    """
    path = webhook_path(environ)
    try:
        _write_secret(path, secret)
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be written: {error.strerror}; set CWNOTIFY_WEBHOOK_URL instead, or XDG_CONFIG_HOME"
        ) from None
    return path


def _write_secret(path: Path, secret: Secret) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = path.with_name(f".webhook.{os.getpid()}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secret.reveal() + "\n")
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
