"""``cwnotify doctor``: what is well, what is wrong, and what to do."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict

import click

from cwnotify import __version__
from cwnotify.doctor.findings import Finding, FindingState, format_count

_SIGNS = {FindingState.GOOD: ("✓", "green"), FindingState.WRONG: ("✗", "red"), FindingState.NOTE: ("·", "yellow")}
_WIDTH = 13


@click.command()
@click.option("--send", is_flag=True, help="Post a greeting to Slack too.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def doctor(send: bool, as_json: bool) -> None:
    """Look at everything that cwnotify needs: a line each, and for what is wrong the one thing to do.

    Nothing is changed, and what is printed holds no secret, so it can be pasted into an issue. The exit code is 1 if
    something is wrong.
    """
    from cwnotify.doctor import run_diagnostics

    findings = []
    for finding in run_diagnostics(send):
        findings.append(finding)
        if not as_json:
            _show(finding)
    bad = sum(finding.state is FindingState.WRONG for finding in findings)
    if as_json:
        told = {"version": __version__, "wrong": bad, "findings": [asdict(finding) for finding in findings]}
        click.echo(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        click.echo(f"\n{format_count(bad, 'thing')} to mend." if bad else "\nNothing is wrong.")
    sys.exit(bool(bad))


def _show(finding: Finding) -> None:
    sign, colour = _SIGNS[finding.state]
    # https://no-color.org: any value but an empty one.
    plain = bool(os.environ.get("NO_COLOR"))
    click.echo(f"{sign if plain else click.style(sign, fg=colour)} {finding.part:{_WIDTH}}{finding.text}")
    if finding.todo:
        click.echo(f"  {'':{_WIDTH}}→ {finding.todo}")
