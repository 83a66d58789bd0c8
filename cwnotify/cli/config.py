"""``cwnotify config``: show each setting and its origin, or write a config file template."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cwnotify import settings
from cwnotify.alerts.events.run_options import LANGUAGES
from cwnotify.errors import SettingsError

if TYPE_CHECKING:
    from cwnotify.settings.explain import SettingExplanation

MAX_VALUE_WIDTH = 40  # characters; longer values push their origin to the right


@click.command()
@click.option("--init", is_flag=True, help="Write a config.toml that explains every setting, if none exists")
@click.option(
    "--words", "lang", type=click.Choice(LANGUAGES), help="Print the alert texts of a language as a template to edit"
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON")
def config(init: bool, lang: str | None, as_json: bool) -> None:
    """Show each setting and where it comes from. For the webhook, show only the host."""
    from cwnotify.settings.explain import build_translation_table, explain_settings

    if init:
        click.echo(f"Written to {_write_template()}. Every line is commented out.")
        return
    if lang:
        click.echo(build_translation_table(lang), nl=False)
        return
    rows, problems = explain_settings()
    files = {path: Path(path).exists() for path in settings.list_config_paths()}
    if as_json:
        output = {"settings": [asdict(row) for row in rows], "files": files, "troubles": problems}
        click.echo(json.dumps(output, indent=2, ensure_ascii=False))
    else:
        _show_table(rows, files)
    if problems:
        raise SettingsError("; ".join(problems))


def _show_table(rows: tuple[SettingExplanation, ...], files: dict[str, bool]) -> None:
    width = max(len(row.key or row.variable) for row in rows) + 2
    value_width = min(max(len(row.value) for row in rows), MAX_VALUE_WIDTH)
    for row in rows:
        click.echo(f"{row.key or row.variable:{width}}{row.value or '(not set)':{value_width}}  {row.where}")
    click.echo("\nFiles (the first that sets a value wins):")
    for path, exists in files.items():
        click.echo(f"  {path}{'' if exists else '  (does not exist)'}")


def _write_template() -> str:
    from cwnotify.settings.explain import build_config_template
    from cwnotify.settings.private_files import open_private_directory

    path = settings.get_user_config_path()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with (
            open_private_directory(path.parent, forbidden_mode=0o022) as folder,
            os.fdopen(os.open(path.name, flags, 0o644, dir_fd=folder), "w", encoding="utf-8") as file,
        ):
            file.write(build_config_template())
    except FileExistsError:
        raise SettingsError(f"{path} already exists", hint="edit it, or move it away first") from None
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror}") from None
    return str(path)
