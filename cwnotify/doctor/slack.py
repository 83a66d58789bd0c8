"""The webhook: what the settings say of it, whether it looks like one, and whether Slack can be reached."""

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
from cwnotify.slack.retry_policy import SlackReply, explain_reply

_PATH = re.compile(r"/services/T\w+/B\w+/\w+/?", re.ASCII)


def diagnose_settings(troubles: tuple[str, ...]) -> Iterator[Finding]:
    """Each setting that cannot be used."""
    for trouble in troubles:
        text, _, todo = trouble.rpartition("; ")
        yield report_problem(
            "Settings", text or trouble, todo if text else "cwnotify config shows where each comes from"
        )


def diagnose_webhook(found: Mapping[str, ResolvedSetting], send: bool, host: str) -> Iterator[Finding]:
    """The webhook; a greeting from `host` is posted only where `send` says so."""
    webhook = found.get("webhook")
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
        lang = found["lang"].value if "lang" in found else "en"
        channel = found["channel"].value if "channel" in found else ""
        yield evaluate_greeting(post_to_slack(url, webhook_test_message(host, lang, channel)))
    else:
        yield evaluate_reachability(find_connection_problem(url))


def evaluate_webhook(url: Secret, shown: str) -> Finding:
    """Whether it is of the shape that Slack gives; `shown` is what may be told of it."""
    parts = urlsplit(url.reveal())
    if is_workflow_webhook(url.reveal()):
        text = f"{shown}: it is a Slack Workflow webhook, which takes other JSON than an incoming one"
        return report_problem("Webhook", text, "create an incoming webhook: cwnotify manifest; then: cwnotify login")
    if parts.hostname in LOOPBACK_HOSTS:
        return report_note("Webhook", f"{shown}: on this machine, so something stands in for Slack")
    if parts.hostname not in SLACK_WEBHOOK_HOSTS:
        return report_note("Webhook", f"{shown}: not Slack's own host, so how messages look there is not known")
    if not _PATH.fullmatch(parts.path):
        return report_problem(
            "Webhook", f"{shown}: a part of it is missing", "copy it from Slack again, then: cwnotify login"
        )
    return report_ok("Webhook", shown)


def evaluate_reachability(trouble: str) -> Finding:
    """Whether its host answers."""
    if trouble:
        return report_problem(
            "Slack", f"could not be reached: {trouble}", "check the network, HTTPS_PROXY and the firewall"
        )
    return report_ok("Slack", "its host answers; to send a greeting: cwnotify doctor --send")


def evaluate_greeting(reply: SlackReply) -> Finding:
    """What came of the greeting."""
    if reply.status == 200 and reply.body.strip() == "ok":
        return report_ok("Slack", "took a greeting and said ok; look at the webhook's channel")
    text, _, todo = explain_reply(reply).rpartition("; ")
    return report_problem("Slack", text or todo, todo if text else "cwnotify login, with a webhook that works")
