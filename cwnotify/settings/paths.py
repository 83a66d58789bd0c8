"""The paths of settings, webhook and state, and a check that no other user can write them. Standard library only."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

TEAM_CONFIG_PATH = "/etc/cwnotify/config.toml"
MAX_SYMLINKS = 40
# Made absolute at startup, because a cell may change the working directory.
_PATH_VARIABLES = (
    *("HOME", "CWNOTIFY_STATE_DIR", "CWNOTIFY_TEAM_CONFIG", "JUPYTER_CONFIG_DIR", "JUPYTER_CONFIG_PATH"),
    *("PYTHONPATH", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CA_BUNDLE", "AWS_DATA_PATH"),
    *("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"),
)
# Read at startup, because a cell may change them.
_PREFIX, _EXECUTABLE = sys.prefix, sys.executable


def _read_startup_environment() -> dict[str, str]:
    try:
        pairs = [pair.partition(b"=") for pair in Path("/proc/self/environ").read_bytes().split(b"\0")]
        environ = {os.fsdecode(name): os.fsdecode(value) for name, separator, value in pairs if name and separator}
    except OSError:
        environ = {}
    # Empty on other systems than Linux and after setproctitle. The environment at import time is the next best.
    environ = environ or dict(os.environ)
    return environ | {name: _make_absolute(environ[name]) for name in _PATH_VARIABLES if environ.get(name)}


def _make_absolute(paths: str) -> str:
    """Make a list of paths independent of the working directory. Empty paths and those with ~ stay the same."""
    try:
        parts = [os.path.abspath(path) if path and path[0] not in "/~" else path for path in paths.split(os.pathsep)]  # noqa: PTH100 (runs in the kernel)
    except OSError:
        # The working directory does not exist.
        return paths
    return os.pathsep.join(parts)


_startup_environment: Mapping[str, str] = _read_startup_environment()


def get_startup_environment() -> Mapping[str, str]:
    """Return the environment with which this process was started, before any cell could change it."""
    return _startup_environment


def set_startup_environment(environ: Mapping[str, str]) -> None:
    """Replace the startup environment, as the demo does for its local AWS and Slack."""
    global _startup_environment
    _startup_environment = dict(environ)


def is_running_in_ipython() -> bool:
    """Return whether this process is IPython's. If so, it may run a notebook that another person wrote."""
    shell = getattr(sys.modules.get("IPython.core.interactiveshell"), "InteractiveShell", None)
    return bool(shell and shell.initialized())


def get_python_executable() -> str:
    """Return the path of this Python, even if a cell or an embedding program changed `sys.executable`."""
    try:
        path = os.fsdecode(Path("/proc/self/cmdline").read_bytes().split(b"\0")[0])
        if os.path.isabs(path) and os.path.samefile(path, "/proc/self/exe") and "python" in os.path.basename(path):  # noqa: PTH117, PTH119, PTH121 (runs in the kernel)
            return path
    except OSError:
        pass
    return _EXECUTABLE or f"{sys.exec_prefix}/bin/python3"


def get_user_config_path(environ: Mapping[str, str] | None = None) -> Path:
    """Return the path of the user's ``config.toml``: in ``$XDG_CONFIG_HOME/cwnotify``, else ``~/.config/cwnotify``."""
    return Path(_config_dir(os.environ if environ is None else environ)) / "config.toml"


def list_config_paths(environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Return the paths of all settings files. The first file that sets a key wins.

    The user's own file, then ``cwnotify.toml`` in each folder of Jupyter's config path (shown by ``jupyter --paths``),
    then the team's file: ``$CWNOTIFY_TEAM_CONFIG``, else ``/etc/cwnotify/config.toml``.
    """
    environ = os.environ if environ is None else environ
    user_dir = environ.get("JUPYTER_CONFIG_DIR") or f"{_home_dir(environ)}/.jupyter"
    extra_dirs = [folder for folder in environ.get("JUPYTER_CONFIG_PATH", "").split(os.pathsep) if folder]
    folders = (*extra_dirs, user_dir, f"{_PREFIX}/etc/jupyter", "/usr/local/etc/jupyter", "/etc/jupyter")
    jupyter = [f"{folder}/cwnotify.toml" for folder in folders]
    team = environ.get("CWNOTIFY_TEAM_CONFIG") or TEAM_CONFIG_PATH
    return tuple(dict.fromkeys((f"{_config_dir(environ)}/config.toml", *jupyter, team)))


def get_webhook_path(environ: Mapping[str, str] | None = None) -> Path:
    """Return the path of the file in which ``cwnotify login`` stores the webhook: one line, mode 0600.

    It is separate from ``config.toml``, because users may share that file.
    """
    return Path(_config_dir(os.environ if environ is None else environ)) / "webhook"


def get_state_dir(environ: Mapping[str, str] | None = None) -> Path:
    """Return the folder of the outbox.

    It is ``CWNOTIFY_STATE_DIR``, else ``$XDG_STATE_HOME/cwnotify``, else ``~/.local/state/cwnotify``.
    """
    environ = os.environ if environ is None else environ
    if configured := environ.get("CWNOTIFY_STATE_DIR"):
        return Path(configured).expanduser().absolute()
    return Path(_xdg_dir(environ, "XDG_STATE_HOME", ".local/state"))


def read_trusted_text(path: Path, environ: Mapping[str, str] | None = None) -> str:
    """Read a settings file. A pipe is rejected, because opening one blocks until another process writes to it.

    Raises
    ------
    OSError
        If it cannot be read.
    UnsafeFileError
        If any user besides this one and root can write or replace it.
    UnicodeDecodeError
        If it is not UTF-8.
    """
    if stat.S_ISFIFO(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is a pipe, not a file")
    _check_writers(path, os.environ if environ is None else environ)
    return path.read_bytes().decode()


class UnsafeFileError(OSError):
    """Another user can write a settings file. The message names the file or folder; `hint` is the command to fix it."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def _check_writers(path: Path, environ: Mapping[str, str]) -> None:
    """Check the file, the folders of it and of each link to it, and that no parent folder is writable by all users."""
    trusted_users = {0, os.geteuid()}
    try:
        # In a container that runs as root, a mounted home belongs to the user outside. Its owner is trusted, because
        # they can already put code into its .bashrc.
        trusted_users.add(os.stat(_home_dir(environ)).st_uid)  # noqa: PTH116 (a string)
    except OSError:
        pass
    real_path = Path(os.path.realpath(path))
    _check_owner_and_mode(real_path, trusted_users)
    for link in _follow_links(path):
        _check_owner_and_mode(link.parent, trusted_users)
    _check_owner_and_mode(real_path.parent, trusted_users)
    for folder in {*real_path.parents, *Path(os.path.abspath(path)).parents}:  # noqa: PTH100 (keeps links)
        mode = folder.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise UnsafeFileError(f"all users can write {folder}", hint=f"close it with: chmod o-w {folder}")


def _follow_links(path: Path) -> Iterator[Path]:
    """Yield the path, and the target of each symbolic link until a target is not a link."""
    for _ in range(MAX_SYMLINKS):
        yield path
        if not path.is_symlink():
            return
        path = path.parent / path.readlink()


def _check_owner_and_mode(path: Path, trusted_users: set[int]) -> None:
    """Reject a file or folder that other users can write. A sticky folder such as /tmp passes."""
    status = path.stat()
    if status.st_uid not in trusted_users:
        raise UnsafeFileError(
            f"{path} belongs to another user", hint=f"make it yours with: sudo chown {os.geteuid()} {path}"
        )
    if stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX:
        return
    if status.st_mode & stat.S_IWOTH or (status.st_mode & stat.S_IWGRP and not _is_private_group(status.st_gid)):
        raise UnsafeFileError(f"other users can write {path}", hint=f"close it with: chmod go-w {path}")


def _is_private_group(group: int) -> bool:
    """Return whether `group` is root's or has this user only, as the default group of new files on many systems."""
    import grp
    import pwd

    if group == 0:
        return True
    try:
        user, entry = pwd.getpwuid(os.geteuid()), grp.getgrgid(group)
    except KeyError:
        return False
    return group == user.pw_gid and entry.gr_name == user.pw_name and {*entry.gr_mem} <= {user.pw_name}


def _config_dir(environ: Mapping[str, str]) -> str:
    return _xdg_dir(environ, "XDG_CONFIG_HOME", ".config")


def _xdg_dir(environ: Mapping[str, str], variable: str, default: str) -> str:
    # A string, because this runs for every cell and building a `Path` takes ten times as long.
    base = environ.get(variable, "")
    # The XDG specification ignores relative paths: https://specifications.freedesktop.org/basedir-spec/latest/
    return f"{base if base.startswith('/') else f'{_home_dir(environ)}/{default}'}/cwnotify"


def _home_dir(environ: Mapping[str, str]) -> str:
    if home := environ.get("HOME"):
        return home
    # Not `expanduser`, which reads os.environ.
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return "/"
