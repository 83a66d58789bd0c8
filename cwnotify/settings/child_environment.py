"""The environment of the processes that we start: the sidecar, its look-ups, and the commands of ``%cwnotify``.

In a notebook it is the environment with which the kernel was started, and of what cells have set the names below alone.
A program or a command is the user's own: there it is the environment as it is. Standard library and `settings`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from cwnotify.settings import SOURCES, WEBHOOK_VARIABLES, chose_before_cells
from cwnotify.settings.paths import runs_cells, started

# How alerts look. No cell can lead them elsewhere by these.
FROM_CELLS = tuple(source.variable for source in SOURCES.values() if source.key != "channel")
# Who asks CloudWatch for a panel, and where. No endpoint, no file, nothing that names a program.
AWS_FROM_CELLS = (
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"),
    *("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION"),
)
# While the user has chosen no webhook, a cell may choose one, and what it takes to reach it.
FROM_CELLS_BEFORE_A_CHOICE = (
    *WEBHOOK_VARIABLES,
    *("CWNOTIFY_CHANNEL", "CWNOTIFY_STATE_DIR", "CWNOTIFY_TEAM_CONFIG"),
    *("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "JUPYTER_CONFIG_DIR", "JUPYTER_CONFIG_PATH"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"),
)
# What the sidecar knows from its start, and never by a line of the kernel's.
_FIXED = (*WEBHOOK_VARIABLES, "CWNOTIFY_STATE_DIR")


def inherited() -> dict[str, str]:
    """Return the environment for a process that is started now."""
    if not runs_cells():
        return dict(os.environ)
    environ = dict(started())
    is_free = not chose_before_cells()
    for name in {*environ, *os.environ}:
        if name in FROM_CELLS or (is_free and (name in FROM_CELLS_BEFORE_A_CHOICE or name.startswith("AWS_"))):
            _take(name, os.environ, environ)
    return environ


def for_panel() -> dict[str, str]:
    """Return all that CloudWatch's side of a panel may know of AWS; the cells say who asks, and where."""
    environ = inherited()
    if runs_cells():
        for name in AWS_FROM_CELLS:
            _take(name, os.environ, environ)
    return {name: value for name, value in environ.items() if name.startswith("AWS_")}


def for_delivery() -> dict[str, str] | None:
    """Return what a sidecar that runs has to know of how to reach a new webhook; None in a program."""
    if not runs_cells():
        return None
    return {name: value for name, value in inherited().items() if may_change(name)}


def may_change(name: str) -> bool:
    """Return whether a variable can be another one for a new webhook than it was at the sidecar's start."""
    return name.startswith("AWS_") or (name in FROM_CELLS_BEFORE_A_CHOICE and name not in _FIXED)


def adopt(environ: Mapping[str, str], owns: Callable[[str], bool]) -> bool:
    """Let this process have `environ`, of the variables that `owns` is true for; return whether that changed any.

    Other threads may read the environment meanwhile, so what stays the same is not touched.
    """
    names = {name for name in {*os.environ, *environ} if owns(name) and os.environ.get(name) != environ.get(name)}
    for name in names:
        if name in environ:
            os.environ[name] = environ[name]
        else:
            os.environ.pop(name, None)
    return bool(names)


def changed_aws() -> list[str]:
    """Return the variables of AWS that cells have changed and that commands do not take over."""
    environ = inherited()
    names = {name for name in {*os.environ, *environ} if name.startswith("AWS_")}
    return sorted(name for name in names if os.environ.get(name) != environ.get(name))


def _take(name: str, source: Mapping[str, str], environ: dict[str, str]) -> None:
    environ.pop(name, None)
    if name in source:
        environ[name] = source[name]
