"""What the files of settings say, put together: the first that names a setting wins. Standard library and `alerts`."""

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
    """Read files of settings, the one that counts most first.

    Parameters
    ----------
    keys
        The keys that set something.
    environ
        Names the user's home, whose owner may write settings.

    Returns
    -------
    tuple
        The text and the file of each setting, by its key; the user's own sentences and their files, by language and
        key; and what is wrong, a sentence for each trouble.
    """
    texts: SettingTexts = {}
    words: CustomTranslations = {}
    troubles: list[str] = []
    known = {*keys, "webhook", "words"}
    for path in paths:
        try:
            table = _read(Path(path), environ)
        except SettingsError as error:
            troubles.append(str(error))
            continue
        for key, value in table.items():
            if key == "words":
                troubles += _take_words(value, path, words)
            elif complaint := _complaint(key, value, known):
                troubles.append(f"{path}: {complaint}")
            else:
                texts.setdefault(key, (_text(value), path))
    return texts, words, tuple(troubles)


def _read(path: Path, environ: Mapping[str, str] | None) -> dict[str, Any]:
    try:
        return tomllib.loads(read_trusted_text(path, environ))
    except FileNotFoundError:
        return {}
    except UnsafeFileError as error:
        raise SettingsError(f"{path} is not used: {error}") from None
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"{path} is not valid TOML: {error}", hint='write text in quotes, like lang = "ko"'
        ) from None


def _complaint(key: str, value: object, known: set[str]) -> str:
    """What is wrong with a line; nothing of what may be a webhook's URL is told."""
    if "webhook" in key and not (key == "webhook" and isinstance(value, str) and value.startswith(REFERENCE_PREFIXES)):
        return f"{key} is not a setting; a webhook is stored by: cwnotify login"
    if key not in known:
        from cwnotify.suggestions import closest_match

        near = closest_match(key, known)
        hint = f"did you mean {near}?" if near else f"known are {', '.join(sorted(known))}"
        return f"{key} is not a setting; {hint}"
    return ""


def _text(value: object) -> str:
    """A value as the environment would hold it."""
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _take_words(tables: object, path: str, words: CustomTranslations) -> Iterator[str]:
    """Take the user's own sentences; gives a sentence for each that cannot be said."""
    for lang, table in tables.items() if isinstance(tables, Mapping) else [("", tables)]:
        for key, sentence in _sentences(table):
            if why := find_translation_problem(lang, key, sentence):
                yield f"{path}: [words.{lang}] {key} is not used: {why}"
            else:
                words.setdefault((lang, key), (sentence, path))


def _sentences(table: object, above: str = "") -> Iterator[tuple[str, Any]]:
    """The sentences of one language, by key. Without quotes, ``run.finished`` is a table in a table."""
    if not isinstance(table, Mapping):
        yield above, table
        return
    for key, value in table.items():
        yield from _sentences(value, f"{above}.{key}" if above else key)
