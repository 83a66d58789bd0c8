"""Read the settings files. The first file that sets a key wins. Imports the standard library and `alerts`."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cwnotify.alerts.locale import find_translation_problem
from cwnotify.alerts.webhook_url import REFERENCE_PREFIXES
from cwnotify.errors import SettingsError
from cwnotify.settings.paths import UnsafeFileError, read_trusted_text

SettingTexts = dict[str, tuple[str, str]]
CustomTranslations = dict[tuple[str, str], tuple[str, str]]


def read_config_files(
    paths: Iterable[str], keys: Iterable[str], environ: Mapping[str, str] | None = None
) -> tuple[SettingTexts, CustomTranslations, tuple[str, ...]]:
    """Read settings files, the one with the highest precedence first.

    Parameters
    ----------
    keys
        The valid keys, besides ``webhook`` and ``words``.
    environ
        Defines the user's home, whose owner may write settings files.

    Returns
    -------
    tuple
        The text and the file of each setting, by key; the custom sentences and their files, by language and key; one
        sentence per problem.
    """
    texts: SettingTexts = {}
    words: CustomTranslations = {}
    problems: list[str] = []
    valid_keys = {*keys, "webhook", "words"}
    for path in paths:
        try:
            table = _read_table(Path(path), environ)
        except SettingsError as error:
            problems.append(str(error))
            continue
        for key, value in table.items():
            if key == "words":
                problems += _collect_words(value, path, words)
            elif problem := _find_problem(key, value, valid_keys):
                problems.append(f"{path}: {problem}")
            else:
                texts.setdefault(key, (_format_value(value), path))
    return texts, words, tuple(problems)


def _read_table(path: Path, environ: Mapping[str, str] | None) -> dict[str, Any]:
    try:
        return tomllib.loads(read_trusted_text(path, environ))
    except FileNotFoundError:
        return {}
    except UnsafeFileError as error:
        raise SettingsError(f"{path} is not used: {error}", hint=error.hint) from None
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"{path} is not valid TOML: {error}", hint='put text in quotes, such as lang = "ko"'
        ) from None


def _find_problem(key: str, value: object, valid_keys: set[str]) -> str:
    """Return what is wrong with an entry, else an empty string. It omits the value, which may be a webhook's URL."""
    if "webhook" in key and not (key == "webhook" and isinstance(value, str) and value.startswith(REFERENCE_PREFIXES)):
        return f"{key} is not a setting; to store a webhook, run: cwnotify login"
    if key not in valid_keys:
        from cwnotify.suggestions import closest_match

        match = closest_match(key, valid_keys)
        hint = f"did you mean {match}?" if match else f"settings are {', '.join(sorted(valid_keys))}"
        return f"{key} is not a setting; {hint}"
    return ""


def _format_value(value: object) -> str:
    """Return a value as it would be written in an environment variable."""
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _collect_words(tables: object, path: str, words: CustomTranslations) -> Iterator[str]:
    """Add the custom sentences of a file to `words`, and yield one sentence per problem."""
    for lang, table in tables.items() if isinstance(tables, Mapping) else [("", tables)]:
        for key, sentence in _flatten_table(table):
            if problem := find_translation_problem(lang, key, sentence):
                yield f"{path}: [words.{lang}] {key} is not used: {problem}"
            else:
                words.setdefault((lang, key), (sentence, path))


def _flatten_table(table: object, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the sentences of one language with their keys. Without quotes, ``run.finished`` is a nested table."""
    if not isinstance(table, Mapping):
        yield prefix, table
        return
    for key, value in table.items():
        yield from _flatten_table(value, f"{prefix}.{key}" if prefix else key)
