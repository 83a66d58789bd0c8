"""``cwnotify config``: each setting and where it comes from."""

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


@click.command()
@click.option("--init", is_flag=True, help="Write a config.toml that explains every setting. Never writes over one.")
@click.option(
    "--words", "lang", type=click.Choice(LANGUAGES), help="Print all sentences of a language, to change some."
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def config(init: bool, lang: str | None, as_json: bool) -> None:
    """Show each setting, and where it comes from. The webhook is shown by its host alone."""
    from cwnotify.settings.explain import build_translation_table, explain_settings

    if init:
        click.echo(f"Written to {_begin()}; every line of it is still a comment.")
        return
    if lang:
        click.echo(build_translation_table(lang), nl=False)
        return
    rows, troubles = explain_settings()
    files = {path: Path(path).exists() for path in settings.list_config_paths()}
    if as_json:
        told = {"settings": [asdict(row) for row in rows], "files": files, "troubles": troubles}
        click.echo(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        _show(rows, files)
    if troubles:
        raise SettingsError("; ".join(troubles))


def _show(rows: tuple[SettingExplanation, ...], files: dict[str, bool]) -> None:
    width = max(len(row.key or row.variable) for row in rows) + 2
    value_width = min(max(len(row.value) for row in rows), 40)
    for row in rows:
        click.echo(f"{row.key or row.variable:{width}}{row.value or '(not set)':{value_width}}  {row.where}")
    click.echo("\nFiles, of which the first that names a setting wins:")
    for path, is_there in files.items():
        click.echo(f"  {path}{'' if is_there else '  (not there)'}")


def _begin() -> str:
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
        raise SettingsError(
            f"{path} is there already, and stays as it is", hint="edit it, or move it away first"
        ) from None
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror}") from None
    return str(path)
