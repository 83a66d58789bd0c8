"""Create and check folders and files that no other user may choose, plant or read: the state and the webhook.

A folder is opened one path component at a time, and only symbolic links of this user or root are followed. Otherwise
another user's link could lead to another folder of this user, whose mode would be changed. Standard library only.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MAX_SYMLINKS = 40
# O_PATH (Linux only) opens folders that cannot be listed, and symbolic links themselves.
_PATH_ONLY = getattr(os, "O_PATH", 0) | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class OwnershipError(OSError):
    """A file or folder belongs to another user, or might. `strerror` names it and the reason."""


@contextmanager
def open_private_directory(path: Path, forbidden_mode: int = 0o077, create: bool = True) -> Iterator[int]:
    """Open the folder at `path`, which must be this user's.

    Parameters
    ----------
    forbidden_mode
        Mode bits to remove from the folder.
    create
        Whether to create it and its parents if they are missing.

    Yields
    ------
    int
        A descriptor of the folder. Names relative to it cannot be redirected by replacing the folder.

    Raises
    ------
    OwnershipError
        If it belongs to another user, or is reached through another user's symbolic link.
    OSError
        If it cannot be opened.
    """
    reached = _walk(path.absolute(), create) if hasattr(os, "O_PATH") else _open_by_name(path.absolute(), create)
    try:
        descriptor = os.open(".", _DIRECTORY, dir_fd=reached)
    finally:
        os.close(reached)
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
    """Return whether `path` is still the folder that `descriptor` refers to."""
    return os.path.samestat(path.stat(), os.fstat(descriptor))


def check_private_file(name: str, folder: int, where: Path) -> bool:
    """Make the file `name` in `folder` readable by this user only, and return whether it exists.

    It is not opened, because closing a database would release the locks that this process holds on it.

    Parameters
    ----------
    where
        The path of `folder`, for error messages.

    Raises
    ------
    OwnershipError
        If it belongs to another user, is not a regular file, or has a hard link outside `folder`.
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
        # No other user can replace it with a link, because the folder is private.
        with suppress(FileNotFoundError):
            os.chmod(name, 0o600, dir_fd=folder)
    return True


def create_private_file(name: str, folder: int) -> None:
    """Create an empty file `name` that only this user can read, unless it exists."""
    try:
        # Not opened, for the reason in `check_private_file`.
        os.mknod(name, stat.S_IFREG | 0o600, dir_fd=folder)
    except FileExistsError:
        pass
    except (PermissionError, NotImplementedError, AttributeError):
        # On other systems than Linux, only root may call mknod.
        try:
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=folder))
        except FileExistsError:
            pass


def _all_links_are_in(folder: int, name: str) -> bool:
    """Return whether all hard links of a file are in `folder`. Concurrent first starts link the key there twice."""
    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    link_count = 0
    for other in os.listdir(folder):
        try:
            link_count += os.path.samestat(os.stat(other, dir_fd=folder, follow_symlinks=False), status)
        except FileNotFoundError:
            continue
    # Read again: a link that was removed meanwhile is in neither count.
    return os.stat(name, dir_fd=folder, follow_symlinks=False).st_nlink <= max(link_count, 1)


def _walk(path: Path, create: bool) -> int:
    """Open the folder at `path`, resolving symbolic links one by one. The caller closes the descriptor."""
    parts = list(path.parts[1:])
    link_count = 0
    current = os.open(path.anchor, _PATH_ONLY)
    try:
        while parts:
            part = parts.pop(0)
            child = _open_or_create(part, current, create)
            if target := _read_link(child, part, path):
                os.close(child)
                link_count += 1
                if link_count > MAX_SYMLINKS:
                    raise OSError(0, "too many symbolic links")
                parts[:0] = [component for component in target.split("/") if component]
                if not target.startswith("/"):
                    continue
                child = os.open("/", _PATH_ONLY)
            os.close(current)
            current = child
    except BaseException:
        os.close(current)
        raise
    return current


def _open_by_name(path: Path, create: bool) -> int:
    """Open the folder at `path` without O_PATH. A link that is replaced between check and open goes unnoticed."""
    for component in (*reversed(path.parents), path):
        if component.is_symlink() and component.lstat().st_uid not in (0, os.geteuid()):
            raise OwnershipError(0, f"{path} leads through {component.name}, another user's symbolic link")
    if create:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return os.open(path, _DIRECTORY)


def _open_or_create(part: str, folder: int, create: bool) -> int:
    """Open `part` in `folder`, without following it if it is a symbolic link."""
    try:
        return os.open(part, _PATH_ONLY, dir_fd=folder)
    except FileNotFoundError:
        if not create:
            raise
    try:
        os.mkdir(part, 0o700, dir_fd=folder)
    except FileExistsError:
        # Another process created it first.
        pass
    return os.open(part, _PATH_ONLY, dir_fd=folder)


def _read_link(descriptor: int, part: str, path: Path) -> str:
    """Return the target if `descriptor` refers to a symbolic link, else an empty string."""
    status = os.fstat(descriptor)
    if not stat.S_ISLNK(status.st_mode):
        return ""
    if status.st_uid not in (0, os.geteuid()):
        raise OwnershipError(0, f"{path} leads through {part}, another user's symbolic link")
    # The opened link itself, because its name may refer to another file by now.
    return os.readlink("", dir_fd=descriptor)
