"""Resolve a webhook: a URL, or a reference to where AWS stores one (``ssm:/name``, ``secretsmanager:name``).

AWS may be slow or unreachable. Lookups run in their own threads, so cells and other destinations never wait for them.
The URL is cached until Slack reports that it is gone; then it may have been replaced.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from cwnotify.errors import AwsError, CwnotifyError
from cwnotify.settings import REFERENCE_PREFIXES, Secret

LOOKUP_RETRY_INTERVAL = 2.0  # seconds after a lookup that failed
# boto3 gives up much earlier, with a reason.
LOOKUP_TIMEOUT = 120.0  # seconds
_LOOKUP_PROGRAM = str(Path(__file__).with_name("look_up.py"))

WebhookLookup = Callable[[str], Secret]


def look_up_webhook(reference: str) -> Secret:
    """Query AWS for the webhook stored under `reference`.

    Raises
    ------
    CwnotifyError
        If AWS cannot be queried, has nothing of this name, or has no webhook there.
    """
    # Importing boto3 is slow; only webhooks stored in AWS need it.
    from cwnotify.aws.secrets import resolve_webhook_reference
    from cwnotify.aws.session import AwsSession

    return resolve_webhook_reference(AwsSession.with_short_timeouts(), reference)


def look_up_webhook_in_subprocess(environ: Mapping[str, str], reference: str) -> Secret:
    """Call `look_up_webhook` in a process with the environment `environ`. A panel may have changed AWS in ours.

    Raises
    ------
    CwnotifyError
        As `look_up_webhook`, or if the process fails.
    """
    # The arguments contain only the name; the URL comes back through a pipe.
    command = [sys.executable, "-P", _LOOKUP_PROGRAM, reference]
    try:
        process = subprocess.run(
            command,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=LOOKUP_TIMEOUT,
            check=False,
        )
        answer = json.loads(process.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        # The text of the exception may contain output that was read so far.
        raise AwsError(f"the process that queries AWS failed: {type(error).__name__}") from None
    if "webhook" not in answer:
        raise AwsError(str(answer.get("error")))
    return Secret(answer["webhook"])


class WebhookResolver:
    """The webhook of one destination.

    Parameters
    ----------
    setting
        The URL itself, or a reference to where AWS stores it.
    on_lookup_end
        Called from another thread when a lookup ends.
    look_up
        Resolves a reference.

    Attributes
    ----------
    reference
        Where the URL is stored; empty if the setting is a URL.
    resolved_url
        The URL; None until it is resolved.
    """

    def __init__(
        self,
        setting: Secret,
        on_lookup_end: Callable[[], None] = lambda: None,
        look_up: WebhookLookup = look_up_webhook,
    ) -> None:
        is_reference = setting.reveal().startswith(REFERENCE_PREFIXES)
        self.reference = setting.reveal() if is_reference else ""
        self.resolved_url = None if is_reference else setting
        self._on_lookup_end = on_lookup_end
        self._look_up = look_up
        self._error = AwsError("the webhook has not been looked up yet")
        self._retry_at = 0.0
        self._thread: threading.Thread | None = None
        self._rejected: Secret | None = None

    def try_resolve(self) -> bool:
        """Return whether `get_url` can answer now. If not, a lookup starts or is running."""
        if self.resolved_url or time.monotonic() < self._retry_at:
            return True
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._resolve, name="cwnotify-webhook", daemon=True)
            self._thread.start()
        return False

    def wait_until_resolved(self) -> WebhookResolver:
        """Wait until the lookup ends, however long AWS takes."""
        if not self.try_resolve() and self._thread:
            self._thread.join()
        return self

    def get_url(self) -> Secret:
        """Return the URL to post to.

        Raises
        ------
        AwsError
            If it could not be looked up; the text contains the reason and the remedy.
        """
        url, error = self.resolved_url, self._error
        if url is None:
            raise error
        return url

    def report_rejected(self, url: Secret) -> bool:
        """Record that Slack rejected `url`. Return True if a fresh lookup may find a replacement."""
        if url == self._rejected:
            # The lookup returned the same URL again. The next message may look it up again.
            self._rejected = None
            return False
        self._rejected, self.resolved_url, self._retry_at = url, None, 0.0
        return True

    def _resolve(self) -> None:
        try:
            self.resolved_url = self._look_up(self.reference)
        except CwnotifyError as error:
            self._record_failure(str(error))
        except Exception as error:
            logging.getLogger(__name__).exception("the webhook lookup failed")
            self._record_failure(type(error).__name__)
        self._on_lookup_end()

    def _record_failure(self, reason: str) -> None:
        self._error = AwsError(f"the webhook in {self.reference} could not be looked up: {reason}")
        self._retry_at = time.monotonic() + LOOKUP_RETRY_INTERVAL
