"""``cwnotify doctor``: show what works, what does not, and how to fix it."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict

import click

from cwnotify import __version__
from cwnotify.doctor.findings import Finding, FindingState, format_count

_MARKERS = {FindingState.GOOD: ("✓", "green"), FindingState.WRONG: ("✗", "red"), FindingState.NOTE: ("·", "yellow")}
_PART_WIDTH = 13  # characters


@click.command()
@click.option("--send", is_flag=True, help="Also send a test message to Slack")
@click.option("--json", "as_json", is_flag=True, help="Print JSON")
def doctor(send: bool, as_json: bool) -> None:
    """Check everything that cwnotify needs, and show how to fix each problem.

    Changes nothing. The output contains no secret, so you can paste it into an issue. The exit code is 1 if there is a
    problem.
    """
    from cwnotify.doctor import run_diagnostics

    findings = []
    for finding in run_diagnostics(send):
        findings.append(finding)
        if not as_json:
            _show_finding(finding)
    problem_count = sum(finding.state is FindingState.WRONG for finding in findings)
    if as_json:
        output = {"version": __version__, "wrong": problem_count, "findings": [asdict(finding) for finding in findings]}
        click.echo(json.dumps(output, indent=2, ensure_ascii=False))
    else:
        click.echo(f"\n{format_count(problem_count, 'thing')} to fix." if problem_count else "\nNothing is wrong.")
    sys.exit(bool(problem_count))


def _show_finding(finding: Finding) -> None:
    marker, color = _MARKERS[finding.state]
    # https://no-color.org: any value except an empty one disables colors.
    is_plain = bool(os.environ.get("NO_COLOR"))
    styled_marker = marker if is_plain else click.style(marker, fg=color)
    click.echo(f"{styled_marker} {finding.part:{_PART_WIDTH}}{finding.text}")
    if finding.todo:
        click.echo(f"  {'':{_PART_WIDTH}}→ {finding.todo}")
