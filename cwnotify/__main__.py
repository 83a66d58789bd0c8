"""``python -m cwnotify``, and by path from a kernel that found cwnotify where a new Python would not look."""

from __future__ import annotations

import os
import sys

if not __package__:
    sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120 (before any import)

from cwnotify.cli import main

if __name__ == "__main__":
    main()
