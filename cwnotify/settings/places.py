"""Where settings, the webhook and the outbox lie on this machine. Standard library only."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Mapping
from pathlib import Path

TEAM_CONFIG = "/etc/cwnotify/config.toml"
_started: dict[str, str] | None = None


def started() -> Mapping[str, str]:
    """The environment with which this process was started, whatever its cells have made of it since."""
    global _started
    if _started is None:
        try:
            pairs = [pair.partition(b"=") for pair in Path("/proc/self/environ").read_bytes().split(b"\0")]
            _started = {os.fsdecode(name): os.fsdecode(value) for name, mark, value in pairs if mark}
        except OSError:
            # Not Linux: as it is when somebody asks for the first time.
            _started = dict(os.environ)
    return _started


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
    folders = (*more, own, f"{sys.prefix}/etc/jupyter", "/usr/local/etc/jupyter", "/etc/jupyter")
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
    return environ.get("HOME") or os.path.expanduser("~")  # noqa: PTH111 (in the kernel: no cost)
