"""``cwnotify deploy``, ``stack``, ``teardown``, ``policy``, ``bundle``, ``replay`` and ``redrive``."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cwnotify import settings
from cwnotify.alerts.events.run_options import LANGUAGES
from cwnotify.errors import AwsError, CwnotifyError

if TYPE_CHECKING:
    from cwnotify.deploy.cloudformation import StackEvent
    from cwnotify.deploy.spec import Plan, PlannedChange

POLICY_NAMES = ("deployer", "notebook", "function", "boundary")
_name = click.option("--name", default="cwnotify", show_default=True, help="The stack's name.")


class _OfN(click.ParamType[tuple[int, int]]):
    name = "M/N"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> tuple[int, int]:
        m, _, n = str(value).partition("/")
        if not (m.isdigit() and n.isdigit()):
            self.fail(f"{value!r} is not M/N, such as 2/3", param, context)
        return int(m), int(n)


class _Tag(click.ParamType[tuple[str, str]]):
    name = "KEY=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> tuple[str, str]:
        key, mark, text = str(value).partition("=")
        if not key or not mark:
            self.fail(f"{value!r} is not KEY=VALUE", param, context)
        return key, text


@click.command()
@click.option("--instance", "instances", multiple=True, metavar="ID", help="Watch this instance (default: this one).")
@click.option("--tag", "tags", multiple=True, type=_Tag(), help="Watch every instance that bears this tag.")
@click.option("--threshold", type=float, metavar="PERCENT", help="Busy above this much CPU (50).")
@click.option("--idle", type=float, metavar="PERCENT", help="Training ended below this much CPU (10).")
@click.option("--period", type=int, metavar="SECONDS", help="What one datapoint stands for (300).")
@click.option("--datapoints", type=_OfN(), help="How many of the last N datapoints it takes (2/3).")
@click.option("--alarm", "alarms", multiple=True, metavar="NAME", help="Route an alarm that exists to Slack too.")
@click.option("--allow-account", "accounts", multiple=True, metavar="ID", help="Let its alarms use the topic.")
@click.option("--drop", "dropped", multiple=True, metavar="ID|NAME", help="Remove an instance, alarm or account.")
@click.option("--fleet/--no-fleet", default=None, help="Follow alarms by --prefix, in digests.")
@click.option("--prefix", metavar="TEXT", help="How their names begin (stack's name, a hyphen).")
@click.option("--bucket", metavar="NAME", help="Your own bucket for the function's code.")
@click.option("--boundary", metavar="ARN", help="The role's limit, or none (NAME-boundary).")
@click.option("--kms-key", metavar="KEY", help="Encrypt the topic; KEY's policy must allow CloudWatch.")
@click.option("--lang", type=click.Choice(LANGUAGES), help="The messages' language.")
@click.option("--timezone", "zone", metavar="ZONE", help="In which times are shown, such as Asia/Seoul.")
@click.option("--channel", metavar="NAME", help="Only legacy webhooks support this.", hidden=True)
@click.option("--plan", "only_plan", is_flag=True, help="Say what would change, and change nothing.")
@_name
def deploy(tags: tuple[tuple[str, str], ...], only_plan: bool, **asked: Any) -> None:
    """Send CloudWatch alarms to Slack. Options left out stay as they are."""
    from cwnotify.aws.session import AwsSession
    from cwnotify.deploy import stack

    aws = AwsSession()
    asked["boundary"] = "" if asked["boundary"] == "none" else asked["boundary"]
    wish = stack.build_stack_spec(aws, settings.load_settings_or_raise(), tags, asked)
    steps = stack.prepare_deploy_plan(aws, wish)
    if all(step.is_note for step in steps):
        _show_plan(steps)
        click.echo(f"Nothing to do: stack {wish.name} in {aws.region} is as you ask.")
        return
    if only_plan:
        click.echo(f"Stack {wish.name} in {aws.region}, account {aws.account_id}, would change so:\n")
        _show_plan(steps)
        click.echo("\nNothing was changed. To do it, leave out --plan.")
        return
    click.echo(f"Stack {wish.name} in {aws.region}, account {aws.account_id}:\n")
    began = time.monotonic()
    _apply(aws, steps, "What is done so far stays. Mend the cause and deploy again, or take it back: cwnotify teardown")
    click.echo(f"\nDone in {time.monotonic() - began:.0f} s. To see it work: cwnotify test --lambda")


@click.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--plan", "only_plan", is_flag=True, help="Say what would be removed, and remove nothing.")
@_name
def teardown(name: str, yes: bool, only_plan: bool) -> None:
    """Remove all that deploy has made, and nothing else. Alarms that were there before stay."""
    from cwnotify.aws.session import AwsSession
    from cwnotify.deploy import stack

    aws = AwsSession()
    steps = stack.prepare_teardown_plan(aws, name)
    if all(step.is_note for step in steps):
        _show_plan(steps)
        click.echo(f"Nothing to do: there is no stack {name} in {aws.region}, and nothing is left of one.")
        return
    click.echo(f"Stack {name} in {aws.region}, account {aws.account_id}:\n")
    if not (only_plan or yes or sys.stdin.isatty()):
        raise CwnotifyError("nobody can be asked here whether to remove it", hint="look with --plan, then say --yes")
    if only_plan or not yes:
        _show_plan(steps)
        if only_plan:
            click.echo("\nNothing was removed. To do it, leave out --plan.")
            return
        click.confirm("\nRemove all this?", abort=True)
    _apply(aws, steps, "What is left can be removed later: cwnotify teardown")
    click.echo("\nNothing is left.")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@_name
def stack(name: str, as_json: bool) -> None:
    """Show what is deployed: its alarms, their states, and how much could not be delivered."""
    from dataclasses import asdict

    from cwnotify.aws.session import AwsSession
    from cwnotify.deploy.stack import read_stack_summary

    shown = read_stack_summary(AwsSession(), name)
    if as_json:
        click.echo(json.dumps(asdict(shown), indent=2, ensure_ascii=False))
        return
    click.echo(f"Stack {name} in {shown.place.region}, account {shown.place.account}: {shown.status}")
    click.echo(f"  webhook      {shown.webhook}")
    click.echo(f"  language     {shown.lang}")
    click.echo(f"  topic        {shown.place.topic_arn}")
    if shown.fleet:
        click.echo(f"  fleet        every alarm named {shown.fleet}…")
    if shown.kms_key:
        click.echo(f"  key          {shown.kms_key}")
    for account in shown.accounts:
        click.echo(f"  account      {account}")
    hint = "; send them again: cwnotify redrive" if shown.undelivered else ""
    click.echo(f"  undelivered  {shown.undelivered}{hint}")
    width = max(len(alarm) for alarm, _ in (*shown.alarms, *shown.attached, *shown.on_topic))
    for alarm, state in shown.alarms:
        click.echo(f"  alarm        {alarm:{width}}  {state}")
    for alarm, state in shown.attached:
        click.echo(f"  attached     {alarm:{width}}  {state}")
    for alarm, state in shown.on_topic:
        click.echo(f"  on topic     {alarm:{width}}  {state}")


@click.command()
@click.argument("who", type=click.Choice(POLICY_NAMES), required=False)
@click.option("--account", default="*", metavar="ID", help="Your account's twelve digits (any).")
@click.option("--region", default="*", help="The region (any).")
@click.option("--prefix", metavar="TEXT", help="As deploy's (stack's name, a hyphen).")
@click.option("--boundary", "limit", metavar="ARN", help="As deploy's (NAME-boundary).")
@click.option("--webhook", default="", metavar="REFERENCE", help="Your own ssm:/name or secretsmanager:name.")
@_name
def policy(
    who: str | None, name: str, account: str, region: str, prefix: str | None, limit: str | None, webhook: str
) -> None:
    """Print the smallest IAM policy for WHO: deployer, notebook's instance, function, its boundary; or all of them.

    An administrator creates the boundary once; only then can the deployer deploy:

    \b
    cwnotify policy boundary > boundary.json
    aws iam create-policy --policy-name cwnotify-boundary \\
      --policy-document file://boundary.json
    """
    from cwnotify.alerts.regions import partition_of_region
    from cwnotify.deploy.iam_policies import (
        build_boundary_policy,
        build_deployer_policy,
        build_function_policy,
        build_notebook_policy,
    )
    from cwnotify.deploy.spec import StackLocation

    if webhook and not webhook.startswith(("ssm:/", "secretsmanager:")):
        raise click.BadParameter("it is neither ssm:/name nor secretsmanager:name", param_hint="--webhook")
    place = StackLocation(name, account, region, partition_of_region(region))
    policies = {
        "deployer": build_deployer_policy(place, prefix, limit),
        "notebook": build_notebook_policy(place),
        "function": build_function_policy(place, webhook),
        "boundary": build_boundary_policy(place, webhook),
    }
    click.echo(json.dumps(policies[who] if who else policies, indent=2))


@click.command()
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), default=Path("cwnotify.zip"), show_default=True
)
def bundle(output: Path) -> None:
    """Write the function's code as a zip, for a function that you manage yourself.

    It stands in for AWS's blueprint cloudwatch-alarm-to-slack-python: same handler, same environment.
    """
    from cwnotify.deploy.bundle import RUNTIMES, make_zip

    content = make_zip()
    try:
        output.write_bytes(content)
    except OSError as error:
        raise CwnotifyError(f"{output} cannot be written: {error.strerror}") from None
    click.echo(f"Written to {output}, {len(content) / 1000:.0f} kB. Handler: lambda_function.lambda_handler")
    click.echo(f"Runtime: {RUNTIMES[0]} to {RUNTIMES[-1]}, any of them")


@click.command()
@click.argument("alarm")
@click.option("--last", type=click.IntRange(1, 100), default=1, show_default=True, help="How many changes.")
@click.option("--send", is_flag=True, help="Send them to Slack too.")
@click.option("--lang", type=click.Choice(LANGUAGES), help="The messages' language.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Draw them on an HTML page.")
def replay(alarm: str, last: int, send: bool, lang: str | None, output: Path | None) -> None:
    """Show what ALARM really published, as Slack would show it; send it again with --send."""
    from cwnotify.alerts.locale import to_plain_text
    from cwnotify.alerts.messages.render import render_alert
    from cwnotify.aws.session import AwsSession
    from cwnotify.deploy.replay import fetch_published_events as replayed

    found = settings.load_settings_or_raise()
    events = replayed(AwsSession(), alarm, last)
    now = time.time()
    payloads = [render_alert(event, lang or found.lang, found.zone, found.channel, now) for event in events]
    for payload in payloads:
        click.echo(to_plain_text(str(payload["text"])))
    if output:
        from cwnotify.preview import render_page_html

        output.write_text(render_page_html([(payload, None) for payload in payloads], title=alarm), encoding="utf-8")
        click.echo(f"Drawn on {output}")
    if send:
        from cwnotify.deploy.replay import send_payloads as post

        post(payloads, found.webhook)
        click.echo("Slack said ok.")


@click.command()
@_name
def redrive(name: str) -> None:
    """Send again what could not be delivered and lies in the dead-letter queue."""
    from cwnotify.aws.session import AwsSession
    from cwnotify.deploy import redrive as dead_letters
    from cwnotify.deploy.stack import get_deployed_stack

    aws = AwsSession()
    outputs = get_deployed_stack(aws, name).outputs

    def tell(one: dead_letters.RedriveResult) -> None:
        click.echo(f"  {one.id}  {one.error or 'delivered'}")

    done = dead_letters.redrive_messages(aws, outputs["Function"], outputs["DeadLetters"], tell)
    failed = sum(bool(one.error) for one in done)
    left = dead_letters.count_undelivered(aws, outputs["DeadLetters"])
    if failed:
        raise AwsError(f"{len(done) - failed} delivered, {failed} not", hint=f"about {left} left in the queue")
    click.echo(f"{len(done)} delivered, and nothing is left in the queue." if done else "Nothing is undelivered.")


def _apply(aws: Any, steps: Plan, after_failure: str) -> None:
    from cwnotify.deploy.stack import apply_plan

    width = _width(steps)
    try:
        apply_plan(aws, steps, lambda change: click.echo(_line(change, width)), _tell)
    except CwnotifyError as error:
        raise AwsError(f"{error}\n{after_failure}") from None


def _tell(progress: StackEvent) -> None:
    if progress.status.endswith(("_COMPLETE", "_FAILED")):
        reason = f": {progress.reason}" if progress.status.endswith("_FAILED") else ""
        click.echo(f"      {time.strftime('%H:%M:%S')}  {progress.resource}  {progress.status.lower()}{reason}")


def _show_plan(steps: Plan) -> None:
    width = _width(steps)
    for step in steps:
        for change in step.changes:
            click.echo(_line(change, width))


def _width(steps: Plan) -> int:
    return max((len(change.name) for step in steps for change in step.changes), default=0)


def _line(change: PlannedChange, width: int) -> str:
    return f"  {change.sign} {change.kind:10}{change.name:{width}}  {change.detail}".rstrip()
