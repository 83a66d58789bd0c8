"""Where settings, the webhook and the outbox lie on this machine. Standard library only."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

TEAM_CONFIG_PATH = "/etc/cwnotify/config.toml"
# A cell may change the working directory, which relative paths depend on, and any name of `sys`.
_PATHS = (
    *("HOME", "CWNOTIFY_STATE_DIR", "CWNOTIFY_TEAM_CONFIG", "JUPYTER_CONFIG_DIR", "JUPYTER_CONFIG_PATH"),
    *("PYTHONPATH", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CA_BUNDLE", "AWS_DATA_PATH"),
    *("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"),
)
_PREFIX, _EXECUTABLE = sys.prefix, sys.executable


def _at_start() -> dict[str, str]:
    try:
        pairs = [pair.partition(b"=") for pair in Path("/proc/self/environ").read_bytes().split(b"\0")]
        environ = {os.fsdecode(name): os.fsdecode(value) for name, mark, value in pairs if name and mark}
    except OSError:
        environ = {}
    # Not Linux, or overwritten by setproctitle: as it is when cwnotify is loaded.
    environ = environ or dict(os.environ)
    return environ | {name: _absolute(environ[name]) for name in _PATHS if environ.get(name)}


def _absolute(paths: str) -> str:
    """Paths that do not depend on the working directory; one that begins with ~ or is empty stays as it is."""
    try:
        parts = [os.path.abspath(path) if path and path[0] not in "/~" else path for path in paths.split(os.pathsep)]  # noqa: PTH100 (in the kernel: no cost)
    except OSError:
        # The working directory was removed.
        return paths
    return os.pathsep.join(parts)


_started: Mapping[str, str] = _at_start()


def get_startup_environment() -> Mapping[str, str]:
    """Return the environment with which this process was started. No cell has changed it."""
    return _started


def set_startup_environment(environ: Mapping[str, str]) -> None:
    """Let `environ` count as what this process was started with, as the demo does for its stand-ins."""
    global _started
    _started = dict(environ)


def is_running_in_ipython() -> bool:
    """Return whether this process is IPython's: what runs in it may be a notebook that somebody else wrote."""
    shell = getattr(sys.modules.get("IPython.core.interactiveshell"), "InteractiveShell", None)
    return bool(shell and shell.initialized())


def get_python_executable() -> str:
    """Return the path of this Python, whatever a cell or an embedding program has made of `sys.executable`."""
    try:
        command = Path("/proc/self/cmdline").read_bytes().split(b"\0")[0]
        path = os.fsdecode(command)
        if os.path.isabs(path) and os.path.samefile(path, "/proc/self/exe") and "python" in os.path.basename(path):  # noqa: PTH117, PTH119, PTH121 (in the kernel: no cost)
            return path
    except OSError:
        pass
    return _EXECUTABLE or f"{sys.exec_prefix}/bin/python3"


def get_user_config_path(environ: Mapping[str, str] | None = None) -> Path:
    """Where the user's ``config.toml`` is looked for: ``$XDG_CONFIG_HOME/cwnotify``, else ``~/.config/cwnotify``."""
    return Path(_config_folder(os.environ if environ is None else environ)) / "config.toml"


def list_config_paths(environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """All files that settings may come from; the first that names one wins.

    The user's own, then a ``cwnotify.toml`` on Jupyter's own path (``jupyter --paths`` shows it), then the team's:
    ``$CWNOTIFY_TEAM_CONFIG``, else ``/etc/cwnotify/config.toml``.
    """
    environ = os.environ if environ is None else environ
    own = environ.get("JUPYTER_CONFIG_DIR") or f"{_user_home(environ)}/.jupyter"
    more = [folder for folder in environ.get("JUPYTER_CONFIG_PATH", "").split(os.pathsep) if folder]
    folders = (*more, own, f"{_PREFIX}/etc/jupyter", "/usr/local/etc/jupyter", "/etc/jupyter")
    jupyter = [f"{folder}/cwnotify.toml" for folder in folders]
    team = environ.get("CWNOTIFY_TEAM_CONFIG") or TEAM_CONFIG_PATH
    return tuple(dict.fromkeys((f"{_config_folder(environ)}/config.toml", *jupyter, team)))


def get_webhook_path(environ: Mapping[str, str] | None = None) -> Path:
    """Where ``cwnotify login`` keeps the webhook: one line, mode 0600, apart from the settings one may share."""
    return Path(_config_folder(os.environ if environ is None else environ)) / "webhook"


def get_state_dir(environ: Mapping[str, str] | None = None) -> Path:
    """Where the outbox lives: ``CWNOTIFY_STATE_DIR``, ``$XDG_STATE_HOME/cwnotify``, ``~/.local/state/cwnotify``."""
    environ = os.environ if environ is None else environ
    if chosen := environ.get("CWNOTIFY_STATE_DIR"):
        return Path(chosen).expanduser().absolute()
    return Path(_folder(environ, "XDG_STATE_HOME", ".local/state"))


def read_trusted_text(path: Path, environ: Mapping[str, str] | None = None) -> str:
    """Read a file of settings. A pipe in its place is not opened, for that waits until somebody writes.

    Raises
    ------
    OSError
        If it cannot be read.
    UnsafeError
        If others than the user and root can write it, or put another file in its place.
    UnicodeDecodeError
        If it is not UTF-8.
    """
    if stat.S_ISFIFO(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is a pipe, not a file")
    _check_writers(path, os.environ if environ is None else environ)
    return path.read_bytes().decode()


class UnsafeFileError(OSError):
    """A file of settings that another user can write. The message says which file or folder, and how to close it."""


def _check_writers(path: Path, environ: Mapping[str, str]) -> None:
    """Check the file, the folders that it and its links are in, and that no folder above is open to all."""
    trusted = {0, os.geteuid()}
    try:
        # In a container that runs as root, a home that was mounted belongs to the user outside. Whoever owns the home
        # can put code into its .bashrc already.
        trusted.add(os.stat(_user_home(environ)).st_uid)  # noqa: PTH116 (a text)
    except OSError:
        pass
    real = Path(os.path.realpath(path))
    _check(real, trusted)
    for link in _links(path):
        _check(link.parent, trusted)
    _check(real.parent, trusted)
    for folder in {*real.parents, *Path(os.path.abspath(path)).parents}:  # noqa: PTH100 (links must stay)
        mode = folder.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise UnsafeFileError(f"all users can write {folder}; close it with: chmod o-w {folder}")


def _links(path: Path) -> Iterator[Path]:
    """The path itself and all that it is a link to, one after the other."""
    for _ in range(40):
        yield path
        if not path.is_symlink():
            return
        path = path.parent / path.readlink()


def _check(path: Path, trusted: set[int]) -> None:
    """Refuse a file or folder that others can write. In a folder as /tmp is, they can write their own files alone."""
    found = path.stat()
    if found.st_uid not in trusted:
        raise UnsafeFileError(f"{path} belongs to another user; make it yours with: sudo chown {os.geteuid()} {path}")
    if stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX:
        return
    if found.st_mode & stat.S_IWOTH or (found.st_mode & stat.S_IWGRP and not _is_of_user_alone(found.st_gid)):
        raise UnsafeFileError(f"other users can write {path}; close it with: chmod go-w {path}")


def _is_of_user_alone(group: int) -> bool:
    """Whether `group` is root's, or the user's private one, in which many systems let a new file be written."""
    import grp
    import pwd

    if group == 0:
        return True
    try:
        user, entry = pwd.getpwuid(os.geteuid()), grp.getgrgid(group)
    except KeyError:
        return False
    return group == user.pw_gid and entry.gr_name == user.pw_name and {*entry.gr_mem} <= {user.pw_name}


def _config_folder(environ: Mapping[str, str]) -> str:
    return _folder(environ, "XDG_CONFIG_HOME", ".config")


def _folder(environ: Mapping[str, str], variable: str, below: str) -> str:
    # Texts, for each cell asks, and a `Path` takes ten times as long to put together.
    base = environ.get(variable, "")
    # As the XDG specification has it, a relative path counts for nothing.
    return f"{base if base.startswith('/') else f'{_user_home(environ)}/{below}'}/cwnotify"


def _user_home(environ: Mapping[str, str]) -> str:
    if home := environ.get("HOME"):
        return home
    # Not `expanduser`, which reads os.environ.
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return "/"
