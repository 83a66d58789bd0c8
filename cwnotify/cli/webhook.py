"""``cwnotify login``, ``test`` and ``manifest``: the way to a webhook that works."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from urllib.parse import quote

import click

from cwnotify import settings
from cwnotify.alerts.events.run_options import LANGUAGES
from cwnotify.alerts.messages.alarm import alarm_message
from cwnotify.alerts.messages.block_kit import Payload
from cwnotify.alerts.messages.run import webhook_test_message
from cwnotify.alerts.messages.samples import sample_alarm
from cwnotify.errors import CwnotifyError
from cwnotify.settings import Secret
from cwnotify.slack.retry_policy import SlackReply, diagnose_reply

WEBHOOK_SETUP_HINT = (
    "make one with: cwnotify manifest; then store it with: cwnotify login (or set CWNOTIFY_WEBHOOK_URL)"
)


@click.command()
@click.option("--stdin", "from_stdin", is_flag=True, help="Read the URL from standard input instead of asking.")
def login(from_stdin: bool) -> None:
    """Ask for the Slack webhook without echo, test it with a greeting, and keep it.

    It is kept in a file of its own that only you can read. The URL is a password: whoever has it can post.
    """
    text = _typed() if from_stdin else click.prompt("Slack webhook URL (not shown)", hide_input=True)
    webhook = settings.parse_webhook(text, "what you gave")
    found = settings.load_settings_or_raise({**os.environ, "CWNOTIFY_WEBHOOK_URL": webhook.reveal()})
    _post(webhook, webhook_test_message(socket.gethostname(), found.lang, found.channel))
    path = settings.store_webhook(webhook)
    # A folder that others can write makes it useless: better to hear of that now.
    settings.load_settings_or_raise()
    click.echo(f"Slack said ok. The webhook is kept in {path}, readable by you alone.")
    if shadowing := [name for name in settings.WEBHOOK_VARIABLES if os.environ.get(name)]:
        click.echo(f"Mind that {shadowing[0]} is set here too, and comes first.")


def _typed() -> str:
    """The first line of standard input; all of it if the line does not hold the whole webhook."""
    line = sys.stdin.readline()
    try:
        settings.parse_webhook(line, "")
    except CwnotifyError:
        # The rest of a JSON object or of an .env file; a person at a terminal has typed one line.
        return line if sys.stdin.isatty() else line + sys.stdin.read()
    return line


@click.command()
@click.option("--lang", type=click.Choice(LANGUAGES), help="The message's language.")
@click.option("--alarm", is_flag=True, help="Send a sample of an alarm instead.")
@click.option("--lambda", "function", is_flag=True, help="Call the deployed function with AWS's test event instead.")
@click.option("--name", default="cwnotify", show_default=True, help="With --lambda: the stack's name.")
def test(lang: str | None, alarm: bool, function: bool, name: str) -> None:
    """Send a greeting to Slack, and say what went wrong if it does not arrive."""
    if function:
        if alarm or lang:
            raise click.UsageError("--lambda goes without --alarm and --lang: the deployed function has its own ways")
        _ping(name)
        return
    found = settings.load_settings_or_raise()
    if found.webhook is None:
        raise CwnotifyError("no Slack webhook is set", hint=f"{WEBHOOK_SETUP_HINT}")
    if alarm:
        sample = sample_alarm(lang or found.lang, time.time(), found.instance)
        payload = alarm_message(sample, lang or found.lang, found.zone, found.channel)
    else:
        payload = webhook_test_message(socket.gethostname(), lang or found.lang, found.channel)
    _post(found.webhook, payload)
    click.echo("Slack said ok. Look at the webhook's channel.")


def _ping(name: str) -> None:
    from cwnotify.aws.session import AwsSession
    from cwnotify.deploy.invoke import invoke_with_example_event
    from cwnotify.deploy.stack import get_deployed_stack

    aws = AwsSession()
    outputs = get_deployed_stack(aws, name).outputs
    called = invoke_with_example_event(aws, name, outputs["Topic"])
    if called.log:
        click.echo(called.log.rstrip())
    if called.error:
        raise CwnotifyError(f"the function failed: {called.error}")
    click.echo("The function came to a good end. Look at the webhook's channel.")


@click.command()
def manifest() -> None:
    """Print a Slack app manifest, and the link that creates the app with an incoming webhook."""
    app = {
        "display_information": {
            "name": "cwnotify",
            "description": "Tells how training runs ended and what CloudWatch alarms say",
            "background_color": "#232f3e",
        },
        "features": {"bot_user": {"display_name": "cwnotify", "always_online": False}},
        "oauth_config": {"scopes": {"bot": ["incoming-webhook"]}},
        "settings": {
            "org_deploy_enabled": False,
            "socket_mode_enabled": False,
            "token_rotation_enabled": False,
        },
    }
    click.echo(json.dumps(app, indent=2))
    link = "https://api.slack.com/apps?new_app=1&manifest_json=" + quote(json.dumps(app, separators=(",", ":")))
    click.echo(
        "\n1. Open this link, choose a workspace, then Create:\n"
        f"   {link}\n"
        "2. Install to Workspace, choose the channel, then Allow.\n"
        "3. Incoming Webhooks → Copy; then: cwnotify login",
        err=True,
    )


def _post(webhook: Secret, payload: Payload) -> None:
    from cwnotify.slack.destination import WebhookResolver
    from cwnotify.slack.http import post_to_slack

    reply: SlackReply = post_to_slack(WebhookResolver(webhook).wait_until_resolved().get_url(), payload)
    if not (reply.status == 200 and reply.body.strip() == "ok"):
        problem, remedy = diagnose_reply(reply)
        raise CwnotifyError(problem, hint=remedy)
