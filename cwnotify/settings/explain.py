"""Texts about settings for users: each value with its origin, a config file template, a table of sentences.

Webhooks are masked. Imports `settings` and `alerts`.
"""

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
    """A setting's key in ``config.toml``, its variable, its value as a user would write it, and its origin."""

    key: str
    variable: str
    value: str
    where: str


def explain_settings(
    environ: Mapping[str, str] | None = None,
) -> tuple[tuple[SettingExplanation, ...], tuple[str, ...]]:
    """Return every setting with its origin, and one sentence per setting that cannot be used."""
    environ = os.environ if environ is None else environ
    resolved, problems = resolve_settings(environ)
    webhook, words = resolved.get("webhook"), resolved.get("words", ResolvedSetting("", "", ()))
    value, origin = (mask_webhook(webhook.value), webhook.origin) if webhook else ("", DEFAULT_ORIGIN)
    rows = [SettingExplanation("webhook", "CWNOTIFY_WEBHOOK_URL", value, origin)]
    for name, spec in SETTING_SPECS.items():
        setting = resolved.get(name, ResolvedSetting(_format_default(name), DEFAULT_ORIGIN))
        rows.append(SettingExplanation(spec.key, spec.variable, setting.text, setting.origin))
    origin = "CWNOTIFY_STATE_DIR" if environ.get("CWNOTIFY_STATE_DIR") else DEFAULT_ORIGIN
    rows.append(SettingExplanation("", "CWNOTIFY_STATE_DIR", str(get_state_dir(environ)), origin))
    rows += [
        SettingExplanation(f"words.{lang} {key}", "", sentence, words.origin) for lang, key, sentence in words.value
    ]
    return tuple(rows), problems


def _format_default(name: str) -> str:
    value = getattr(Settings(), name)
    return f"{value:g}s" if isinstance(value, float) else str(value)


_TEMPLATE_HEAD = """\
# Settings of cwnotify. Remove the # from a line to set it. Environment variables take precedence.
# To show each setting and where it comes from, run: cwnotify config
"""
_TEMPLATE_END = """
# Where AWS stores the webhook. Do not put the webhook's URL here: it is a password. Run: cwnotify login
# webhook = "ssm:/cwnotify/webhook"

# The sentences of alerts, in your own words. To list all sentences of a language, run: cwnotify config --words en
# [words.en]
# "run.finished" = ":tada: {name} is through after {time}"
"""


def build_config_template() -> str:
    """Return a ``config.toml`` that explains every setting and sets none."""
    return "".join((_TEMPLATE_HEAD, *map(_format_template_entry, SETTING_SPECS.values()), _TEMPLATE_END))


def _format_template_entry(spec: SettingSpec) -> str:
    description = spec.help[0].upper() + spec.help[1:]
    return f"\n# {description} ({spec.variable})\n# {spec.key} = {_format_toml_string(spec.sample)}\n"


def build_translation_table(lang: str) -> str:
    """Return all sentences of a language as a table for ``config.toml``."""
    lines = [
        f"{_format_toml_string(key)} = {_format_toml_string(sentence)}"
        for key, sentence in get_translations(lang).items()
    ]
    return "\n".join((f"[words.{lang}]", *lines)) + "\n"


def _format_toml_string(text: str) -> str:
    """Return `text` as a TOML basic string, whose escapes include all of JSON's."""
    return json.dumps(text, ensure_ascii=False)
