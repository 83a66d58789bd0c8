"""Find each setting in its sources and validate it.

Imports the standard library, `errors` and, of `alerts`, only `light_dataclass`, `events.run_options` and `webhook_url`.

The first source that sets a value wins: magic arguments, ``%config CWNotify``, the environment, the user's
``config.toml``, Jupyter's and the team's settings files, defaults. The webhook is a password. It comes from the
environment or from the file that ``cwnotify login`` writes, never from a notebook, and is held in a `Secret`. If the
user configured a webhook before the kernel started, no cell can redirect alerts.
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
    "NO_WEBHOOK_HINT",
    "NO_WEBHOOK_MESSAGE",
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


NO_WEBHOOK_MESSAGE = "no Slack webhook is configured"
NO_WEBHOOK_HINT = "run `cwnotify login`, or set CWNOTIFY_WEBHOOK_URL"


class NoWebhookError(SettingsError):
    """A command needs a Slack webhook and none is configured."""

    def __init__(self, message: str = NO_WEBHOOK_MESSAGE, *, hint: str = NO_WEBHOOK_HINT) -> None:
        super().__init__(message, hint=hint)


@frozen
class Settings:
    """The values of all settings, validated.

    Parameters
    ----------
    webhook
        The Slack webhook's URL, or a reference to where AWS stores it (``ssm:/name``, ``secretsmanager:name``); None if
        it is not set.
    channel
        Another channel than the webhook's; only legacy webhooks support this.
    lang
        The language of alerts.
    instance
        The IDs of the EC2 instances to watch; empty for this machine.
    alarms
        The names of the alarms to watch; empty for those of the instances.
    mention
        Whom to notify, in Slack's own form; see `cwnotify.alerts.events.run_options.parse_mention`.
    min_seconds
        Do not report runs shorter than this (seconds).
    zone
        IANA time zone of the times in alerts; empty for the language's default.
    round_seconds
        How often to query AWS while a panel is open (seconds).
    words
        Custom sentences as (language, key, sentence); see `cwnotify.alerts.locale.override_translations`.
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
    """A setting's environment variable, its key in ``config.toml``, its help, an example and its parser."""

    variable: str
    key: str
    help: str
    sample: str
    parse: Callable[[str], Any] = str


SETTING_SPECS = {
    "lang": SettingSpec(
        "CWNOTIFY_LANG",
        "lang",
        f"language of alerts: {', '.join(LANGUAGES)}",
        "ko",
        make_choice_parser("lang", LANGUAGES),
    ),
    "mention": SettingSpec(
        "CWNOTIFY_MENTION",
        "mention",
        "whom to notify: @here, @channel, a member ID (U…) or a user group ID (S…)",
        "@here",
        parse_mention,
    ),
    "min_seconds": SettingSpec(
        "CWNOTIFY_MIN_DURATION", "min_duration", "report only runs that take at least this long", "5m", parse_duration
    ),
    "zone": SettingSpec(
        "CWNOTIFY_TZ", "timezone", "time zone of the times in alerts", "Asia/Seoul", validate_time_zone
    ),
    "channel": SettingSpec(
        "CWNOTIFY_CHANNEL", "channel", "another channel; only legacy webhooks support this", "#training"
    ),
    "instance": SettingSpec(
        "CWNOTIFY_INSTANCE", "instance", "EC2 instances to watch; default: this one", "i-0abc12f9d8e7a6b54"
    ),
    "alarms": SettingSpec(
        "CWNOTIFY_ALARMS",
        "alarms",
        "alarms to watch, by name or PREFIX*; default: those of the instances",
        "train-*",
    ),
    "round_seconds": SettingSpec(
        "CWNOTIFY_ROUND", "round", "how often to query AWS while a panel is open", "30s", parse_duration
    ),
}
# Settings that redirect alerts, and the variables that do so or that select another settings file.
_DESTINATION_SETTINGS = ("channel",)
_DESTINATION_VARIABLES = (
    *WEBHOOK_VARIABLES,
    "CWNOTIFY_CHANNEL",
    "CWNOTIFY_TEAM_CONFIG",
    *("HOME", "XDG_CONFIG_HOME", "JUPYTER_CONFIG_DIR", "JUPYTER_CONFIG_PATH"),
)

# Seconds. The user's own files are checked for every cell.
_SHARED_FILE_CHECK_INTERVAL = 10.0
_VARIABLES = (*_DESTINATION_VARIABLES, *(spec.variable for spec in SETTING_SPECS.values()))
_cache: FileBackedCache[tuple[Settings, tuple[str, ...]]] = FileBackedCache()
# The webhook and the channel that this kernel read first.
_pinned: tuple[ResolvedSetting, ResolvedSetting | None] | None = None


@frozen
class ResolvedSetting:
    """A setting's text (empty if it is not set), where it comes from, and its parsed value."""

    text: str
    origin: str
    value: Any = None


def load_settings(
    environ: Mapping[str, str] | None = None, overrides: Mapping[str, str] | None = None
) -> tuple[Settings, tuple[str, ...]]:
    """Read all settings. A setting that cannot be used is reported and stays at its default.

    Parameters
    ----------
    environ
        The environment; `os.environ` by default. The result is cached only for the default.
    overrides
        What ``%config CWNotify`` sets, as the user typed it, by the field names of `Settings`. None outside notebooks.

    Returns
    -------
    tuple
        The settings, and one sentence per problem: the setting, its origin and what would be valid.
    """

    def read() -> tuple[Settings, tuple[str, ...]]:
        resolved, problems = resolve_settings(environ, overrides)
        values = {name: setting.value for name, setting in resolved.items() if setting.value is not None}
        return Settings(**values), problems

    if environ is not None:
        return read()
    override_items = None if overrides is None else tuple(overrides.items())
    settings, problems = _cache.get((*map(os.environ.get, _VARIABLES), override_items), _list_check_intervals, read)
    if problems:
        # The fix may change no file that is checked, such as a folder's mode.
        _cache.invalidate()
    return settings, problems


def _list_check_intervals() -> dict[str, float]:
    """Return every file that `resolve_settings` may read in this process, and how often to check it (seconds)."""
    intervals: dict[str, float] = {}
    for environ in (get_startup_environment(), os.environ):
        user_path, *shared_paths = list_config_paths(environ)
        intervals |= dict.fromkeys(shared_paths, _SHARED_FILE_CHECK_INTERVAL) | {user_path: 0.0}
        if not any(environ.get(name) for name in WEBHOOK_VARIABLES):
            intervals[str(get_webhook_path(environ))] = 0.0
    return intervals


def load_settings_or_raise(environ: Mapping[str, str] | None = None) -> Settings:
    """Read all settings, for programs that must not continue with a wrong one.

    Raises
    ------
    SettingsError
        If any setting cannot be used.
    """
    settings, problems = load_settings(environ)
    if problems:
        raise SettingsError("; ".join(problems))
    return settings


def has_webhook_outside_cells() -> bool:
    """Return whether the user configured a webhook outside the cells. If so, no cell may redirect alerts."""
    return _pinned is not None or "webhook" in resolve_settings(get_startup_environment())[0]


def reset_pinned_webhook() -> None:
    """Read the webhook again for the next cell, because ``%cwnotify login`` stored another one."""
    global _pinned
    _pinned = None
    _cache.invalidate()


def resolve_settings(
    environ: Mapping[str, str] | None = None, overrides: Mapping[str, str] | None = None
) -> tuple[dict[str, ResolvedSetting], tuple[str, ...]]:
    """Read all settings with their origins, and the problems, as `load_settings` does. Unset settings are left out."""
    problems: list[str] = []

    def attempt(read: Callable[[], Any]) -> Any:
        try:
            return read()
        except (SettingsError, UsageError) as error:
            problems.append(str(error))
            return None

    current = os.environ if environ is None else environ
    # A cell can change the environment. What the user chose before decides where alerts go.
    is_notebook = environ is None and (overrides is not None or is_running_in_ipython())
    trusted = get_startup_environment() if is_notebook else current
    texts, words = _read_files(trusted, problems)
    webhook = attempt(partial(_resolve_webhook, trusted, texts))
    if is_notebook and webhook is None and _pinned is None:
        trusted, webhook = current, attempt(partial(_resolve_webhook, current, texts))
    elif is_notebook and any(current.get(name) != trusted.get(name) for name in WEBHOOK_VARIABLES):
        origin = (_pinned[0] if _pinned else webhook).origin
        problems.append(f"a cell set another webhook; alerts still go to the one from {origin}, which comes first")
    resolved = {"webhook": webhook, "words": words}
    for name, spec in SETTING_SPECS.items():
        is_destination = name in _DESTINATION_SETTINGS
        sources = (trusted, {}) if is_destination else (current, overrides or {})
        resolved[name] = attempt(partial(_resolve_setting, name, spec, *sources, texts))
    if is_notebook and trusted is not current:
        resolved |= _pin_destination(resolved, problems)
    return {name: setting for name, setting in resolved.items() if setting}, tuple(problems)


def _pin_destination(
    resolved: Mapping[str, ResolvedSetting | None], problems: list[str]
) -> dict[str, ResolvedSetting | None]:
    """Return the webhook and the channel that this kernel read first, because a cell can also write the files."""
    global _pinned
    new = resolved["webhook"], resolved["channel"]
    if _pinned is None:
        assert new[0]
        _pinned = new[0], new[1]
    for name, setting, pinned in zip(("webhook", "channel"), new, _pinned, strict=True):
        if (setting and setting.value) != (pinned and pinned.value):
            origin = (pinned or setting or ResolvedSetting("", "")).origin
            problems.append(
                f"the {name} in {origin} changed after this notebook's kernel had read it; alerts still go to the "
                "earlier one. To use the new one, restart the kernel"
            )
    return dict(zip(("webhook", "channel"), _pinned, strict=True))


def _resolve_setting(
    name: str,
    spec: SettingSpec,
    environ: Mapping[str, str],
    overrides: Mapping[str, str],
    texts: Mapping[str, tuple[str, str]],
) -> ResolvedSetting | None:
    """Return one setting; None if it is not set.

    Raises
    ------
    SettingsError
        If it cannot be used. The message begins with its origin.
    """
    if overrides.get(name):
        text, origin, subject = overrides[name], "%config", f"%config CWNotify.{name}"
    elif environ.get(spec.variable):
        text, origin, subject = environ[spec.variable], spec.variable, spec.variable
    elif spec.key in texts:
        text, origin = texts[spec.key]
        subject = f"{spec.key} in {origin}"
    else:
        return None
    try:
        return ResolvedSetting(text, origin, spec.parse(text)) if text else None
    except UsageError as error:
        raise SettingsError(f"{subject}: {error.message}", hint=error.hint) from None


def _resolve_webhook(environ: Mapping[str, str], texts: Mapping[str, tuple[str, str]]) -> ResolvedSetting | None:
    webhook, origin = find_local_webhook(environ)
    if webhook is None and "webhook" in texts:
        text, origin = texts["webhook"]
        webhook = parse_webhook(text, origin)
    return ResolvedSetting("", origin, webhook) if webhook else None


def _read_files(
    environ: Mapping[str, str], problems: list[str]
) -> tuple[Mapping[str, tuple[str, str]], ResolvedSetting | None]:
    """Return each setting's text and file, by key, and the user's custom sentences."""
    paths = [path for path in list_config_paths(environ) if os.path.lexists(path)]
    if not paths:
        return {}, None
    from cwnotify.settings.files import read_config_files

    keys = (spec.key for spec in SETTING_SPECS.values())
    texts, words, file_problems = read_config_files(paths, keys, environ)
    problems += file_problems
    sentences = tuple((lang, key, sentence) for (lang, key), (sentence, _) in words.items())
    origin = ", ".join(dict.fromkeys(path for _, path in words.values()))
    return texts, ResolvedSetting("", origin, sentences) if sentences else None
