"""The state directory: private, ours, and holding the key that turns a webhook into a name for it.

Standard library, `errors` and `settings` only.
"""

from __future__ import annotations

import hmac
import os
import secrets
import stat
from pathlib import Path

from cwnotify.errors import StateError
from cwnotify.settings import Secret

OUTBOX = "outbox.sqlite3"


def prepare(directory: Path) -> Path:
    """Make the state directory where it is missing, and see that nobody else can reach into it.

    Raises
    ------
    StateError
        If it belongs to somebody else, is open to others and cannot be closed, or cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        status = directory.stat()
        if status.st_uid != os.geteuid():
            raise StateError(f"{directory} belongs to another user; set CWNOTIFY_STATE_DIR to a folder of your own")
        if stat.S_IMODE(status.st_mode) & 0o077:
            directory.chmod(0o700)
    except OSError as error:
        raise StateError(
            f"{directory} cannot be used: {error.strerror}; set CWNOTIFY_STATE_DIR to a folder that can be written"
        ) from None
    return directory


def fingerprint(webhook: Secret | None, directory: Path | None) -> str:
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
    path = directory / "key"
    try:
        if len(key := path.read_bytes()) == 32:
            return key
        # A power cut or a full disk left a piece of one.
        path.unlink(missing_ok=True)
    except FileNotFoundError:
        pass
    # Linked into place whole, so that of two first starts both read the same key.
    new = path.with_name(f".key.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(32))
    try:
        os.link(new, path)
    except FileExistsError:
        pass
    finally:
        new.unlink()
    return path.read_bytes()
