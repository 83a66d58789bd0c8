"""Check the settings, the webhook's form, and whether Slack can be reached."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from cwnotify.alerts.messages.run import webhook_test_message
from cwnotify.alerts.webhook_url import SLACK_WEBHOOK_HOSTS, is_workflow_webhook
from cwnotify.doctor.findings import Finding, report_error, report_note, report_ok, report_problem
from cwnotify.errors import CwnotifyError
from cwnotify.settings import LOOPBACK_HOSTS, NoWebhookError, ResolvedSetting, Secret
from cwnotify.settings.webhook import mask_webhook
from cwnotify.slack.destination import WebhookResolver
from cwnotify.slack.http import find_connection_problem, post_to_slack
from cwnotify.slack.retry_policy import SlackReply, diagnose_reply

_WEBHOOK_PATH = re.compile(r"/services/T\w+/B\w+/\w+/?", re.ASCII)


def diagnose_settings(problems: tuple[str, ...]) -> Iterator[Finding]:
    """Yield each problem with a setting."""
    for problem in problems:
        yield report_problem("Settings", problem, "fix this setting; cwnotify config shows where each one comes from")


def diagnose_webhook(resolved: Mapping[str, ResolvedSetting], send: bool, host: str) -> Iterator[Finding]:
    """Yield findings about the webhook.

    Parameters
    ----------
    send
        Whether to send a greeting.
    host
        The name of this machine, for the greeting.
    """
    webhook = resolved.get("webhook")
    if webhook is None:
        yield report_error("Webhook", NoWebhookError())
        return
    try:
        url = WebhookResolver(webhook.value).wait_until_resolved().get_url()
    except CwnotifyError as error:
        yield report_error("Webhook", error)
        return
    yield evaluate_webhook(url, f"{mask_webhook(webhook.value)}, from {webhook.origin}")
    if send:
        lang = resolved["lang"].value if "lang" in resolved else "en"
        channel = resolved["channel"].value if "channel" in resolved else ""
        yield evaluate_greeting(post_to_slack(url, webhook_test_message(host, lang, channel)))
    else:
        yield evaluate_reachability(find_connection_problem(url))


def evaluate_webhook(url: Secret, description: str) -> Finding:
    """Check the form of the webhook's URL. `description` names the webhook without its secret."""
    parts = urlsplit(url.reveal())
    if is_workflow_webhook(url.reveal()):
        text = f"{description}: it is a Slack Workflow webhook, which takes other JSON than an incoming one"
        return report_problem("Webhook", text, "create an incoming webhook: cwnotify manifest; then: cwnotify login")
    if parts.hostname in LOOPBACK_HOSTS:
        return report_note("Webhook", f"{description}: on this machine, so it is not the real Slack")
    if parts.hostname not in SLACK_WEBHOOK_HOSTS:
        return report_note("Webhook", f"{description}: not Slack's own host, so messages may look different")
    if not _WEBHOOK_PATH.fullmatch(parts.path):
        return report_problem(
            "Webhook", f"{description}: a part of the URL is missing", "copy it from Slack again, then: cwnotify login"
        )
    return report_ok("Webhook", description)


def evaluate_reachability(problem: str) -> Finding:
    """Return whether the webhook's host answers; `problem` is empty if it does."""
    if problem:
        return report_problem(
            "Slack", f"could not be reached: {problem}", "check the network, HTTPS_PROXY and the firewall"
        )
    return report_ok("Slack", "its host answers; to send a greeting: cwnotify doctor --send")


def evaluate_greeting(reply: SlackReply) -> Finding:
    """Return the result of the greeting."""
    if reply.status == 200 and reply.body.strip() == "ok":
        return report_ok("Slack", "accepted a greeting; see it in the webhook's channel")
    problem, remedy = diagnose_reply(reply)
    return report_problem("Slack", problem, remedy or "cwnotify login, with a webhook that works")
