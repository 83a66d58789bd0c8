"""The state directory: private, ours, and holding the key that turns a webhook into a name for it.

Standard library, `errors`, `ownership` and `settings` only.
"""

from __future__ import annotations

import hmac
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cwnotify.errors import StateError
from cwnotify.settings import Secret
from cwnotify.settings.private_files import (
    OwnershipError,
    check_private_file,
    create_private_file,
    open_private_directory,
)

OUTBOX_FILENAME = "outbox.sqlite3"
LOG_FILENAME = "sidecar.log"
KEY_FILENAME, LOCK_FILENAME = "key", "lock"


def prepare_state_dir(directory: Path) -> Path:
    """Make the state directory where it is missing; check that no other user reaches into it, or has planted a file.

    Raises
    ------
    StateError
        If it, or a file of ours in it, belongs to somebody else, leads elsewhere, or cannot be used.
    """
    with open_state_dir(directory):
        return directory


@contextmanager
def open_state_dir(directory: Path) -> Iterator[int]:
    """As `prepare_state_dir`, and keep the directory open; gives its descriptor."""
    try:
        with open_private_directory(directory) as folder:
            for name in os.listdir(folder):  # noqa: PTH208 (a descriptor, not a path)
                if name in (KEY_FILENAME, LOCK_FILENAME) or name.startswith((OUTBOX_FILENAME, LOG_FILENAME)):
                    check_private_file(name, folder, directory)
            yield folder
    except OwnershipError as error:
        raise StateError(f"{error.strerror}", hint="set CWNOTIFY_STATE_DIR to a folder of your own") from None
    except OSError as error:
        raise StateError(
            f"{directory} cannot be used: {error.strerror}",
            hint="set CWNOTIFY_STATE_DIR to a folder that can be written",
        ) from None


def create_outbox_file(folder: int) -> None:
    """Make the outbox's file in a directory that is `open_state_dir`, for this user alone, unless it is there."""
    if OUTBOX_FILENAME not in os.listdir(folder):
        create_private_file(OUTBOX_FILENAME, folder)


def open_lock_file(folder: int) -> int:
    """Open the file that sidecars lock, in a directory that is `open_state_dir`, and return its descriptor."""
    return os.open(LOCK_FILENAME, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)


def fingerprint_webhook(webhook: Secret | None, directory: Path | None) -> str:
    """A name for a webhook that tells nothing of it: a keyed hash; empty for none.

    Parameters
    ----------
    directory
        Where the key lies; with None a key for this process alone is used.
    """
    if webhook is None:
        return ""
    key = _key(directory) if directory else _OWN_KEY
    return hmac.new(key, webhook.reveal().encode(), "sha256").hexdigest()[:24]


_OWN_KEY = secrets.token_bytes(32)


def _key(directory: Path) -> bytes:
    with open_private_directory(directory) as folder:
        with suppress(FileNotFoundError):
            check_private_file(KEY_FILENAME, folder, directory)
            if len(key := _read(KEY_FILENAME, folder)) == 32:
                return key
            # A power cut or a full disk left a piece of one.
            os.unlink(KEY_FILENAME, dir_fd=folder)
        # Linked into place whole, so that of two first starts both read the same key.
        new = f".key.{os.getpid()}.{secrets.token_hex(4)}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(new, flags, 0o600, dir_fd=folder), "wb") as file:
            file.write(secrets.token_bytes(32))
        try:
            os.link(new, KEY_FILENAME, src_dir_fd=folder, dst_dir_fd=folder)
        except FileExistsError:
            pass
        finally:
            os.unlink(new, dir_fd=folder)
        check_private_file(KEY_FILENAME, folder, directory)
        return _read(KEY_FILENAME, folder)


def _read(name: str, folder: int) -> bytes:
    with os.fdopen(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder), "rb") as file:
        return file.read(33)
