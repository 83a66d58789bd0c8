"""Settings for people to read: what each is and where it comes from, and files to begin with. Secrets masked."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from cwnotify.alerts.light_dataclass import frozen
from cwnotify.alerts.locale import get_translations
from cwnotify.settings import SETTING_SPECS, ResolvedSetting, Settings, SettingSpec, get_state_dir, resolve_settings
from cwnotify.settings.webhook import mask_webhook

DEFAULT_ORIGIN = "default"


@frozen
class SettingExplanation:
    """A setting: its key in ``config.toml``, its variable, its value as a user would write it, where that stands."""

    key: str
    variable: str
    value: str
    where: str


def explain_settings(
    environ: Mapping[str, str] | None = None,
) -> tuple[tuple[SettingExplanation, ...], tuple[str, ...]]:
    """Every setting with where it comes from, and a sentence for each that cannot be used."""
    environ = os.environ if environ is None else environ
    found, troubles = resolve_settings(environ)
    webhook, words = found.get("webhook"), found.get("words", ResolvedSetting("", "", ()))
    shown = (
        ResolvedSetting(mask_webhook(webhook.value), webhook.origin) if webhook else ResolvedSetting("", DEFAULT_ORIGIN)
    )
    rows = [SettingExplanation("webhook", "CWNOTIFY_WEBHOOK_URL", shown.text, shown.origin)]
    for name, source in SETTING_SPECS.items():
        one = found.get(name, ResolvedSetting(_default(name), DEFAULT_ORIGIN))
        rows.append(SettingExplanation(source.key, source.variable, one.text, one.origin))
    where = "CWNOTIFY_STATE_DIR" if environ.get("CWNOTIFY_STATE_DIR") else DEFAULT_ORIGIN
    rows.append(SettingExplanation("", "CWNOTIFY_STATE_DIR", str(get_state_dir(environ)), where))
    rows += [
        SettingExplanation(f"words.{lang} {key}", "", sentence, words.origin) for lang, key, sentence in words.value
    ]
    return tuple(rows), troubles


def _default(name: str) -> str:
    value = getattr(Settings(), name)
    return f"{value:g}s" if isinstance(value, float) else str(value)


_HEAD = """\
# Settings of cwnotify. Take the # away from a line to let it count; a variable of the environment comes first.
# What came of it is shown by: cwnotify config
"""
_END = """
# Where in AWS the webhook is kept. Its URL is a password, and does not belong here: cwnotify login
# webhook = "ssm:/cwnotify/webhook"

# What alerts say, in your own words. All sentences of a language are shown by: cwnotify config --words en
# [words.en]
# "run.finished" = ":tada: {name} is through after {time}"
"""


def build_config_template() -> str:
    """A ``config.toml`` in which everything is explained and nothing is set."""
    return "".join((_HEAD, *map(_commented, SETTING_SPECS.values()), _END))


def _commented(source: SettingSpec) -> str:
    meaning = source.help[0].upper() + source.help[1:]
    return f"\n# {meaning} ({source.variable}).\n# {source.key} = {_quoted(source.sample)}\n"


def build_translation_table(lang: str) -> str:
    """All sentences of a language, as a table for ``config.toml``."""
    lines = [f"{_quoted(key)} = {_quoted(sentence)}" for key, sentence in get_translations(lang).items()]
    return "\n".join((f"[words.{lang}]", *lines)) + "\n"


def _quoted(text: str) -> str:
    """As TOML, whose basic strings have all that JSON's have."""
    return json.dumps(text, ensure_ascii=False)
