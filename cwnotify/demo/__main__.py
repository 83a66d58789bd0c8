"""``make demo``: run the quickstart notebook and an alarm against local stand-ins for Slack and AWS.

``python -m cwnotify.demo NOTEBOOK REPORT`` exits with 0 only if every expected message arrived. With ``--lab`` it opens
JupyterLab and the page of Slack's stand-in instead.
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
    """Run the demo, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m cwnotify.demo", description=__doc__)
    parser.add_argument("notebook", type=Path)
    parser.add_argument("report", type=Path, nargs="?", default=Path("demo-report/index.html"))
    parser.add_argument("--lab", action="store_true", help="open JupyterLab instead")
    arguments = parser.parse_args()
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
        if arguments.lab:
            return run_lab(arguments.notebook, slack.page_url, aws)
        return _run_demo(arguments.notebook, arguments.report, slack, aws)


def _run_demo(notebook: Path, report: Path, slack: FakeSlack, aws: Ministack) -> int:
    print(f"Slack stand-in: {slack.page_url}")
    print(f"AWS stand-in:   {aws.url}\n")
    print(f"Running {notebook} in a real kernel. Its last cell kills the kernel on purpose.")
    execute_notebook(notebook)
    checks = [
        check_messages(name, f"{text} …", slack, partial(_starts_with, text=text))
        for name, text in EXPECTED_MESSAGES.items()
    ]
    _print_checks(checks)
    if all(check.has_passed for check in checks):
        alarm_checks = alarms.run_alarm_demo(PANEL_NOTEBOOK, aws, slack)
        extra = len(slack.messages) - sum(check.message_count for check in (*checks, *alarm_checks))
        alarm_checks.append(Check("no other messages", "0 more messages", f"{extra} more", extra == 0))
        print()
        _print_checks(alarm_checks)
        checks += alarm_checks
    else:
        print("\nSkipping the alarms, because the run alerts above failed.")
    report.parent.mkdir(parents=True, exist_ok=True)
    write_report(report, slack.messages, checks)
    print(f"\nReport with all messages: {report.resolve().as_uri()}")
    return 0 if all(check.has_passed for check in checks) else 1


def _starts_with(message: ReceivedMessage, text: str) -> bool:
    return get_message_text(message).startswith(text)


def _print_checks(checks: Sequence[Check]) -> None:
    width = max(len(check.name) for check in checks)
    for check in checks:
        print(f"  {'ok  ' if check.has_passed else 'FAIL'}  {check.name:{width}}  {check.actual}")


if __name__ == "__main__":
    sys.exit(main())
