"""What to do after an attempt to send: pure functions from Slack's reply to a decision. Standard library only.

Only HTTP 200 with the body ``ok`` counts as a delivery. The replies are Slack's own:
https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks (checked on 2026-11-22).

Both HTTP clients, `cwnotify.slack.http` and `cwnotify.slack.deadline_http`, take their error texts from here.
"""

from __future__ import annotations

from cwnotify.alerts.light_dataclass import frozen

MAX_DELIVERY_AGE = 24 * 3600.0  # seconds
MIN_ATTEMPTS = 10  # before a message is given up because of its age
MAX_BACKOFF = 60.0  # seconds
MIN_BACKOFF_NON_SLACK = 30.0  # seconds, if something other than Slack replies
MAX_RETRY_AFTER = 3600.0  # seconds
# Slack requests seconds, but a proxy under maintenance may request an hour. Retry one message at least this often.
MAX_DESTINATION_BACKOFF = 300.0  # seconds
_INITIAL_BACKOFF = 0.5  # seconds

# After these replies, look the webhook up again: its stored value may have been replaced.
WEBHOOK_GONE_STATUSES = (401, 403, 404, 410)

_REMOVED_WEBHOOK_CODES = ("no_service", "no_active_hooks", "no_team", "channel_not_found", "invalid_token")
_NOT_PERMITTED_CODES = ("action_prohibited", "posting_to_general_channel_denied")
_MAX_CODE_LENGTH = 60
_MAX_RETRY_AFTER_LENGTH = 64

# By class name, so that requests, urllib3 and ssl need no import. The first match in this order decides.
_CONNECTION_ERRORS = {
    "ProxyError": "the proxy rejected the connection",
    "SSLError": "TLS failed; does this machine trust the certificate?",
    "NameResolutionError": "the host name could not be resolved",
    "gaierror": "the host name could not be resolved",
    "ConnectionRefusedError": "the connection was refused",
    "ConnectTimeout": "the connection timed out",
    "TimeoutError": "no answer in time",
    "Timeout": "no answer in time",
    "ConnectionResetError": "the connection was reset",
    "BrokenPipeError": "the connection was reset",
    "ConnectionError": "the connection broke",
    "InvalidSchema": "the proxy's protocol is not supported; for SOCKS: pip install pysocks",
    "InvalidURL": "the webhook is not a valid URL",
    "UnicodeError": "the webhook is not a valid URL",
}
_MAX_CAUSES = 20


@frozen
class SlackReply:
    """The result of one attempt.

    Parameters
    ----------
    status
        HTTP status; None if no reply came.
    body
        The beginning of the body.
    retry_after
        The header, unparsed.
    error
        Why no reply came, in a few words and without the URL.
    """

    status: int | None = None
    body: str = ""
    retry_after: str = ""
    error: str = ""


@frozen
class Attempt:
    """The circumstances of one attempt.

    Parameters
    ----------
    number
        Counted from 1 for each message.
    first_due, now
        Unix seconds: when the message was first due, and when the reply came.
    jitter
        A random number from 0 to 1. It keeps many senders from retrying at the same moment.
    is_text
        Whether the message was sent as text, without blocks.
    consecutive_failures
        How many attempts in a row, for any message, ended without Slack accepting or rejecting it. Includes this one.
    """

    number: int
    first_due: float
    now: float
    jitter: float
    is_text: bool = False
    consecutive_failures: int = 1


@frozen
class Delivered:
    """Slack accepted the message."""


@frozen
class RetryAt:
    """Try again later.

    Parameters
    ----------
    at
        When to try this message again; Unix seconds.
    reason
        Why the attempt failed.
    backoff_until
        Send no other waiting message to this destination before this time; Unix seconds.
    is_requested_by_slack
        Whether Slack requested the pause. If so, new messages wait too.
    """

    at: float
    reason: str
    backoff_until: float = 0.0
    is_requested_by_slack: bool = False


@frozen
class RetryAsText:
    """Slack cannot read the blocks: send the text alone, immediately."""

    reason: str


@frozen
class GiveUp:
    """Another attempt cannot help. `reason` describes the problem and the remedy.

    The last two fields are those of `RetryAt`; they are set if Slack neither accepted nor rejected the message.
    """

    reason: str
    backoff_until: float = 0.0
    is_requested_by_slack: bool = False


DeliveryDecision = Delivered | RetryAt | RetryAsText | GiveUp


def decide_retry(reply: SlackReply, attempt: Attempt) -> DeliveryDecision:
    """Decide what to do after an attempt that received `reply`."""
    if reply.status == 200 and reply.body.strip() == "ok":
        return Delivered()
    reason = explain_reply(reply)
    # Slack may use codes that are not listed here. Text alone often succeeds.
    is_readable_as_text = _error_code(reply) not in _REMOVED_WEBHOOK_CODES and not _is_page(reply)
    if reply.status == 400 and not attempt.is_text and is_readable_as_text:
        return RetryAsText(reason)
    if reply.status in (400, *WEBHOOK_GONE_STATUSES) and _is_slack(reply):
        return GiveUp(reason)
    pause, now, jitter = _parse_retry_after(reply.retry_after, attempt.now), attempt.now, attempt.jitter
    if pause is None:
        return _limit_age(_back_off(reason, attempt, _min_backoff(reply)), attempt)
    backoff_until = now + min(pause, MAX_DESTINATION_BACKOFF) + jitter
    return _limit_age(RetryAt(now + pause + jitter, reason, backoff_until, is_requested_by_slack=True), attempt)


def decide_retry_unsent(reason: str, attempt: Attempt) -> RetryAt | GiveUp:
    """Decide what to do with a message that could not be sent because of `reason`."""
    return _limit_age(_back_off(reason, attempt), attempt)


def _back_off(reason: str, attempt: Attempt, min_seconds: float = 0.0) -> RetryAt:
    """Delay this message by its own or its destination's failures, and other messages by the destination's."""
    failures = attempt.consecutive_failures
    at, backoff_until = (
        attempt.now + _backoff_seconds(count, attempt.jitter, min_seconds)
        for count in (max(attempt.number, failures), failures)
    )
    return RetryAt(at, reason, backoff_until)


def _limit_age(retry: RetryAt, attempt: Attempt) -> RetryAt | GiveUp:
    # MIN_ATTEMPTS protects messages that only look old because the clock was set forward.
    if retry.at > attempt.first_due + MAX_DELIVERY_AGE and attempt.number >= MIN_ATTEMPTS:
        hours = max(attempt.now - attempt.first_due, 0) / 3600
        reason = f"given up after {hours:.0f} h; last error: {retry.reason}"
        return GiveUp(reason, retry.backoff_until, retry.is_requested_by_slack)
    return retry


def explain_reply(reply: SlackReply) -> str:
    """Describe the problem and its remedy in one line."""
    return "; ".join(filter(None, diagnose_reply(reply)))


def diagnose_reply(reply: SlackReply) -> tuple[str, str]:
    """Return the problem that a reply other than ``ok`` reports, and its remedy if there is one."""
    if reply.status is None:
        return f"Slack could not be reached: {reply.error or 'no reply'}", ""
    code = _error_code(reply)
    head = f"{reply.status} {code}".strip()
    if reply.status == 429:
        return f"{head}: Slack limits the rate of messages", ""
    if reply.status >= 500:
        return f"{head}: Slack has an internal error", ""
    if not _is_slack(reply):
        return f"{head}: something other than Slack answered (a proxy, a login page?)", "check the URL and the network"
    if code in _REMOVED_WEBHOOK_CODES:
        remedy = "make a new one at https://api.slack.com/apps, then: cwnotify login"
        return f"{head}: this webhook was removed", remedy
    if code == "channel_is_archived" or reply.status == 410:
        remedy = "make a webhook for another channel, then: cwnotify login"
        return f"{head}: the webhook's channel is archived", remedy
    if code in _NOT_PERMITTED_CODES or reply.status == 403:
        return f"{head}: the workspace does not let this webhook post", "ask its administrator"
    return f"{head}: Slack rejected the message", ""


def explain_connection_error(error: BaseException) -> str:
    """Describe why no reply came, from the types of `error` and its causes; their texts may contain the URL."""
    causes: list[BaseException] = []
    candidates: list[object] = [error]
    while candidates and len(causes) < _MAX_CAUSES:
        cause = candidates.pop()
        if isinstance(cause, BaseException) and cause not in causes:
            causes.append(cause)
            candidates += [cause.__cause__, cause.__context__, getattr(cause, "reason", None), *cause.args]
    names = {cls.__name__ for cause in causes for cls in type(cause).__mro__}
    return next((text for name, text in _CONNECTION_ERRORS.items() if name in names), type(error).__name__)


def _error_code(reply: SlackReply) -> str:
    """Return Slack's error code, one short word such as ``no_service``; empty if the body is anything else."""
    body = reply.body.strip()
    is_word = 0 < len(body) <= _MAX_CODE_LENGTH and body.replace("_", "").isalnum() and body.isascii()
    return body if is_word else ""


def _is_slack(reply: SlackReply) -> bool:
    """Return whether Slack itself reported the error: the body is one word or empty, not a proxy's or login page."""
    return bool(_error_code(reply) or not reply.body.strip()) and reply.status is not None and reply.status >= 400


def _is_page(reply: SlackReply) -> bool:
    return reply.body.lstrip().startswith("<")


def _min_backoff(reply: SlackReply) -> float:
    is_foreign = reply.status is not None and 200 <= reply.status < 500 and reply.status not in (408, 429)
    return MIN_BACKOFF_NON_SLACK if is_foreign else 0.0


def _backoff_seconds(count: int, jitter: float, min_seconds: float) -> float:
    """Return a delay that doubles with each attempt. `jitter` scales it between half and all of that."""
    return max(min(_INITIAL_BACKOFF * 2.0 ** min(count - 1, 20), MAX_BACKOFF), min_seconds) * (0.5 + jitter / 2)


def _parse_retry_after(header: str, now: float) -> float | None:
    """Return seconds from a number or an HTTP date; None if the header is neither."""
    text = header.strip()
    if not text or len(text) > _MAX_RETRY_AFTER_LENGTH:
        return None
    try:
        seconds = float(text)
    except ValueError:
        # Dates are rare, and the Lambda function starts faster without these imports.
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
