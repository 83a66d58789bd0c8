"""Where an alert is posted to: a URL, or what is kept under ``ssm:/name`` or ``secretsmanager:name``.

AWS may be slow or away, so a sidecar looks a webhook up in a thread of its own: the cell goes on, and so does what is
meant for other webhooks. What was found is kept until Slack says that it is gone, for then it may have been replaced.
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

# Seconds for which a look-up that failed is not made again.
LOOKUP_RETRY_INTERVAL = 2.0
# boto3 itself gives up long before, with the reason.
LOOKUP_TIMEOUT = 120.0
_PROGRAM = str(Path(__file__).with_name("look_up.py"))

WebhookLookup = Callable[[str], Secret]


def look_up_webhook(reference: str) -> Secret:
    """Ask AWS for the webhook that is kept under `reference`.

    Raises
    ------
    CwnotifyError
        If AWS cannot be asked, has nothing there, or has something else there.
    """
    # boto3 takes its time: only who keeps a webhook in AWS pays for it.
    from cwnotify.aws.secrets import resolve_webhook_reference
    from cwnotify.aws.session import AwsSession

    return resolve_webhook_reference(AwsSession.with_short_timeouts(), reference)


def look_up_webhook_in_subprocess(environ: Mapping[str, str], reference: str) -> Secret:
    """As `look_up_webhook`, in a process with its own environment: this one's may have what a panel says of AWS.

    Raises
    ------
    CwnotifyError
        As `look_up_webhook`, or if that process fails.
    """
    # Only the name is in the arguments; the URL comes back through a pipe.
    command = [sys.executable, "-P", _PROGRAM, reference]
    try:
        done = subprocess.run(
            command,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=LOOKUP_TIMEOUT,
            check=False,
        )
        answer = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        # Not the text, which can hold what was read so far.
        raise AwsError(f"the process that asks AWS failed: {type(error).__name__}") from None
    if "webhook" not in answer:
        raise AwsError(str(answer.get("error")))
    return Secret(answer["webhook"])


class WebhookResolver:
    """One destination's webhook.

    Parameters
    ----------
    given
        What the settings say: the URL itself, or where it is kept.
    found
        Called from another thread when a look-up has come to its end.

    Attributes
    ----------
    reference
        Where it is kept; empty for a URL.
    known
        The URL, once it is known.
    """

    def __init__(
        self, given: Secret, found: Callable[[], None] = lambda: None, look_up: WebhookLookup = look_up_webhook
    ) -> None:
        kept = given.reveal().startswith(REFERENCE_PREFIXES)
        self.reference = given.reveal() if kept else ""
        self.resolved_url = None if kept else given
        self._found = found
        self._look_up = look_up
        self._trouble = AwsError("it was not looked up yet")
        self._again = 0.0
        self._looking: threading.Thread | None = None
        self._gone: Secret | None = None

    def try_resolve(self) -> bool:
        """Whether `url` can tell; if not, a look-up is under way from now on."""
        if self.resolved_url or time.monotonic() < self._again:
            return True
        if self._looking is None or not self._looking.is_alive():
            self._looking = threading.Thread(target=self._look, name="cwnotify-webhook", daemon=True)
            self._looking.start()
        return False

    def wait_until_resolved(self) -> WebhookResolver:
        """Wait until it is `ready`, however long AWS takes."""
        if not self.try_resolve() and self._looking:
            self._looking.join()
        return self

    def get_url(self) -> Secret:
        """The URL to post to.

        Raises
        ------
        AwsError
            If it could not be looked up; the text says why, and what to do.
        """
        url, trouble = self.resolved_url, self._trouble
        if url is None:
            raise trouble
        return url

    def report_rejected(self, url: Secret) -> bool:
        """Slack says that `url` is gone; tells whether there may be another one in its place."""
        if url == self._gone:
            # It was looked up anew and is still the same. The next message may ask again.
            self._gone = None
            return False
        self._gone, self.resolved_url, self._again = url, None, 0.0
        return True

    def _look(self) -> None:
        try:
            self.resolved_url = self._look_up(self.reference)
        except CwnotifyError as error:
            self._fail(str(error))
        except Exception as error:
            logging.getLogger(__name__).exception("a webhook could not be looked up")
            self._fail(type(error).__name__)
        self._found()

    def _fail(self, why: str) -> None:
        self._trouble = AwsError(f"the webhook in {self.reference} could not be looked up: {why}")
        self._again = time.monotonic() + LOOKUP_RETRY_INTERVAL
