"""``cwnotify outbox``: list undelivered alerts with the reasons, resend them or delete them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

import click

from cwnotify import settings
from cwnotify.alerts.locale import to_plain_text
from cwnotify.errors import UsageError
from cwnotify.settings import NoWebhookError
from cwnotify.store import state_dir
from cwnotify.store.failover import make_owner_id
from cwnotify.store.outbox import Outbox
from cwnotify.store.recovery import open_outbox
from cwnotify.store.schema import OutboxMessage

if TYPE_CHECKING:
    from cwnotify.slack.destination import WebhookResolver

# Stop after this many failed attempts in a row.
MAX_CONSECUTIVE_FAILURES = 3
# Seconds to wait for Slack's rate limit or for a running sidecar. Longer than one attempt can take.
MAX_DELIVERY_WAIT = 60.0
OUTBOX_POLL_INTERVAL = 0.1  # seconds


@click.group()
def outbox() -> None:
    """List undelivered alerts with the reasons, resend them, or delete them."""


@outbox.command("list", short_help="List pending and dead alerts")
@click.option("--all", "include_settled", is_flag=True, help="Include delivered and suppressed alerts")
@click.option("--json", "as_json", is_flag=True, help="Print JSON")
def list_messages(include_settled: bool, as_json: bool) -> None:
    """List pending and dead alerts. An alert is dead if Slack rejected it for good, or if it waited too long."""
    with _open_outbox() as (box, fingerprint):
        messages = box.list_messages() if include_settled else box.list_messages("pending", "dead")
    if as_json:
        records = [_build_record(message, fingerprint) for message in messages]
        click.echo(json.dumps(records, indent=2, ensure_ascii=False))
        return
    for message in messages:
        click.echo(_format_message(message, fingerprint))
    if not messages:
        click.echo("No pending or dead alerts.")


@outbox.command(short_help="Resend dead alerts to the configured webhook")
@click.argument("ids", nargs=-1)
@click.option("--all", "select_all", is_flag=True, help="Resend all dead alerts")
def retry(ids: tuple[str, ...], select_all: bool) -> None:
    """Resend dead alerts to the configured webhook. An ID may be shortened to its first characters."""
    from cwnotify.slack.destination import WebhookResolver

    secret = settings.load_settings_or_raise().webhook
    if secret is None:
        raise NoWebhookError
    webhook = WebhookResolver(secret).wait_until_resolved()
    # Raises before anything is queued if the webhook cannot be used.
    webhook.get_url()
    with _open_outbox() as (box, fingerprint):
        selected_ids = _select_dead_ids(box, ids, select_all)
        box.requeue_dead(selected_ids, fingerprint, time.time())
        queued_ids = {*selected_ids, *(message.id for message in _list_pending(box, fingerprint))}
        _deliver_pending(box, fingerprint, webhook)
        undelivered = [message.state for message in box.list_messages("pending", "dead") if message.id in queued_ids]
    if pending_count := undelivered.count("pending"):
        click.echo(f"Slack accepts no messages now. {pending_count} pending; the next run or this command sends them.")
    if undelivered:
        click.echo(f"{len(undelivered)} of {len(queued_ids)} still not delivered.")
        raise SystemExit(1)
    click.echo(f"{len(queued_ids)} sent again.")


def _deliver_pending(box: Outbox, fingerprint: str, webhook: WebhookResolver) -> None:
    """Send the pending messages of `webhook`, and wait for those that a running sidecar is sending."""
    from cwnotify.sidecar.delivery import attempt_delivery
    from cwnotify.sidecar.pacing import DestinationCooldown

    cooldown, deadline = DestinationCooldown(), time.monotonic() + MAX_DELIVERY_WAIT
    while (
        cooldown.consecutive_failures < MAX_CONSECUTIVE_FAILURES
        and cooldown.remaining_seconds() < MAX_DELIVERY_WAIT
        and time.monotonic() < deadline
    ):
        time.sleep(cooldown.remaining_seconds() or OUTBOX_POLL_INTERVAL)
        while message := box.claim_next(fingerprint, make_owner_id(), time.time(), cooldown.min_created_at()):
            state, reason = attempt_delivery(box, webhook.wait_until_resolved(), message, cooldown)
            click.echo(f"{state}: {to_plain_text(message.payload['text'])}" + (f" ({reason})" if reason else ""))
            deadline = time.monotonic() + MAX_DELIVERY_WAIT
        if not any(message.due < time.time() + MAX_DELIVERY_WAIT for message in _list_pending(box, fingerprint)):
            return


def _list_pending(box: Outbox, fingerprint: str) -> list[OutboxMessage]:
    return [message for message in box.list_messages("pending") if message.destination == fingerprint]


@outbox.command(short_help="Delete dead alerts")
@click.argument("ids", nargs=-1)
@click.option("--all", "select_all", is_flag=True, help="Delete all dead alerts")
def purge(ids: tuple[str, ...], select_all: bool) -> None:
    """Delete dead alerts. An ID may be shortened to its first characters."""
    with _open_outbox() as (box, _):
        click.echo(f"{box.delete_dead(_select_dead_ids(box, ids, select_all))} deleted.")


@contextmanager
def _open_outbox() -> Iterator[tuple[Outbox, str]]:
    """Open the outbox. Yields it and the fingerprint of the configured webhook."""
    directory = state_dir.prepare_state_dir(settings.get_state_dir())
    webhook = settings.load_settings()[0].webhook
    with closing(open_outbox(directory)) as box:
        yield box, state_dir.fingerprint_webhook(webhook, directory)


def _select_dead_ids(box: Outbox, prefixes: tuple[str, ...], select_all: bool) -> list[str]:
    """Return the IDs of all dead messages, or of those that `prefixes` identify."""
    dead_ids = [message.id for message in box.list_messages("dead")]
    if select_all:
        return dead_ids
    if not prefixes:
        raise UsageError("no alerts selected", hint="pass IDs from `cwnotify outbox list`, or --all")
    selected_ids = []
    for prefix in prefixes:
        matches = [id for id in dead_ids if id.startswith(prefix)]
        if len(matches) != 1:
            problem = f"matches {len(matches)} dead alerts" if matches else "matches no dead alert"
            raise UsageError(f"{prefix} {problem}", hint="run `cwnotify outbox list` to see the IDs")
        selected_ids += matches
    return selected_ids


def _format_message(message: OutboxMessage, fingerprint: str) -> str:
    moment = datetime.fromtimestamp(message.created).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    text = to_plain_text(str(message.payload.get("text", "")))
    destination = " [for another webhook]" if message.destination and message.destination != fingerprint else ""
    reason = f"\n    {message.reason}" if message.reason else ""
    return f"{message.id[:8]}  {message.state:8}{moment}  {text}{destination}{reason}"


def _build_record(message: OutboxMessage, fingerprint: str) -> dict[str, object]:
    return {
        "id": message.id,
        "state": message.state,
        "text": message.payload.get("text", ""),
        "created": message.created,
        "due": message.due,
        "attempts": message.attempts,
        "reason": message.reason,
        "settled": message.settled,
        "for_this_webhook": message.destination == fingerprint,
    }
