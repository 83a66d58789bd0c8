"""Derive a run's name if the user gave none, and its place in a notebook. Imports the standard library only.

IPython is not imported: a program that has not loaded it does not run in a notebook.
"""

from __future__ import annotations

import functools
import os
import sys
from typing import Any

# How the file name in `sys.argv[0]` starts in an interactive shell, as opposed to a script.
_SHELL_PREFIXES = ("ipykernel", "ipython", "jupyter", "colab_kernel", "__main__.py", "python")


def derive_name_from_function(function: Any) -> str:
    """Return the name of `function` with its class; empty for a lambda."""
    while isinstance(function, functools.partial):
        function = function.func
    for owner in (function, type(function)):
        name = getattr(owner, "__qualname__", None) or getattr(owner, "__name__", None)
        if isinstance(name, str) and name:
            name = name.rpartition("<locals>.")[2]
            return "" if name == "<lambda>" else name
    return ""


def derive_name_from_program() -> str:
    """Return the name of the script or module that runs; in a notebook its file name, or empty if unknown."""
    if _get_interactive_shell() is not None:
        return os.path.basename(get_notebook_path())  # noqa: PTH119 (no pathlib in the training process)
    script = _get_script_argument()
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    module = getattr(spec, "name", "")
    if isinstance(module, str) and module not in ("", "__main__") and getattr(spec, "origin", None) == script:
        return module.removesuffix(".__main__")
    if script in ("", "-", "-c"):
        return "python -c" if script == "-c" else "python"
    path = script.rstrip("/").removesuffix("/__main__.py")
    return os.path.basename(path) or "python"  # noqa: PTH119 (as above)


def get_notebook_path() -> str:
    """Return the path of this kernel's notebook; empty if it is unknown."""
    shell = _get_interactive_shell()
    # VS Code stores the path in the namespace, Jupyter Server in the environment.
    path = shell.user_ns.get("__vsc_ipynb_file__") if shell is not None else ""
    path = path or (os.environ.get("JPY_SESSION_NAME") if shell is not None else "")
    return path if isinstance(path, str) else ""


def get_cell_number() -> int | None:
    """Return the number N of the running cell, ``In [N]``; None outside IPython."""
    history = getattr(_get_interactive_shell(), "history_manager", None)
    # The first item is an empty line, the last one the running cell.
    return len(history.input_hist_raw) - 1 or None if history else None


def _get_interactive_shell() -> Any:
    """Return IPython's shell if it runs the user's lines; None for a script, even under ``ipython SCRIPT``."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython and hasattr(ipython, "get_ipython") else None
    name = os.path.basename(_get_script_argument())  # noqa: PTH119 (as above)
    return shell if shell is not None and (not name or name.startswith(_SHELL_PREFIXES)) else None


def _get_script_argument() -> str:
    """Return ``sys.argv[0]``; empty if the program cleared it, or an embedded interpreter never set it."""
    arguments = getattr(sys, "argv", None)
    return arguments[0] if arguments and isinstance(arguments[0], str) else ""
