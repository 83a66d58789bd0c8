"""Write the reference of the public API as HTML into ``build/docs``: ``make docs``. A warning is an error."""

from __future__ import annotations

import warnings
from pathlib import Path

import pdoc
import pdoc.render

import cwnotify


def main() -> None:
    """Write the HTML files."""
    warnings.simplefilter("error")
    for name in cwnotify.__all__:
        # pdoc reads the module's own names, so import what is imported lazily.
        setattr(cwnotify, name, getattr(cwnotify, name))
    pdoc.render.configure(docformat="numpy")
    pdoc.pdoc("cwnotify", "!cwnotify.", "cwnotify.callbacks", output_directory=Path("build/docs"))


if __name__ == "__main__":
    main()
