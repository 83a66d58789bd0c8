"""Look up one webhook that AWS stores, and print it as JSON.

`cwnotify.slack.destination` runs ``python -P .../slack/look_up.py REFERENCE``, with the environment of the setting.
"""

from __future__ import annotations

import json
import os
import sys

if not __package__:
    # `cwnotify.sidecar.__main__` does the same and gives the reasons.
    _user_paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path.sort(key=_user_paths.__contains__)
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))  # noqa: PTH100, PTH120 (before any import)


def main(reference: str) -> None:
    """Print ``{"webhook": URL}``, or ``{"error": REASON}``."""
    from cwnotify.errors import CwnotifyError
    from cwnotify.slack.destination import look_up_webhook

    try:
        answer = {"webhook": look_up_webhook(reference).reveal()}
    except CwnotifyError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1])
