"""``make demo``: the main job, seen working on this machine. Ends with 0 only if every expected alert arrived.

``python -m cwnotify.demo NOTEBOOK REPORT``; with ``--lab`` it leaves JupyterLab and the page open instead.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from cwnotify.demo import alarms
from cwnotify.demo.aws import Ministack, remove_account_variables
from cwnotify.demo.checks import Check, check_messages, get_message_text
from cwnotify.demo.lab import run_lab
from cwnotify.demo.notebook import EXPECTED_MESSAGES, execute_notebook
from cwnotify.demo.report import write_report
from cwnotify.demo.slack import FakeSlack, ReceivedMessage

PANEL_NOTEBOOK = Path("notebooks/panel.ipynb")


def main() -> int:
    """Run the demo; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m cwnotify.demo", description=__doc__)
    parser.add_argument("notebook", type=Path)
    parser.add_argument("report", type=Path, nargs="?", default=Path("demo-report/index.html"))
    parser.add_argument("--lab", action="store_true", help="leave JupyterLab and the page open")
    asked = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    with (
        tempfile.TemporaryDirectory(prefix="cwnotify-demo-") as home,
        FakeSlack() as slack,
        Ministack(Path(home)) as aws,
    ):
        environ = remove_account_variables(os.environ) | aws.environ()
        environ |= {"CWNOTIFY_WEBHOOK_URL": slack.webhook_url, "CWNOTIFY_STATE_DIR": f"{home}/state"}
        environ["XDG_CONFIG_HOME"] = f"{home}/config"
        os.environ.clear()
        os.environ.update(environ)
        if asked.lab:
            return run_lab(asked.notebook, slack.page_url, aws)
        return _demonstrate(asked.notebook, asked.report, slack, aws)


def _demonstrate(notebook: Path, report: Path, slack: FakeSlack, aws: Ministack) -> int:
    print(f"Slack stand-in: {slack.page_url}")
    print(f"AWS stand-in:   {aws.url}\n")
    print(f"Executing {notebook} in a real kernel; its last cell kills the kernel on purpose.")
    execute_notebook(notebook)
    checks = [
        check_messages(name, f"{words} …", slack, partial(_begins, words=words))
        for name, words in EXPECTED_MESSAGES.items()
    ]
    _print(checks)
    if all(check.has_passed for check in checks):
        told = alarms.run_alarm_demo(PANEL_NOTEBOOK, aws, slack)
        extra = len(slack.messages) - sum(check.message_count for check in (*checks, *told))
        told.append(Check("nothing else", "0 more messages", f"{extra} more", extra == 0))
        print()
        _print(told)
        checks += told
    else:
        print("\nThe alarms are left out: what is amiss with the alerts comes first.")
    report.parent.mkdir(parents=True, exist_ok=True)
    write_report(report, slack.messages, checks)
    print(f"\nThe messages as in Slack: {report.resolve().as_uri()}")
    return 0 if all(check.has_passed for check in checks) else 1


def _begins(message: ReceivedMessage, words: str) -> bool:
    return get_message_text(message).startswith(words)


def _print(checks: Sequence[Check]) -> None:
    width = max(len(check.name) for check in checks)
    for check in checks:
        print(f"  {'ok ' if check.has_passed else 'NOT'}  {check.name:{width}}  {check.actual}")


if __name__ == "__main__":
    sys.exit(main())
