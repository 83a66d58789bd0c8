"""``cwnotify login``, ``test`` and ``manifest``: create, store and test a webhook."""

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
from cwnotify.settings import NoWebhookError, Secret
from cwnotify.slack.retry_policy import SlackReply, diagnose_reply


@click.command()
@click.option("--stdin", "from_stdin", is_flag=True, help="Read the URL from standard input")
def login(from_stdin: bool) -> None:
    """Prompt for a Slack webhook, send a test message to it and store it.

    The webhook is stored in a separate file that only you can read. Its URL is a password: anyone who has it can post
    to your channel. To create a webhook, run `cwnotify manifest`.
    """
    text = _read_webhook_text() if from_stdin else click.prompt("Slack webhook URL (not shown)", hide_input=True)
    webhook = settings.parse_webhook(text, "your input")
    config = settings.load_settings_or_raise({**os.environ, "CWNOTIFY_WEBHOOK_URL": webhook.reveal()})
    _post_message(webhook, webhook_test_message(socket.gethostname(), config.lang, config.channel))
    path = settings.store_webhook(webhook)
    # Report now, not at the first alert, that the file is unusable because other users can write its folder.
    settings.load_settings_or_raise()
    click.echo(f"Slack said ok. The webhook is stored in {path}; only you can read it.")
    if variables := [name for name in settings.WEBHOOK_VARIABLES if os.environ.get(name)]:
        click.echo(f"Note: {variables[0]} is also set and takes precedence.")


def _read_webhook_text() -> str:
    """Return the first line of standard input, or all of it if the line holds no complete webhook."""
    line = sys.stdin.readline()
    try:
        settings.parse_webhook(line, "")
    except CwnotifyError:
        # The input may be a JSON object or an .env file. At a terminal it ends with the line.
        return line if sys.stdin.isatty() else line + sys.stdin.read()
    return line


@click.command()
@click.option("--lang", type=click.Choice(LANGUAGES), help="Write the message in this language")
@click.option("--alarm", is_flag=True, help="Send a sample alarm instead")
@click.option("--lambda", "function", is_flag=True, help="Invoke the deployed function with AWS's test event instead")
@click.option("--name", default="cwnotify", help="Use this stack name for --lambda. Default: cwnotify")
def test(lang: str | None, alarm: bool, function: bool, name: str) -> None:
    """Send a test message to Slack, and show the reason if it cannot be delivered."""
    if function:
        if alarm or lang:
            raise click.UsageError("--lambda cannot be combined with --alarm or --lang")
        _invoke_function(name)
        return
    config = settings.load_settings_or_raise()
    if config.webhook is None:
        raise NoWebhookError
    if alarm:
        sample = sample_alarm(lang or config.lang, time.time(), config.instance)
        payload = alarm_message(sample, lang or config.lang, config.zone, config.channel)
    else:
        payload = webhook_test_message(socket.gethostname(), lang or config.lang, config.channel)
    _post_message(config.webhook, payload)
    click.echo("Slack said ok. Check the webhook's channel.")


def _invoke_function(name: str) -> None:
    from cwnotify.aws.session import AwsSession
    from cwnotify.deploy.invoke import invoke_with_example_event
    from cwnotify.deploy.stack import get_deployed_stack

    aws = AwsSession()
    outputs = get_deployed_stack(aws, name).outputs
    result = invoke_with_example_event(aws, name, outputs["Topic"])
    if result.log:
        click.echo(result.log.rstrip())
    if result.error:
        raise CwnotifyError(f"the function failed: {result.error}")
    click.echo("The function succeeded. Check the webhook's channel.")


@click.command()
def manifest() -> None:
    """Print a Slack app manifest and a link that creates the app with an incoming webhook."""
    app = {
        "display_information": {
            "name": "cwnotify",
            "description": "Reports how training runs ended and which CloudWatch alarms changed",
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
        "\n1. Open this link, choose a workspace and click Create:\n"
        f"   {link}\n"
        "2. Click Install to Workspace, choose a channel and click Allow.\n"
        "3. Click Incoming Webhooks, copy the URL and run: cwnotify login",
        err=True,
    )


def _post_message(webhook: Secret, payload: Payload) -> None:
    from cwnotify.slack.destination import WebhookResolver
    from cwnotify.slack.http import post_to_slack

    reply: SlackReply = post_to_slack(WebhookResolver(webhook).wait_until_resolved().get_url(), payload)
    if not (reply.status == 200 and reply.body.strip() == "ok"):
        problem, remedy = diagnose_reply(reply)
        raise CwnotifyError(problem, hint=remedy)
