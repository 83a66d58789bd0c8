"""Where settings, the webhook and the outbox lie on this machine. Standard library only."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Mapping
from pathlib import Path

TEAM_CONFIG = "/etc/cwnotify/config.toml"
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


def started() -> Mapping[str, str]:
    """Return the environment with which this process was started. No cell has changed it."""
    return _started


def start_from(environ: Mapping[str, str]) -> None:
    """Let `environ` count as what this process was started with, as the demo does for its stand-ins."""
    global _started
    _started = dict(environ)


def runs_cells() -> bool:
    """Return whether this process is IPython's: what runs in it may be a notebook that somebody else wrote."""
    shell = getattr(sys.modules.get("IPython.core.interactiveshell"), "InteractiveShell", None)
    return bool(shell and shell.initialized())


def python() -> str:
    """Return the path of this Python, whatever a cell or an embedding program has made of `sys.executable`."""
    try:
        command = Path("/proc/self/cmdline").read_bytes().split(b"\0")[0]
        path = os.fsdecode(command)
        if os.path.isabs(path) and os.path.samefile(path, "/proc/self/exe") and "python" in os.path.basename(path):  # noqa: PTH117, PTH119, PTH121 (in the kernel: no cost)
            return path
    except OSError:
        pass
    return _EXECUTABLE or f"{sys.exec_prefix}/bin/python3"


def config_path(environ: Mapping[str, str] | None = None) -> Path:
    """Where the user's ``config.toml`` is looked for: ``$XDG_CONFIG_HOME/cwnotify``, else ``~/.config/cwnotify``."""
    return Path(_config_folder(os.environ if environ is None else environ)) / "config.toml"


def config_paths(environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """All files that settings may come from; the first that names one wins.

    The user's own, then a ``cwnotify.toml`` on Jupyter's own path (``jupyter --paths`` shows it), then the team's:
    ``$CWNOTIFY_TEAM_CONFIG``, else ``/etc/cwnotify/config.toml``.
    """
    environ = os.environ if environ is None else environ
    own = environ.get("JUPYTER_CONFIG_DIR") or f"{_user_home(environ)}/.jupyter"
    more = [folder for folder in environ.get("JUPYTER_CONFIG_PATH", "").split(os.pathsep) if folder]
    folders = (*more, own, f"{_PREFIX}/etc/jupyter", "/usr/local/etc/jupyter", "/etc/jupyter")
    jupyter = [f"{folder}/cwnotify.toml" for folder in folders]
    team = environ.get("CWNOTIFY_TEAM_CONFIG") or TEAM_CONFIG
    return tuple(dict.fromkeys((f"{_config_folder(environ)}/config.toml", *jupyter, team)))


def webhook_path(environ: Mapping[str, str] | None = None) -> Path:
    """Where ``cwnotify login`` keeps the webhook: one line, mode 0600, apart from the settings one may share."""
    return Path(_config_folder(os.environ if environ is None else environ)) / "webhook"


def state_dir(environ: Mapping[str, str] | None = None) -> Path:
    """Where the outbox lives: ``CWNOTIFY_STATE_DIR``, ``$XDG_STATE_HOME/cwnotify``, ``~/.local/state/cwnotify``."""
    environ = os.environ if environ is None else environ
    if chosen := environ.get("CWNOTIFY_STATE_DIR"):
        return Path(chosen).expanduser().absolute()
    return Path(_folder(environ, "XDG_STATE_HOME", ".local/state"))


def read_text(path: Path) -> str:
    """What a file says. A pipe in its place is not opened, for that waits until somebody writes.

    Raises
    ------
    OSError
        If it cannot be read.
    UnicodeDecodeError
        If it is not UTF-8.
    """
    if stat.S_ISFIFO(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is a pipe, not a file")
    return path.read_bytes().decode()


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
