"""Read, mask and store the webhook. It is a password, so it is held in a `Secret` and stored in a separate file.

Imports the standard library, `alerts.webhook_url`, `errors`, `settings.paths` and `settings.private_files`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from cwnotify.alerts.webhook_url import REFERENCE_PREFIXES, InvalidWebhookError, parse_webhook_url
from cwnotify.errors import SettingsError
from cwnotify.settings.paths import UnsafeFileError, get_webhook_path, read_trusted_text

WEBHOOK_VARIABLES = ("CWNOTIFY_WEBHOOK_URL", "SLACK_WEBHOOK_URL")


class Secret:
    """A string that never appears in a `repr`, `str`, pickle or JSON. Only `reveal` returns it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the secret. Keep it out of argv, logs, exceptions, notebooks and databases."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(****)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> str:
        raise TypeError("a Secret cannot be pickled")


def mask_webhook(webhook: Secret) -> str:
    """Return a form that is safe to show: a reference unchanged, or only scheme, host and port of a URL."""
    value = webhook.reveal()
    if value.startswith(REFERENCE_PREFIXES):
        return value
    parts = urlsplit(value)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}{f':{parts.port}' if parts.port else ''}/…"


def parse_webhook(text: str | bytes, where: str, allow_missing_scheme: bool = False) -> Secret:
    """Return the webhook in `text`: a URL, or a reference to where AWS stores it.

    Parameters
    ----------
    where
        Where `text` comes from, for the error message.
    allow_missing_scheme
        See `cwnotify.alerts.webhook_url.parse_webhook_url`.

    Raises
    ------
    SettingsError
        If it cannot be used. The message contains no part of `text`, which may be a secret.
    """
    try:
        return Secret(parse_webhook_url(text, allow_missing_scheme))
    except InvalidWebhookError as error:
        raise SettingsError(f"{where} {error}") from None


def find_local_webhook(environ: Mapping[str, str]) -> tuple[Secret | None, str]:
    """Return the webhook and its origin, from the environment or else from the file that ``cwnotify login`` wrote.

    Raises
    ------
    SettingsError
        If a webhook is configured but cannot be used.
    """
    for variable in WEBHOOK_VARIABLES:
        if environ.get(variable):
            return parse_webhook(environ[variable], variable), variable
    path = get_webhook_path(environ)
    try:
        mode = path.stat().st_mode
        if stat.S_IMODE(mode) & 0o077:
            raise SettingsError(f"{path} can be read by others", hint=f"close it with: chmod 600 {path}")
        url = read_trusted_text(path, environ).strip()
    except (FileNotFoundError, NotADirectoryError):
        return None, ""
    except UnsafeFileError as error:
        raise SettingsError(f"{path} is not used: {error}", hint=error.hint) from None
    except (OSError, UnicodeDecodeError):
        raise SettingsError(f"{path} cannot be read", hint="store the webhook again with: cwnotify login") from None
    return (parse_webhook(url, str(path)), str(path)) if url else (None, "")


def store_webhook(secret: Secret, environ: Mapping[str, str] | None = None) -> Path:
    """Store the webhook in a file that only this user can read, and return its path.

    Raises
    ------
    SettingsError
        If the file cannot be written.
    """
    path = get_webhook_path(environ)
    try:
        _write_secret_file(path, secret)
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be written: {error.strerror}",
            hint="set CWNOTIFY_WEBHOOK_URL instead, or XDG_CONFIG_HOME to another folder",
        ) from None
    return path


def _write_secret_file(path: Path, secret: Secret) -> None:
    # Import here, because cells do not need this module.
    from cwnotify.settings.private_files import open_private_directory

    # Other users may list the folder, but not write to it.
    with open_private_directory(path.parent, forbidden_mode=0o022) as folder:
        temporary_name = f".{path.name}.{os.getpid()}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(temporary_name, flags, 0o600, dir_fd=folder)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(secret.reveal() + "\n")
            os.rename(temporary_name, path.name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(temporary_name, dir_fd=folder)
            raise
