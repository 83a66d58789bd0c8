"""Look up one webhook that AWS stores, and print it as JSON; run by `cwnotify.slack.destination`, as

``python -P .../sidecar/look_up.py REFERENCE`` in the environment that the webhook was chosen in.
"""

from __future__ import annotations

import json
import os
import sys

if not __package__:
    # As in `cwnotify.sidecar.__main__`, where the reasons are.
    _own = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path.sort(key=_own.__contains__)
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))  # noqa: PTH100, PTH120 (before any import)


def main(reference: str) -> None:
    """Print ``{"webhook": URL}``, else ``{"error": WHY}``."""
    from cwnotify.errors import CwnotifyError
    from cwnotify.slack.destination import look_up_webhook

    try:
        answer = {"webhook": look_up_webhook(reference).reveal()}
    except CwnotifyError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1])
