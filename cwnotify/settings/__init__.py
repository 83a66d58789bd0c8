"""Where every setting comes from, in which order; secrets masked.

Standard library, `errors`, and of `alerts` only `frozen`, `options` and `words`.

Magic arguments come first, then ``%config CWNotify``, then the environment, then the user's ``config.toml``, then
Jupyter's and the team's, then defaults. The webhook is a password: it comes from the environment or from the file that
``cwnotify login`` wrote, never from a notebook, and it lives in a `Secret`. Where the user has chosen one before the
kernel began, no cell leads alerts elsewhere by a setting.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from cwnotify.alerts.events.run_options import (
    LANGUAGES,
    make_choice_parser,
    parse_duration,
    parse_mention,
    validate_time_zone,
)
from cwnotify.alerts.light_dataclass import frozen
from cwnotify.alerts.webhook_url import LOOPBACK_HOSTS, REFERENCE_PREFIXES
from cwnotify.errors import SettingsError, UsageError
from cwnotify.settings.cache import FileBackedCache
from cwnotify.settings.paths import (
    get_startup_environment,
    get_state_dir,
    get_user_config_path,
    get_webhook_path,
    is_running_in_ipython,
    list_config_paths,
)
from cwnotify.settings.webhook import (
    WEBHOOK_VARIABLES,
    Secret,
    find_local_webhook,
    parse_webhook,
    store_webhook,
)

__all__ = [
    "LOOPBACK_HOSTS",
    "REFERENCE_PREFIXES",
    "SETTING_SPECS",
    "WEBHOOK_VARIABLES",
    "NoWebhookError",
    "ResolvedSetting",
    "Secret",
    "SettingSpec",
    "Settings",
    "get_state_dir",
    "get_user_config_path",
    "get_webhook_path",
    "has_webhook_outside_cells",
    "list_config_paths",
    "load_settings",
    "load_settings_or_raise",
    "parse_webhook",
    "reset_pinned_webhook",
    "resolve_settings",
    "store_webhook",
]


class NoWebhookError(SettingsError):
    """No setting names a Slack webhook."""

    def __init__(self) -> None:
        super().__init__("no Slack webhook is configured", hint="run `cwnotify login`, or set CWNOTIFY_WEBHOOK_URL")


@frozen
class Settings:
    """Every setting, read and checked.

    Parameters
    ----------
    webhook
        The Slack webhook's URL, or ``ssm:/name`` or ``secretsmanager:name`` where it is kept; None if not set.
    mention
        In Slack's own form, see `cwnotify.alerts.events.run_options.parse_mention`.
    min_seconds
        Runs shorter than this are not told.
    zone
        IANA time zone for the times in alerts; empty for the language's default.
    round_seconds
        Seconds between two looks at AWS while somebody watches.
    words
        (language, key, sentence): what is said instead of our own sentences, see `cwnotify.alerts.locale.override_translations`.
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
    words: tuple[tuple[str, str, str], ...] = ()


@frozen
class SettingSpec:
    """How one field is found: its variable, then its key in ``config.toml``; and what `help` says of it."""

    variable: str
    key: str
    help: str
    sample: str
    parse: Callable[[str], Any] = str


SETTING_SPECS = {
    "lang": SettingSpec(
        "CWNOTIFY_LANG",
        "lang",
        f"the alerts' language: {', '.join(LANGUAGES)}",
        "ko",
        make_choice_parser("lang", LANGUAGES),
    ),
    "mention": SettingSpec(
        "CWNOTIFY_MENTION",
        "mention",
        "who is pinged: @here, @channel, a member's ID (U…) or a group's (S…)",
        "@here",
        parse_mention,
    ),
    "min_seconds": SettingSpec(
        "CWNOTIFY_MIN_DURATION", "min_duration", "tell only of runs of at least this length", "5m", parse_duration
    ),
    "zone": SettingSpec("CWNOTIFY_TZ", "timezone", "zone of the times in alerts", "Asia/Seoul", validate_time_zone),
    "channel": SettingSpec("CWNOTIFY_CHANNEL", "channel", "another channel; only legacy webhooks heed it", "#training"),
    "instance": SettingSpec(
        "CWNOTIFY_INSTANCE", "instance", "the EC2 instances to watch; this one if not set", "i-0abc12f9d8e7a6b54"
    ),
    "alarms": SettingSpec(
        "CWNOTIFY_ALARMS",
        "alarms",
        "the alarms to watch, by name or PREFIX*; those of the instances if not set",
        "train-*",
    ),
    "round_seconds": SettingSpec(
        "CWNOTIFY_ROUND", "round", "time between two looks at AWS while somebody watches", "30s", parse_duration
    ),
}
# What leads alerts elsewhere, itself or by way of another file.
_LEADING = ("channel",)
_LEADING_VARIABLES = (
    *WEBHOOK_VARIABLES,
    "CWNOTIFY_CHANNEL",
    "CWNOTIFY_TEAM_CONFIG",
    *("HOME", "XDG_CONFIG_HOME", "JUPYTER_CONFIG_DIR", "JUPYTER_CONFIG_PATH"),
)

# A user's own file counts with the next cell; Jupyter's and the team's have that much time.
_SECONDS_OF_TEAM = 10.0
_VARIABLES = (*_LEADING_VARIABLES, *(source.variable for source in SETTING_SPECS.values()))
_last: FileBackedCache[tuple[Settings, tuple[str, ...]]] = FileBackedCache()
# The webhook and the channel of this kernel, once they were read.
_pinned: tuple[ResolvedSetting, ResolvedSetting | None] | None = None


@frozen
class ResolvedSetting:
    """The text of one setting, where it stands, and the value that it has; no text where it is not set."""

    text: str
    origin: str
    value: Any = None


def load_settings(
    environ: Mapping[str, str] | None = None, overrides: Mapping[str, str] | None = None
) -> tuple[Settings, tuple[str, ...]]:
    """Gather the settings; one that cannot be used stays at its default and is told.

    Parameters
    ----------
    environ
        The environment; `os.environ` by default.
    overrides
        In a notebook, what ``%config CWNotify`` sets, by the names of `Settings`' fields, as the user wrote it.

    Returns
    -------
    tuple
        The settings, and a sentence for each trouble: the setting, where it stands, what would be right.
    """

    def read() -> tuple[Settings, tuple[str, ...]]:
        found, troubles = resolve_settings(environ, overrides)
        return Settings(**{name: one.value for name, one in found.items() if one.value is not None}), troubles

    if environ is not None:
        return read()
    given = None if overrides is None else tuple(overrides.items())
    settings, troubles = _last.get((*map(os.environ.get, _VARIABLES), given), _all_files, read)
    if troubles:
        # The cure may be one that no file shows: the mode of a folder.
        _last.invalidate()
    return settings, troubles


def _all_files() -> dict[str, float]:
    """Every file that `resolve_settings` may read in this process, and for how many seconds a look at it is good."""
    files: dict[str, float] = {}
    for environ in (get_startup_environment(), os.environ):
        own, *others = list_config_paths(environ)
        files |= dict.fromkeys(others, _SECONDS_OF_TEAM) | {own: 0.0}
        if not any(environ.get(name) for name in WEBHOOK_VARIABLES):
            files[str(get_webhook_path(environ))] = 0.0
    return files


def load_settings_or_raise(environ: Mapping[str, str] | None = None) -> Settings:
    """As `load_settings`, for programs that had better stop.

    Raises
    ------
    SettingsError
        Where any setting cannot be used.
    """
    settings, troubles = load_settings(environ)
    if troubles:
        raise SettingsError("; ".join(troubles))
    return settings


def has_webhook_outside_cells() -> bool:
    """Return whether the user chose a webhook outside of the cells, so that no cell may lead alerts elsewhere."""
    return _pinned is not None or "webhook" in resolve_settings(get_startup_environment())[0]


def reset_pinned_webhook() -> None:
    """Read the webhook again with the next cell, because the user has just stored another one: ``%cwnotify login``."""
    global _pinned
    _pinned = None
    _last.invalidate()


def resolve_settings(
    environ: Mapping[str, str] | None = None, overrides: Mapping[str, str] | None = None
) -> tuple[dict[str, ResolvedSetting], tuple[str, ...]]:
    """As `load_settings`, but each setting with where it stands; what is not set is left out."""
    troubles: list[str] = []

    def attempt(find: Callable[[], Any]) -> Any:
        try:
            return find()
        except (SettingsError, UsageError) as error:
            troubles.append(str(error))
            return None

    now = os.environ if environ is None else environ
    # A cell can change the environment; what the user chose before it is where alerts go.
    is_notebook = environ is None and (overrides is not None or is_running_in_ipython())
    chosen = get_startup_environment() if is_notebook else now
    texts, words = _files(chosen, troubles)
    webhook = attempt(partial(_webhook, chosen, texts))
    if is_notebook and webhook is None and _pinned is None:
        chosen, webhook = now, attempt(partial(_webhook, now, texts))
    elif is_notebook and any(now.get(name) != chosen.get(name) for name in WEBHOOK_VARIABLES):
        where = (_pinned[0] if _pinned else webhook).origin
        troubles.append(f"a cell set another webhook; alerts still go to the one from {where}, which comes first")
    found = {"webhook": webhook, "words": words}
    for name, source in SETTING_SPECS.items():
        given = {} if name in _LEADING else overrides or {}
        place = chosen if name in _LEADING else now
        found[name] = attempt(partial(_find, name, source, place, given, texts))
    if is_notebook and chosen is not now:
        found |= _pin(found, troubles)
    return {name: one for name, one in found.items() if one}, tuple(troubles)


def _pin(found: Mapping[str, ResolvedSetting | None], troubles: list[str]) -> dict[str, ResolvedSetting | None]:
    """Where alerts go stays what it was when this kernel first read it: a cell can write the files, too."""
    global _pinned
    new = found["webhook"], found["channel"]
    if _pinned is None:
        assert new[0]
        _pinned = new[0], new[1]
    for name, one, old in zip(("webhook", "channel"), new, _pinned, strict=True):
        if (one and one.value) != (old and old.value):
            where = (old or one or ResolvedSetting("", "")).origin
            troubles.append(
                f"the {name} in {where} changed after this notebook's kernel had read it; alerts still go to the "
                f"earlier one. To use the new one, restart the kernel"
            )
    return dict(zip(("webhook", "channel"), _pinned, strict=True))


def _find(
    name: str,
    source: SettingSpec,
    environ: Mapping[str, str],
    overrides: Mapping[str, str],
    texts: Mapping[str, tuple[str, str]],
) -> ResolvedSetting | None:
    """One setting, if it is set.

    Raises
    ------
    SettingsError
        If it cannot be used; the text begins with where it stands.
    """
    if overrides.get(name):
        text, where, subject = overrides[name], "%config", f"%config CWNotify.{name}"
    elif environ.get(source.variable):
        text, where, subject = environ[source.variable], source.variable, source.variable
    elif source.key in texts:
        text, where = texts[source.key]
        subject = f"{source.key} in {where}"
    else:
        return None
    try:
        return ResolvedSetting(text, where, source.parse(text)) if text else None
    except UsageError as error:
        raise SettingsError(f"{subject}: {error}") from None


def _webhook(environ: Mapping[str, str], texts: Mapping[str, tuple[str, str]]) -> ResolvedSetting | None:
    webhook, where = find_local_webhook(environ)
    if webhook is None and "webhook" in texts:
        text, where = texts["webhook"]
        webhook = parse_webhook(text, where)
    return ResolvedSetting("", where, webhook) if webhook else None


def _files(
    environ: Mapping[str, str], troubles: list[str]
) -> tuple[Mapping[str, tuple[str, str]], ResolvedSetting | None]:
    """What the files say: each setting's text and file, and the user's own sentences."""
    paths = [path for path in list_config_paths(environ) if os.path.lexists(path)]
    if not paths:
        return {}, None
    from cwnotify.settings.files import read_config_files

    texts, words, wrong = read_config_files(paths, (source.key for source in SETTING_SPECS.values()), environ)
    troubles += wrong
    sentences = tuple((lang, key, sentence) for (lang, key), (sentence, _) in words.items())
    where = ", ".join(dict.fromkeys(path for _, path in words.values()))
    return texts, ResolvedSetting("", where, sentences) if sentences else None
