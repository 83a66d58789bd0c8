"""What to do after an attempt: a pure function from Slack's reply to a decision. Standard library only.

Only HTTP 200 with the body ``ok`` is a delivery. The table of replies is Slack's own:
https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks (checked on 2026-11-22).
"""

from __future__ import annotations

from cwnotify.alerts.light_dataclass import frozen

MAX_DELIVERY_AGE = 24 * 3600.0
MIN_ATTEMPTS = 10
MAX_BACKOFF = 60.0
MIN_BACKOFF_NON_SLACK = 30.0
MAX_RETRY_AFTER = 3600.0
# Slack asks for seconds. A proxy in maintenance may ask for an hour: then a message tries for all now and then.
MAX_DESTINATION_BACKOFF = 300.0

# Replies after which the webhook may have been replaced where it is kept.
WEBHOOK_GONE_STATUSES = (401, 403, 404, 410)

_NO_WEBHOOK = ("no_service", "no_active_hooks", "no_team", "channel_not_found", "invalid_token")


@frozen
class SlackReply:
    """What came back from one attempt.

    Parameters
    ----------
    status
        HTTP status; None if no reply came.
    body
        The beginning of the body.
    retry_after
        The header as it stood.
    trouble
        Why no reply came, in a few words and without the URL.
    """

    status: int | None = None
    body: str = ""
    retry_after: str = ""
    error: str = ""


@frozen
class Delivered:
    """Slack said ok."""


@frozen
class RetryAt:
    """Try again later.

    Parameters
    ----------
    at
        When to try this message again; Unix seconds.
    rest
        Until when nothing that waits already goes there: one message has shown that it would be in vain.
    is_asked
        Whether Slack asked for that rest, so that nothing new goes there either.
    """

    at: float
    reason: str
    backoff_until: float = 0.0
    is_requested_by_slack: bool = False


@frozen
class RetryAsText:
    """Slack cannot read the blocks: send the text alone, at once."""

    reason: str


@frozen
class GiveUp:
    """No further attempt can help; `reason` says why and what to do.

    Given up without a verdict of Slack's it has a `rest`, as `RetryAt` has one.
    """

    reason: str
    backoff_until: float = 0.0
    is_requested_by_slack: bool = False


DeliveryDecision = Delivered | RetryAt | RetryAsText | GiveUp


def decide_retry(
    reply: SlackReply,
    attempt: int,
    since: float,
    now: float,
    jitter: float,
    text_only: bool,
    patience: float = MAX_DELIVERY_AGE,
    failures: int = 1,
) -> DeliveryDecision:
    """Decide what to do after an attempt.

    Parameters
    ----------
    attempt
        Which attempt this was, counted from 1.
    since, now
        Unix seconds: when the message was first due, and when the reply came.
    jitter
        A random number from 0 to 1, so that many senders do not come back at once.
    text_only
        Whether the attempt sent the text without blocks already.
    patience
        Seconds after `since` at which to give up.
    failures
        How many attempts in a row brought no verdict of Slack's, with whichever message; this one included.
    """
    if reply.status == 200 and reply.body.strip() == "ok":
        return Delivered()
    reason = explain_reply(reply)
    word = _word(reply)
    # Whatever Slack finds wrong with the message, also in words that are not in the table, text alone may please it.
    if reply.status == 400 and not text_only and word not in _NO_WEBHOOK and not _is_page(reply):
        return RetryAsText(reason)
    if reply.status in (400, 401, 403, 404, 410) and _is_slack(reply):
        return GiveUp(reason)
    asked = _retry_after(reply.retry_after, now)
    if asked is not None:
        later = RetryAt(
            now + asked + jitter, reason, now + min(asked, MAX_DESTINATION_BACKOFF) + jitter, is_requested_by_slack=True
        )
    else:
        later = _backed_off(reason, attempt, failures, now, jitter, _least_pause(reply))
    return _unless_old(later, attempt, since, now, patience)


def decide_retry_unsent(
    reason: str, attempt: int, since: float, now: float, jitter: float, failures: int = 1
) -> RetryAt | GiveUp:
    """Decide what to do with a message that cannot even be sent, because of `reason`; else as `decide_retry`."""
    return _unless_old(_backed_off(reason, attempt, failures, now, jitter), attempt, since, now, MAX_DELIVERY_AGE)


def _backed_off(reason: str, attempt: int, failures: int, now: float, jitter: float, least: float = 0.0) -> RetryAt:
    """The message waits for as long as it or its destination failed; the others, as its destination did."""
    at, rest = (now + _backoff(times, jitter, least) for times in (max(attempt, failures), failures))
    return RetryAt(at, reason, rest)


def _unless_old(later: RetryAt, attempt: int, since: float, now: float, patience: float) -> RetryAt | GiveUp:
    # A clock that was set ahead makes a message old that was hardly tried.
    if later.at > since + patience and attempt >= MIN_ATTEMPTS:
        reason = f"given up after {max(now - since, 0) / 3600:.0f} h; at last: {later.reason}"
        return GiveUp(reason, later.backoff_until, later.is_requested_by_slack)
    return later


def explain_reply(reply: SlackReply) -> str:
    """What the reply means and what to do about it, as a sentence."""
    word = _word(reply)
    if reply.status is None:
        return f"Slack could not be reached: {reply.error or 'no reply'}"
    head = f"{reply.status} {word}".strip()
    if reply.status == 429:
        return f"{head}: Slack asks to slow down"
    if reply.status >= 500:
        return f"{head}: Slack has a fault of its own"
    if not _is_slack(reply):
        return f"{head}: something other than Slack answered (a proxy, a login page?); check the URL and the network"
    if word in _NO_WEBHOOK:
        return f"{head}: this webhook was removed; make a new one at https://api.slack.com/apps, then: cwnotify login"
    if word == "channel_is_archived" or reply.status == 410:
        return f"{head}: the webhook's channel is archived; make a webhook for another one, then: cwnotify login"
    if word in ("action_prohibited", "posting_to_general_channel_denied") or reply.status == 403:
        return f"{head}: the workspace does not let this webhook post; ask its administrator"
    return f"{head}: Slack refused the message"


def _word(reply: SlackReply) -> str:
    """Slack's own word for an error: one short line such as ``no_service``; else empty."""
    body = reply.body.strip()
    return body if 0 < len(body) <= 60 and body.replace("_", "").isalnum() and body.isascii() else ""


def _is_slack(reply: SlackReply) -> bool:
    """Slack's errors are a bare word, if anything; a page is a proxy's or a login's."""
    return bool(_word(reply) or not reply.body.strip()) and reply.status is not None and reply.status >= 400


def _is_page(reply: SlackReply) -> bool:
    return reply.body.lstrip().startswith("<")


def _least_pause(reply: SlackReply) -> float:
    """Seconds that a backoff takes at least: a stranger is asked less often."""
    is_stranger = reply.status is not None and 200 <= reply.status < 500 and reply.status not in (408, 429)
    return MIN_BACKOFF_NON_SLACK if is_stranger else 0.0


def _backoff(attempt: int, jitter: float, least: float = 0.0) -> float:
    """Doubling from half a second, the last half of it by chance."""
    return max(min(0.5 * 2.0 ** min(attempt - 1, 20), MAX_BACKOFF), least) * (0.5 + jitter / 2)


def _retry_after(header: str, now: float) -> float | None:
    """Seconds from an integer, a float or an HTTP date; None for what makes no sense."""
    text = header.strip()
    if not text or len(text) > 64:
        return None
    try:
        seconds = float(text)
    except ValueError:
        # Imported where a date stands, which is seldom: the function's start is the lighter for it.
        from email.utils import parsedate_to_datetime

        from cwnotify.alerts.python310 import UTC

        try:
            moment = parsedate_to_datetime(text)
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now
    if not 0 <= seconds < float("inf"):
        return None
    return min(seconds, MAX_RETRY_AFTER)
