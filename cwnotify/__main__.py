"""Run the command line: ``python -m cwnotify``, or by path.

A kernel runs it by path, because it may have found cwnotify in a folder that is not on a new Python's search path.
"""

from __future__ import annotations

import os
import sys

if not __package__:
    sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120 (before any import)

from cwnotify.cli import main

if __name__ == "__main__":
    main()
