"""Folders and files that hold our state or a webhook: no other user may choose, plant or read them.

A folder is reached one part of its path at a time. A symbolic link on the way counts only if this user or root made it.
So nobody leads us to another folder of this user, whose mode we would change. Standard library only.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MAX_SYMLINKS = 40
# Also opens a folder that can be passed through but not listed, and a symbolic link itself. Linux only.
_PASS = getattr(os, "O_PATH", 0) | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class OwnershipError(OSError):
    """Something is not this user's, or could be another user's; `strerror` names it and says why."""


@contextmanager
def open_private_directory(path: Path, forbidden_mode: int = 0o077, create: bool = True) -> Iterator[int]:
    """Open the folder at `path`, which has to be this user's, and take the mode bits `forbidden` from it.

    Parameters
    ----------
    create
        Whether to make it, and its parents, where they are missing.

    Yields
    ------
    int
        A descriptor of the folder: with it, names in the folder cannot be led elsewhere.

    Raises
    ------
    OwnershipError
        If it belongs to another user, or another user's symbolic link leads to it.
    OSError
        If it cannot be opened.
    """
    passed = _walk(path.absolute(), create) if hasattr(os, "O_PATH") else _open_by_name(path.absolute(), create)
    try:
        descriptor = os.open(".", _FOLDER, dir_fd=passed)
    finally:
        os.close(passed)
    try:
        status = os.fstat(descriptor)
        if status.st_uid != os.geteuid():
            raise OwnershipError(0, f"{path} belongs to another user")
        if status.st_mode & forbidden_mode:
            os.fchmod(descriptor, stat.S_IMODE(status.st_mode) & ~forbidden_mode)
        yield descriptor
    finally:
        os.close(descriptor)


def is_same_directory(path: Path, descriptor: int) -> bool:
    """Return whether `path` still leads to the folder that `descriptor` is open for."""
    return os.path.samestat(path.stat(), os.fstat(descriptor))


def check_private_file(name: str, folder: int, where: Path) -> bool:
    """Return whether there is a file `name` in `folder`, after making it readable by this user alone.

    It is not opened: to close a database would take away the locks that this process has on it.

    Parameters
    ----------
    where
        The path of `folder`, for the message.

    Raises
    ------
    OwnershipError
        If it is another user's, no plain file, or has another name outside of `folder`.
    """
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    path = where / name
    if not stat.S_ISREG(status.st_mode):
        raise OwnershipError(0, f"{path} is not a plain file")
    if status.st_uid != os.geteuid():
        raise OwnershipError(0, f"{path} belongs to another user")
    if status.st_nlink > 1 and not _all_links_are_in(folder, name):
        raise OwnershipError(0, f"{path} has a second name (a hard link) in another folder")
    if status.st_mode & 0o077:
        # No other user can put a link in its place by now: the folder is closed.
        with suppress(FileNotFoundError):
            os.chmod(name, 0o600, dir_fd=folder)
    return True


def create_private_file(name: str, folder: int) -> None:
    """Make an empty file `name` for this user alone, unless there is one."""
    try:
        # Not opened, for the reason in `check_private_file`.
        os.mknod(name, stat.S_IFREG | 0o600, dir_fd=folder)
    except FileExistsError:
        pass
    except (PermissionError, NotImplementedError, AttributeError):
        # Not Linux: only root makes files in this way.
        try:
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=folder))
        except FileExistsError:
            pass


def _all_links_are_in(folder: int, name: str) -> bool:
    """Return whether all names of a file are in `folder`. Two first starts at once give the key a second one there."""
    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    names = 0
    for other in os.listdir(folder):
        try:
            names += os.path.samestat(os.stat(other, dir_fd=folder, follow_symlinks=False), status)
        except FileNotFoundError:
            continue
    # One that was removed meanwhile is no longer counted by either.
    return os.stat(name, dir_fd=folder, follow_symlinks=False).st_nlink <= max(names, 1)


def _walk(path: Path, create: bool) -> int:
    """Open the folder at `path`, link by link; the caller closes it."""
    parts = list(path.parts[1:])
    links = 0
    here = os.open(path.anchor, _PASS)
    try:
        while parts:
            part = parts.pop(0)
            following = _step(part, here, create)
            if target := _target(following, part, path):
                os.close(following)
                links += 1
                if links > MAX_SYMLINKS:
                    raise OSError(0, "too many symbolic links")
                parts[:0] = [one for one in target.split("/") if one]
                if not target.startswith("/"):
                    continue
                following = os.open("/", _PASS)
            os.close(here)
            here = following
    except BaseException:
        os.close(here)
        raise
    return here


def _open_by_name(path: Path, create: bool) -> int:
    """As `_walk` where there is no O_PATH: checked by name, so a link that changes at this moment is not noticed."""
    for one in (*reversed(path.parents), path):
        if one.is_symlink() and one.lstat().st_uid not in (0, os.geteuid()):
            raise OwnershipError(0, f"{path} leads through {one.name}, another user's symbolic link")
    if create:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return os.open(path, _FOLDER)


def _step(part: str, here: int, create: bool) -> int:
    """Open `part`, a symbolic link too, in the folder `here`."""
    try:
        return os.open(part, _PASS, dir_fd=here)
    except FileNotFoundError:
        if not create:
            raise
    try:
        os.mkdir(part, 0o700, dir_fd=here)
    except FileExistsError:
        # Another process was faster.
        pass
    return os.open(part, _PASS, dir_fd=here)


def _target(link: int, part: str, path: Path) -> str:
    """Where the symbolic link leads that `link` is open for; empty if it is none."""
    status = os.fstat(link)
    if not stat.S_ISLNK(status.st_mode):
        return ""
    if status.st_uid not in (0, os.geteuid()):
        raise OwnershipError(0, f"{path} leads through {part}, another user's symbolic link")
    # Of the link itself, not of what may have its name by now.
    return os.readlink("", dir_fd=link)
