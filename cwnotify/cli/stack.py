"""The commands for AWS: ``deploy``, ``teardown``, ``stack``, ``policy``, ``bundle``, ``replay`` and ``redrive``."""

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
_name_option = click.option("--name", default="cwnotify", help="Use this stack name. Default: cwnotify")


class _DatapointsParam(click.ParamType[tuple[int, int]]):
    name = "M/N"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> tuple[int, int]:
        m, _, n = str(value).partition("/")
        if not (m.isdigit() and n.isdigit()):
            self.fail(f"{value!r} is not M/N, such as 2/3", param, context)
        return int(m), int(n)


class _TagParam(click.ParamType[tuple[str, str]]):
    name = "KEY=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> tuple[str, str]:
        key, separator, text = str(value).partition("=")
        if not key or not separator:
            self.fail(f"{value!r} is not KEY=VALUE", param, context)
        return key, text


@click.command()
@click.option("--instance", "instances", multiple=True, metavar="ID", help="Watch this instance. Default: this one")
@click.option("--tag", "tags", multiple=True, type=_TagParam(), help="Watch all instances that have this tag")
@click.option("--threshold", type=float, metavar="PERCENT", help="Fire the busy alarm above this CPU. Default: 50")
@click.option("--idle", type=float, metavar="PERCENT", help="Fire the off alarm below this CPU. Default: 10")
@click.option("--period", type=int, metavar="SECONDS", help="Set the period of a datapoint. Default: 300")
@click.option("--datapoints", type=_DatapointsParam(), help="Fire if M of the last N points breach. Default: 2/3")
@click.option("--alarm", "alarms", multiple=True, metavar="NAME", help="Also send this existing alarm to Slack")
@click.option(
    "--allow-account", "accounts", multiple=True, metavar="ID", help="Let this account's alarms publish to the topic"
)
@click.option("--drop", "dropped", multiple=True, metavar="ID|NAME", help="Remove an instance, alarm or account")
@click.option("--fleet/--no-fleet", default=None, help="Send all alarms with the prefix, many as digests")
@click.option("--prefix", metavar="TEXT", help="Set the prefix of alarm names. Default: NAME-")
@click.option("--bucket", metavar="NAME", help="Use your own bucket for the function's code")
@click.option("--boundary", metavar="ARN", help="Limit the role (ARN or none). Default: NAME-boundary")
@click.option("--kms-key", metavar="KEY", help="Encrypt the topic; KEY's policy must allow CloudWatch")
@click.option("--lang", type=click.Choice(LANGUAGES), help="Write messages in this language")
@click.option("--timezone", "zone", metavar="ZONE", help="Show times in this zone, such as Asia/Seoul")
@click.option("--channel", metavar="NAME", help="Use another channel; only legacy webhooks support this", hidden=True)
@click.option("--plan", "plan_only", is_flag=True, help="Show what would change, and change nothing")
@_name_option
def deploy(tags: tuple[tuple[str, str], ...], plan_only: bool, **options: Any) -> None:
    """Send CloudWatch alarms to Slack. Omitted options keep their deployed values."""
    from cwnotify.aws.session import AwsSession
    from cwnotify.deploy import stack

    aws = AwsSession()
    options["boundary"] = "" if options["boundary"] == "none" else options["boundary"]
    spec = stack.build_stack_spec(aws, settings.load_settings_or_raise(), tags, options)
    steps = stack.prepare_deploy_plan(aws, spec)
    if all(step.is_note for step in steps):
        _show_plan(steps)
        click.echo(f"Nothing to do: stack {spec.name} in {aws.region} is up to date.")
        return
    if plan_only:
        click.echo(f"Planned changes to stack {spec.name} in {aws.region}, account {aws.account_id}:\n")
        _show_plan(steps)
        click.echo("\nNothing was changed. To apply the plan, leave out --plan.")
        return
    click.echo(f"Stack {spec.name} in {aws.region}, account {aws.account_id}:\n")
    started_at = time.monotonic()
    _apply_plan(aws, steps, "Completed steps remain. Fix the cause and deploy again, or undo them: cwnotify teardown")
    click.echo(f"\nDone in {time.monotonic() - started_at:.0f} s. To test it: cwnotify test --lambda")


@click.command()
@click.option("--yes", is_flag=True, help="Do not ask for confirmation")
@click.option("--plan", "plan_only", is_flag=True, help="Show what would be removed, and remove nothing")
@_name_option
def teardown(name: str, yes: bool, plan_only: bool) -> None:
    """Remove everything that deploy created, and nothing else. Alarms that existed before are kept."""
    from cwnotify.aws.session import AwsSession
    from cwnotify.deploy import stack

    aws = AwsSession()
    steps = stack.prepare_teardown_plan(aws, name)
    if all(step.is_note for step in steps):
        _show_plan(steps)
        click.echo(f"Nothing to do: stack {name} in {aws.region} does not exist, and nothing is left of it.")
        return
    click.echo(f"Stack {name} in {aws.region}, account {aws.account_id}:\n")
    if not (plan_only or yes or sys.stdin.isatty()):
        raise CwnotifyError(
            "cannot ask for confirmation without a terminal", hint="review with --plan, then pass --yes"
        )
    if plan_only or not yes:
        _show_plan(steps)
        if plan_only:
            click.echo("\nNothing was removed. To apply the plan, leave out --plan.")
            return
        click.confirm("\nRemove all of this?", abort=True)
    _apply_plan(aws, steps, "To remove the rest later: cwnotify teardown")
    click.echo("\nNothing is left.")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON")
@_name_option
def stack(name: str, as_json: bool) -> None:
    """Show the deployed stack: its alarms, their states and the number of undelivered messages."""
    from dataclasses import asdict

    from cwnotify.aws.session import AwsSession
    from cwnotify.deploy.stack import read_stack_summary

    summary = read_stack_summary(AwsSession(), name)
    if as_json:
        click.echo(json.dumps(asdict(summary), indent=2, ensure_ascii=False))
        return
    click.echo(f"Stack {name} in {summary.place.region}, account {summary.place.account}: {summary.status}")
    click.echo(f"  webhook      {summary.webhook}")
    click.echo(f"  language     {summary.lang}")
    click.echo(f"  topic        {summary.place.topic_arn}")
    if summary.fleet:
        click.echo(f"  fleet        every alarm named {summary.fleet}…")
    if summary.kms_key:
        click.echo(f"  key          {summary.kms_key}")
    for account in summary.accounts:
        click.echo(f"  account      {account}")
    hint = "; send them again: cwnotify redrive" if summary.undelivered else ""
    click.echo(f"  undelivered  {summary.undelivered}{hint}")
    groups = {"alarm": summary.alarms, "attached": summary.attached, "on topic": summary.on_topic}
    width = max((len(alarm) for alarms in groups.values() for alarm, _ in alarms), default=0)
    for label, alarms in groups.items():
        for alarm, state in alarms:
            click.echo(f"  {label:13}{alarm:{width}}  {state}")


@click.command()
@click.argument("role", type=click.Choice(POLICY_NAMES), required=False, metavar="[ROLE]")
@click.option("--account", default="*", metavar="ID", help="Limit the policy to this account (12 digits). Default: any")
@click.option("--region", default="*", help="Limit the policy to this region. Default: any")
@click.option("--prefix", metavar="TEXT", help="Use the same --prefix as for deploy. Default: NAME-")
@click.option("--boundary", metavar="ARN", help="Use the same --boundary as for deploy. Default: NAME-boundary")
@click.option(
    "--webhook", default="", metavar="REFERENCE", help="Allow reading your own ssm:/name or secretsmanager:name"
)
@_name_option
def policy(
    role: str | None, name: str, account: str, region: str, prefix: str | None, boundary: str | None, webhook: str
) -> None:
    """Print the least-privilege IAM policy for ROLE: deployer, notebook, function or boundary. Default: all.

    An administrator creates the boundary once, before the first deploy:

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
        raise click.BadParameter("must be ssm:/name or secretsmanager:name", param_hint="--webhook")
    location = StackLocation(name, account, region, partition_of_region(region))
    policies = {
        "deployer": build_deployer_policy(location, prefix, boundary),
        "notebook": build_notebook_policy(location),
        "function": build_function_policy(location, webhook),
        "boundary": build_boundary_policy(location, webhook),
    }
    click.echo(json.dumps(policies[role] if role else policies, indent=2))


@click.command()
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("cwnotify.zip"),
    help="Write to this file. Default: cwnotify.zip",
)
def bundle(output: Path) -> None:
    """Write the Lambda function's code to a zip file, for a function that you manage yourself.

    It replaces AWS's blueprint cloudwatch-alarm-to-slack-python: same handler, same environment variables.
    """
    from cwnotify.deploy.bundle import RUNTIMES, make_zip

    content = make_zip()
    try:
        output.write_bytes(content)
    except OSError as error:
        raise CwnotifyError(f"{output} cannot be written: {error.strerror}") from None
    click.echo(f"Written to {output}, {len(content) / 1000:.0f} kB. Handler: lambda_function.lambda_handler")
    click.echo(f"Runtimes: {RUNTIMES[0]} to {RUNTIMES[-1]}")


@click.command()
@click.argument("alarm")
@click.option("--last", type=click.IntRange(1, 100), default=1, help="Show the last N changes. Default: 1")
@click.option("--send", is_flag=True, help="Also send the messages to Slack")
@click.option("--lang", type=click.Choice(LANGUAGES), help="Write messages in this language")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Render the messages to an HTML page"
)
def replay(alarm: str, last: int, send: bool, lang: str | None, output: Path | None) -> None:
    """Show what ALARM last published as Slack messages. With --send, send them to Slack again."""
    from cwnotify.alerts.locale import to_plain_text
    from cwnotify.alerts.messages.render import render_alert
    from cwnotify.aws.session import AwsSession
    from cwnotify.deploy.replay import fetch_published_events, send_payloads

    config = settings.load_settings_or_raise()
    events = fetch_published_events(AwsSession(), alarm, last)
    now = time.time()
    payloads = [render_alert(event, lang or config.lang, config.zone, config.channel, now) for event in events]
    for payload in payloads:
        click.echo(to_plain_text(str(payload["text"])))
    if output:
        from cwnotify.preview import render_page_html

        output.write_text(render_page_html([(payload, None) for payload in payloads], title=alarm), encoding="utf-8")
        click.echo(f"Written to {output}")
    if send:
        send_payloads(payloads, config.webhook)
        click.echo("Slack said ok.")


@click.command()
@_name_option
def redrive(name: str) -> None:
    """Resend the messages in the dead-letter queue."""
    from cwnotify.aws.session import AwsSession
    from cwnotify.deploy.redrive import RedriveResult, count_undelivered, redrive_messages
    from cwnotify.deploy.stack import get_deployed_stack

    aws = AwsSession()
    outputs = get_deployed_stack(aws, name).outputs

    def show_result(result: RedriveResult) -> None:
        click.echo(f"  {result.id}  {result.error or 'delivered'}")

    results = redrive_messages(aws, outputs["Function"], outputs["DeadLetters"], show_result)
    failed = sum(bool(result.error) for result in results)
    remaining = count_undelivered(aws, outputs["DeadLetters"])
    if failed:
        raise AwsError(f"{len(results) - failed} delivered, {failed} not; about {remaining} left in the queue")
    delivered = f"{len(results)} delivered, and nothing is left in the queue."
    click.echo(delivered if results else "Nothing is undelivered.")


def _apply_plan(aws: Any, steps: Plan, after_failure: str) -> None:
    from cwnotify.deploy.stack import apply_plan

    width = _get_name_width(steps)
    try:
        apply_plan(aws, steps, lambda change: click.echo(_format_change(change, width)), _show_event)
    except CwnotifyError as error:
        raise AwsError(f"{error}\n{after_failure}") from None


def _show_event(event: StackEvent) -> None:
    """Show a resource that is complete or failed."""
    if event.status.endswith(("_COMPLETE", "_FAILED")):
        reason = f": {event.reason}" if event.status.endswith("_FAILED") else ""
        click.echo(f"      {time.strftime('%H:%M:%S')}  {event.resource}  {event.status.lower()}{reason}")


def _show_plan(steps: Plan) -> None:
    width = _get_name_width(steps)
    for step in steps:
        for change in step.changes:
            click.echo(_format_change(change, width))


def _get_name_width(steps: Plan) -> int:
    return max((len(change.name) for step in steps for change in step.changes), default=0)


def _format_change(change: PlannedChange, width: int) -> str:
    return f"  {change.sign} {change.kind:10}{change.name:{width}}  {change.detail}".rstrip()
