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
    from cwnotify.settings.explain import Explained


@click.command()
@click.option("--init", is_flag=True, help="Write a config.toml that explains every setting. Never writes over one.")
@click.option(
    "--words", "lang", type=click.Choice(LANGUAGES), help="Print all sentences of a language, to change some."
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def config(init: bool, lang: str | None, as_json: bool) -> None:
    """Show each setting, and where it comes from. The webhook is shown by its host alone."""
    from cwnotify.settings.explain import explain, words_table

    if init:
        click.echo(f"Written to {_begin()}; every line of it is still a comment.")
        return
    if lang:
        click.echo(words_table(lang), nl=False)
        return
    rows, troubles = explain()
    files = {path: Path(path).exists() for path in settings.config_paths()}
    if as_json:
        told = {"settings": [asdict(row) for row in rows], "files": files, "troubles": troubles}
        click.echo(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        _show(rows, files)
    if troubles:
        raise SettingsError("; ".join(troubles))


def _show(rows: tuple[Explained, ...], files: dict[str, bool]) -> None:
    width = max(len(row.key or row.variable) for row in rows) + 2
    value_width = min(max(len(row.value) for row in rows), 40)
    for row in rows:
        click.echo(f"{row.key or row.variable:{width}}{row.value or '(not set)':{value_width}}  {row.where}")
    click.echo("\nFiles, of which the first that names a setting wins:")
    for path, is_there in files.items():
        click.echo(f"  {path}{'' if is_there else '  (not there)'}")


def _begin() -> str:
    from cwnotify.settings.explain import template
    from cwnotify.settings.private_files import private_folder

    path = settings.config_path()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with (
            private_folder(path.parent, forbidden=0o022) as folder,
            os.fdopen(os.open(path.name, flags, 0o644, dir_fd=folder), "w", encoding="utf-8") as file,
        ):
            file.write(template())
    except FileExistsError:
        raise SettingsError(
            f"{path} is there already, and stays as it is", hint="edit it, or move it away first"
        ) from None
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror}") from None
    return str(path)
