"""``make demo``: the main job, seen working on this machine. Ends with 0 only if every expected alert arrived.

``python -m cwnotify.demo NOTEBOOK REPORT``; with ``--lab`` it leaves JupyterLab and the page open instead.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cwnotify.alerts.words import plain
from cwnotify.demo.lab import open_lab
from cwnotify.demo.notebook import EXPECTED, execute
from cwnotify.demo.report import Check, write_report
from cwnotify.demo.slack import Message, SlackStandIn

PATIENCE = 12.0


def main() -> int:
    """Run the demo; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m cwnotify.demo", description=__doc__)
    parser.add_argument("notebook", type=Path)
    parser.add_argument("report", type=Path, nargs="?", default=Path("demo-report/index.html"))
    parser.add_argument("--lab", action="store_true", help="leave JupyterLab and the page open")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cwnotify-demo-") as home, SlackStandIn() as slack:
        os.environ |= {"CWNOTIFY_WEBHOOK_URL": slack.webhook_url, "CWNOTIFY_STATE_DIR": f"{home}/state"}
        if asked.lab:
            return open_lab(asked.notebook, slack.page_url)
        return _demonstrate(asked.notebook, asked.report, slack)


def _demonstrate(notebook: Path, report: Path, slack: SlackStandIn) -> int:
    print(f"Slack stand-in: {slack.page_url}")
    print(f"Executing {notebook} in a real kernel; its last cell kills the kernel on purpose.")
    execute(notebook)
    checks = [_check(name, sentence, slack) for name, sentence in EXPECTED.items()]
    extra = len(slack.messages) - sum(check.ok for check in checks)
    checks.append(Check("nothing else", "0 more messages", f"{extra} more", extra == 0))
    _print(checks)
    report.parent.mkdir(parents=True, exist_ok=True)
    write_report(report, slack.messages, checks)
    print(f"\nThe messages as in Slack: {report.resolve().as_uri()}")
    return 0 if all(check.ok for check in checks) else 1


def _check(name: str, sentence: str, slack: SlackStandIn) -> Check:
    """Whether the alert that is to begin like `sentence` came, once."""

    def fits(message: Message) -> bool:
        return plain(message.payload["text"]).startswith(sentence)

    try:
        slack.wait_for(fits, PATIENCE)
    except TimeoutError:
        return Check(name, f"{sentence} …", "nothing", ok=False)
    found = [plain(message.payload["text"]) for message in slack.messages if fits(message)]
    return Check(name, f"{sentence} …", "; ".join(found), ok=len(found) == 1)


def _print(checks: Sequence[Check]) -> None:
    width = max(len(check.name) for check in checks)
    for check in checks:
        print(f"  {'ok ' if check.ok else 'NOT'}  {check.name:{width}}  {check.arrived}")


if __name__ == "__main__":
    sys.exit(main())
