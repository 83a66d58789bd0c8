"""The state directory: private to this user, with the key that turns a webhook into its fingerprint.

Imports the standard library, `errors` and `settings` only.
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
KEY_LENGTH = 32  # bytes
# For fingerprints that hold for this process only.
_PROCESS_KEY = secrets.token_bytes(KEY_LENGTH)


def prepare_state_dir(directory: Path) -> Path:
    """Create the state directory if it is missing, and check that no other user controls it or a file in it.

    Raises
    ------
    StateError
        If the directory or one of our files in it belongs to another user, is a link, or cannot be used.
    """
    with open_state_dir(directory):
        return directory


@contextmanager
def open_state_dir(directory: Path) -> Iterator[int]:
    """Prepare the state directory as `prepare_state_dir` does, and yield a descriptor of it."""
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
    """Create the outbox's file, readable by this user only, unless it exists.

    Parameters
    ----------
    folder
        A descriptor from `open_state_dir`.
    """
    if OUTBOX_FILENAME not in os.listdir(folder):
        create_private_file(OUTBOX_FILENAME, folder)


def open_lock_file(folder: int) -> int:
    """Open the file that sidecars lock, and return its descriptor.

    Parameters
    ----------
    folder
        A descriptor from `open_state_dir`.
    """
    return os.open(LOCK_FILENAME, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)


def fingerprint_webhook(webhook: Secret | None, directory: Path | None) -> str:
    """Return a name for a webhook that reveals nothing about it: a keyed hash, or an empty text for no webhook.

    Parameters
    ----------
    directory
        The state directory, which has the key. With None the fingerprint holds for this process only.

    Raises
    ------
    OSError
        If the key cannot be read or created, or another user controls it.
    """
    if webhook is None:
        return ""
    key = _load_key(directory) if directory else _PROCESS_KEY
    return hmac.new(key, webhook.reveal().encode(), "sha256").hexdigest()[:24]


def _load_key(directory: Path) -> bytes:
    """Return the key in `directory`, creating it if necessary."""
    with open_private_directory(directory) as folder:
        with suppress(FileNotFoundError):
            check_private_file(KEY_FILENAME, folder, directory)
            if len(key := _read_key(folder)) == KEY_LENGTH:
                return key
            # A power cut or a full disk left an incomplete key.
            os.unlink(KEY_FILENAME, dir_fd=folder)
        # The complete file is linked into place, so that concurrent first starts read the same key.
        temporary_name = f".key.{os.getpid()}.{secrets.token_hex(4)}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(temporary_name, flags, 0o600, dir_fd=folder), "wb") as file:
            file.write(secrets.token_bytes(KEY_LENGTH))
        try:
            os.link(temporary_name, KEY_FILENAME, src_dir_fd=folder, dst_dir_fd=folder)
        except FileExistsError:
            pass
        finally:
            os.unlink(temporary_name, dir_fd=folder)
        check_private_file(KEY_FILENAME, folder, directory)
        return _read_key(folder)


def _read_key(folder: int) -> bytes:
    with os.fdopen(os.open(KEY_FILENAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder), "rb") as file:
        return file.read(KEY_LENGTH + 1)
