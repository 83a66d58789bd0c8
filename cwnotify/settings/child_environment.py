"""The environment of the processes that we start: the sidecar, its look-ups, and the commands of ``%cwnotify``.

In a notebook it is the environment with which the kernel was started, and of what cells have set the names below alone.
A program or a command is the user's own: there it is the environment as it is. Standard library and `settings`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from cwnotify.settings import SETTING_SPECS, WEBHOOK_VARIABLES, has_webhook_outside_cells
from cwnotify.settings.paths import get_startup_environment, is_running_in_ipython

# How alerts look. No cell can lead them elsewhere by these.
ALERT_VARIABLES_FROM_CELLS = tuple(source.variable for source in SETTING_SPECS.values() if source.key != "channel")
# Who asks CloudWatch for a panel, and where. No endpoint, no file, nothing that names a program.
AWS_VARIABLES_FROM_CELLS = (
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"),
    *("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION"),
)
# While the user has chosen no webhook, a cell may choose one, and what it takes to reach it.
DELIVERY_VARIABLES_FROM_CELLS = (
    *WEBHOOK_VARIABLES,
    *("CWNOTIFY_CHANNEL", "CWNOTIFY_STATE_DIR", "CWNOTIFY_TEAM_CONFIG"),
    *("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "JUPYTER_CONFIG_DIR", "JUPYTER_CONFIG_PATH"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"),
)
# What the sidecar knows from its start, and never by a line of the kernel's.
_FIXED = (*WEBHOOK_VARIABLES, "CWNOTIFY_STATE_DIR")


def build_child_environment() -> dict[str, str]:
    """Return the environment for a process that is started now."""
    if not is_running_in_ipython():
        return dict(os.environ)
    environ = dict(get_startup_environment())
    is_free = not has_webhook_outside_cells()
    for name in {*environ, *os.environ}:
        if name in ALERT_VARIABLES_FROM_CELLS or (
            is_free and (name in DELIVERY_VARIABLES_FROM_CELLS or name.startswith("AWS_"))
        ):
            _take(name, os.environ, environ)
    return environ


def build_panel_environment() -> dict[str, str]:
    """Return all that CloudWatch's side of a panel may know of AWS; the cells say who asks, and where."""
    environ = build_child_environment()
    if is_running_in_ipython():
        for name in AWS_VARIABLES_FROM_CELLS:
            _take(name, os.environ, environ)
    return {name: value for name, value in environ.items() if name.startswith("AWS_")}


def build_delivery_environment() -> dict[str, str] | None:
    """Return what a sidecar that runs has to know of how to reach a new webhook; None in a program."""
    if not is_running_in_ipython():
        return None
    return {name: value for name, value in build_child_environment().items() if is_delivery_variable(name)}


def is_delivery_variable(name: str) -> bool:
    """Return whether a variable can be another one for a new webhook than it was at the sidecar's start."""
    return name.startswith("AWS_") or (name in DELIVERY_VARIABLES_FROM_CELLS and name not in _FIXED)


def apply_environment(environ: Mapping[str, str], owns: Callable[[str], bool]) -> bool:
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


def list_ignored_aws_variables() -> list[str]:
    """Return the variables of AWS that cells have changed and that commands do not take over."""
    environ = build_child_environment()
    names = {name for name in {*os.environ, *environ} if name.startswith("AWS_")}
    return sorted(name for name in names if os.environ.get(name) != environ.get(name))


def _take(name: str, source: Mapping[str, str], environ: dict[str, str]) -> None:
    environ.pop(name, None)
    if name in source:
        environ[name] = source[name]
