"""The environment of child processes: the sidecar, its webhook lookups and the ``%cwnotify`` commands.

In a notebook it is the kernel's startup environment plus those variables below that cells have set. A program or a
command is trusted, so its children get the current environment. Imports the standard library and `settings`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from cwnotify.settings import SETTING_SPECS, WEBHOOK_VARIABLES, has_webhook_outside_cells
from cwnotify.settings.paths import get_startup_environment, is_running_in_ipython

# They change how alerts look, and cannot redirect them.
ALERT_VARIABLES_FROM_CELLS = tuple(spec.variable for spec in SETTING_SPECS.values() if spec.key != "channel")
# The credentials and the region of a panel's requests. No endpoint, file or program: those could run code.
AWS_VARIABLES_FROM_CELLS = (
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"),
    *("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION"),
)
# If the user configured no webhook, a cell may set one, and what is needed to reach it.
DELIVERY_VARIABLES_FROM_CELLS = (
    *WEBHOOK_VARIABLES,
    *("CWNOTIFY_CHANNEL", "CWNOTIFY_STATE_DIR", "CWNOTIFY_TEAM_CONFIG"),
    *("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "JUPYTER_CONFIG_DIR", "JUPYTER_CONFIG_PATH"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"),
)
# The sidecar gets these when it starts, never in a message from the kernel.
_STARTUP_ONLY_VARIABLES = (*WEBHOOK_VARIABLES, "CWNOTIFY_STATE_DIR")


def build_child_environment() -> dict[str, str]:
    """Return the environment of a new child process."""
    if not is_running_in_ipython():
        return dict(os.environ)
    environ = dict(get_startup_environment())
    may_set_webhook = not has_webhook_outside_cells()
    for name in {*environ, *os.environ}:
        if name in ALERT_VARIABLES_FROM_CELLS or (
            may_set_webhook and (name in DELIVERY_VARIABLES_FROM_CELLS or name.startswith("AWS_"))
        ):
            _copy_variable(name, os.environ, environ)
    return environ


def build_panel_environment() -> dict[str, str]:
    """Return the AWS variables for a panel's requests. Cells may set the credentials and the region."""
    environ = build_child_environment()
    if is_running_in_ipython():
        for name in AWS_VARIABLES_FROM_CELLS:
            _copy_variable(name, os.environ, environ)
    return {name: value for name, value in environ.items() if name.startswith("AWS_")}


def build_delivery_environment() -> dict[str, str] | None:
    """Return the variables that a running sidecar needs to reach a new webhook; None outside notebooks."""
    if not is_running_in_ipython():
        return None
    return {name: value for name, value in build_child_environment().items() if is_delivery_variable(name)}


def is_delivery_variable(name: str) -> bool:
    """Return whether a variable may change in a running sidecar when the webhook does."""
    return name.startswith("AWS_") or (name in DELIVERY_VARIABLES_FROM_CELLS and name not in _STARTUP_ONLY_VARIABLES)


def apply_environment(environ: Mapping[str, str], owns: Callable[[str], bool]) -> bool:
    """Set this process's variables for which `owns` is true as in `environ`, and return whether any changed.

    Unchanged variables are not written, because other threads may read the environment meanwhile.
    """
    names = {name for name in {*os.environ, *environ} if owns(name) and os.environ.get(name) != environ.get(name)}
    for name in names:
        if name in environ:
            os.environ[name] = environ[name]
        else:
            os.environ.pop(name, None)
    return bool(names)


def list_ignored_aws_variables() -> list[str]:
    """Return the AWS variables that cells changed and that commands do not see."""
    environ = build_child_environment()
    names = {name for name in {*os.environ, *environ} if name.startswith("AWS_")}
    return sorted(name for name in names if os.environ.get(name) != environ.get(name))


def _copy_variable(name: str, source: Mapping[str, str], target: dict[str, str]) -> None:
    """Set or unset the variable in `target` as it is in `source`."""
    target.pop(name, None)
    if name in source:
        target[name] = source[name]
