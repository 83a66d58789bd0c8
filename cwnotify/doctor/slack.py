"""The webhook: what the settings say of it, whether it looks like one, and whether Slack can be reached."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from cwnotify.alerts.messages.run import hello_message
from cwnotify.alerts.webhook_url import SLACK_HOSTS, is_workflow
from cwnotify.doctor.findings import Finding, fault, good, note, wrong
from cwnotify.errors import CwnotifyError
from cwnotify.settings import LOOPBACK, Found, Secret
from cwnotify.settings.webhook import masked
from cwnotify.slack.destination import Webhook
from cwnotify.slack.http import post, reach
from cwnotify.slack.retry_policy import Reply, explain

_PATH = re.compile(r"/services/T\w+/B\w+/\w+/?", re.ASCII)


def look_at_settings(troubles: tuple[str, ...]) -> Iterator[Finding]:
    """Each setting that cannot be used."""
    for trouble in troubles:
        text, _, todo = trouble.rpartition("; ")
        yield wrong("Settings", text or trouble, todo if text else "cwnotify config shows where each comes from")


def look_at_webhook(found: Mapping[str, Found], send: bool, host: str) -> Iterator[Finding]:
    """The webhook; a greeting from `host` is posted only where `send` says so."""
    webhook = found.get("webhook")
    if webhook is None:
        yield wrong("Webhook", "none is set, so Slack hears nothing", "cwnotify manifest, then: cwnotify login")
        return
    try:
        url = Webhook(webhook.value).wait().url()
    except CwnotifyError as error:
        yield fault("Webhook", error)
        return
    yield judge_webhook(url, f"{masked(webhook.value)}, from {webhook.where}")
    if send:
        lang = found["lang"].value if "lang" in found else "en"
        channel = found["channel"].value if "channel" in found else ""
        yield judge_greeting(post(url, hello_message(host, lang, channel)))
    else:
        yield judge_way(reach(url))


def judge_webhook(url: Secret, shown: str) -> Finding:
    """Whether it is of the shape that Slack gives; `shown` is what may be told of it."""
    parts = urlsplit(url.reveal())
    if is_workflow(url.reveal()):
        text = f"{shown}: it is a Slack Workflow webhook, which takes other JSON than an incoming one"
        return wrong("Webhook", text, "create an incoming webhook: cwnotify manifest; then: cwnotify login")
    if parts.hostname in LOOPBACK:
        return note("Webhook", f"{shown}: on this machine, so something stands in for Slack")
    if parts.hostname not in SLACK_HOSTS:
        return note("Webhook", f"{shown}: not Slack's own host, so how messages look there is not known")
    if not _PATH.fullmatch(parts.path):
        return wrong("Webhook", f"{shown}: a part of it is missing", "copy it from Slack again, then: cwnotify login")
    return good("Webhook", shown)


def judge_way(trouble: str) -> Finding:
    """Whether its host answers."""
    if trouble:
        return wrong("Slack", f"could not be reached: {trouble}", "check the network, HTTPS_PROXY and the firewall")
    return good("Slack", "its host answers; to send a greeting: cwnotify doctor --send")


def judge_greeting(reply: Reply) -> Finding:
    """What came of the greeting."""
    if reply.status == 200 and reply.body.strip() == "ok":
        return good("Slack", "took a greeting and said ok; look at the webhook's channel")
    text, _, todo = explain(reply).rpartition("; ")
    return wrong("Slack", text or todo, todo if text else "cwnotify login, with a webhook that works")
