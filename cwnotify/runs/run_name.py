"""What a run is called if the user gave it no name, and where in a notebook it is. Standard library only.

Nothing of IPython is imported: a program that has not loaded it runs in no notebook.
"""

from __future__ import annotations

import functools
import os
import sys
from typing import Any

# What `sys.argv[0]` ends with while an interactive shell runs the user's lines, not a script of theirs.
_SHELLS = ("ipykernel", "ipython", "jupyter", "colab_kernel", "__main__.py", "python")


def derive_name_from_function(function: Any) -> str:
    """Return what to call the runs of `function`: its name with its class; empty for a lambda."""
    while isinstance(function, functools.partial):
        function = function.func
    for owner in (function, type(function)):
        name = getattr(owner, "__qualname__", None) or getattr(owner, "__name__", None)
        if isinstance(name, str) and name:
            name = name.rpartition("<locals>.")[2]
            return "" if name == "<lambda>" else name
    return ""


def derive_name_from_program() -> str:
    """Return what to call this program: its script or module; in a notebook the notebook, or empty if unknown."""
    if _shell() is not None:
        return os.path.basename(get_notebook_path())  # noqa: PTH119 (no further import in the training process)
    first = _argument()
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    module = getattr(spec, "name", "")
    if isinstance(module, str) and module not in ("", "__main__") and getattr(spec, "origin", None) == first:
        return module.removesuffix(".__main__")
    if first in ("", "-", "-c"):
        return "python -c" if first == "-c" else "python"
    path = first.rstrip("/").removesuffix("/__main__.py")
    return os.path.basename(path) or "python"  # noqa: PTH119 (as above)


def get_notebook_path() -> str:
    """Return the path of the notebook whose kernel this is; empty if it is not known."""
    shell = _shell()
    # VS Code names the notebook in the namespace, Jupyter's server in the environment.
    path = shell.user_ns.get("__vsc_ipynb_file__") if shell is not None else ""
    path = path or (os.environ.get("JPY_SESSION_NAME") if shell is not None else "")
    return path if isinstance(path, str) else ""


def get_cell_number() -> int | None:
    """Return the N of the ``In [N]`` that runs now; None outside IPython."""
    history = getattr(_shell(), "history_manager", None)
    # It holds an empty line first, and the running cell last.
    return len(history.input_hist_raw) - 1 or None if history else None


def _shell() -> Any:
    """IPython's shell, if the user's lines run in it; a script under ``%run`` or ``ipython`` is a program."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython and hasattr(ipython, "get_ipython") else None
    name = os.path.basename(_argument())  # noqa: PTH119 (as above)
    return shell if shell is not None and (not name or name.startswith(_SHELLS)) else None


def _argument() -> str:
    """``sys.argv[0]``; a program may have emptied it, or an interpreter built into another program not set it."""
    arguments = getattr(sys, "argv", None)
    return arguments[0] if arguments and isinstance(arguments[0], str) else ""
