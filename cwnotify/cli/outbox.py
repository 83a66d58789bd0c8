"""``cwnotify outbox``: what waits, what could not be delivered and why, and what to do about it."""

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
from cwnotify.errors import CwnotifyError
from cwnotify.store import state_dir
from cwnotify.store.failover import make_owner_id
from cwnotify.store.outbox import Outbox
from cwnotify.store.recovery import open_outbox
from cwnotify.store.schema import OutboxMessage

if TYPE_CHECKING:
    from cwnotify.slack.destination import WebhookResolver

# After so many failures in a row the others are not tried.
MAX_CONSECUTIVE_FAILURES = 3
# Seconds to wait for Slack, where it asks for a rest, and for a sidecar at work: longer than an attempt can take.
MAX_DELIVERY_WAIT = 60.0
OUTBOX_POLL_INTERVAL = 0.1


@click.group()
def outbox() -> None:
    """What waits, what could not be delivered and why; send it again, or throw it away."""


@outbox.command("list")
@click.option("--all", "everything", is_flag=True, help="Also what was delivered or not wanted.")
@click.option("--json", "as_json", is_flag=True, help="For programs: a list of objects.")
def list_messages(everything: bool, as_json: bool) -> None:
    """Show what waits and what is dead."""
    with _opened() as (box, mine):
        messages = box.list_messages() if everything else box.list_messages("pending", "dead")
    if as_json:
        click.echo(json.dumps([_record(message, mine) for message in messages], indent=2, ensure_ascii=False))
        return
    for message in messages:
        click.echo(_line(message, mine))
    if not messages:
        click.echo("Nothing waits and nothing is dead.")


@outbox.command()
@click.argument("ids", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All that is dead.")
def retry(ids: tuple[str, ...], everything: bool) -> None:
    """Send dead alerts again, to the webhook that is set now."""
    from cwnotify.slack.destination import WebhookResolver

    given = settings.load_settings_or_raise().webhook
    if given is None:
        raise CwnotifyError("no Slack webhook is set", hint="set one with: cwnotify login")
    webhook = WebhookResolver(given).wait_until_resolved()
    # What cannot be sent anywhere had better stay where it is.
    webhook.get_url()
    with _opened() as (box, mine):
        chosen = _chosen(box, ids, everything)
        box.requeue_dead(chosen, mine, time.time())
        wanted = {*chosen, *(message.id for message in _waiting(box, mine))}
        _send(box, mine, webhook)
        left = [message.state for message in box.list_messages("pending", "dead") if message.id in wanted]
    if waiting := left.count("pending"):
        click.echo(f"Slack takes nothing at present: {waiting} wait, for the next run or for this command again.")
    if left:
        click.echo(f"{len(left)} of {len(wanted)} still not delivered.")
        raise SystemExit(1)
    click.echo(f"{len(wanted)} sent again.")


def _send(box: Outbox, mine: str, webhook: WebhookResolver) -> None:
    """Send what waits for `webhook`, as far as it goes; what a sidecar that runs is at work on is waited for."""
    from cwnotify.sidecar.delivery import attempt_delivery
    from cwnotify.sidecar.pacing import DestinationCooldown

    rest, deadline = DestinationCooldown(), time.monotonic() + MAX_DELIVERY_WAIT
    while (
        rest.consecutive_failures < MAX_CONSECUTIVE_FAILURES
        and rest.remaining_seconds() < MAX_DELIVERY_WAIT
        and time.monotonic() < deadline
    ):
        time.sleep(rest.remaining_seconds() or OUTBOX_POLL_INTERVAL)
        while message := box.claim_next(mine, make_owner_id(), time.time(), rest.min_created_at()):
            became, reason = attempt_delivery(box, webhook.wait_until_resolved(), message, rest)
            click.echo(f"{became}: {to_plain_text(message.payload['text'])}" + (f" ({reason})" if reason else ""))
            deadline = time.monotonic() + MAX_DELIVERY_WAIT
        if not any(message.due < time.time() + MAX_DELIVERY_WAIT for message in _waiting(box, mine)):
            return


def _waiting(box: Outbox, mine: str) -> list[OutboxMessage]:
    return [message for message in box.list_messages("pending") if message.destination == mine]


@outbox.command()
@click.argument("ids", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All that is dead.")
def purge(ids: tuple[str, ...], everything: bool) -> None:
    """Throw dead alerts away."""
    with _opened() as (box, _):
        click.echo(f"{box.delete_dead(_chosen(box, ids, everything))} thrown away.")


@contextmanager
def _opened() -> Iterator[tuple[Outbox, str]]:
    """The outbox, and the name under which it keeps messages for the webhook that is set."""
    directory = state_dir.prepare_state_dir(settings.get_state_dir())
    webhook = settings.load_settings()[0].webhook
    with closing(open_outbox(directory)) as box:
        yield box, state_dir.fingerprint_webhook(webhook, directory)


def _chosen(box: Outbox, ids: tuple[str, ...], everything: bool) -> list[str]:
    """The dead messages meant; the beginning of an id is enough."""
    dead = [message.id for message in box.list_messages("dead")]
    if everything:
        return dead
    if not ids:
        raise CwnotifyError("say which: ids from cwnotify outbox list, or --all")
    chosen = []
    for start in ids:
        found = [id for id in dead if id.startswith(start)]
        if len(found) != 1:
            raise CwnotifyError(
                f"{start} is {'several' if found else 'no'} dead alerts", hint="see cwnotify outbox list"
            )
        chosen += found
    return chosen


def _line(message: OutboxMessage, mine: str) -> str:
    moment = datetime.fromtimestamp(message.created).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    text = to_plain_text(str(message.payload.get("text", "")))
    elsewhere = " [for another webhook]" if message.destination and message.destination != mine else ""
    why = f"\n    {message.reason}" if message.reason else ""
    return f"{message.id[:8]}  {message.state:8}{moment}  {text}{elsewhere}{why}"


def _record(message: OutboxMessage, mine: str) -> dict[str, object]:
    return {
        "id": message.id,
        "state": message.state,
        "text": message.payload.get("text", ""),
        "created": message.created,
        "due": message.due,
        "attempts": message.attempts,
        "reason": message.reason,
        "settled": message.settled,
        "for_this_webhook": message.destination == mine,
    }
