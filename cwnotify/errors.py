"""Every error that cwnotify raises on purpose. Standard library only.

::

    CwnotifyError             what happened, why, and a hint; never contains a secret
    ├── UsageError            an option or argument is invalid
    ├── SettingsError         a setting (environment, config.toml, login) is invalid
    ├── StateError            the state directory or its outbox cannot be used
    ├── ProtocolError         a line on the pipe does not follow the protocol
    └── AwsError              AWS rejected a request or could not be reached
"""

from __future__ import annotations

from enum import Enum


class CwnotifyError(Exception):
    """The base class. Catch it to catch every error of cwnotify.

    Parameters
    ----------
    message
        What happened, and why.
    hint
        What the user can do, such as ``run `cwnotify login```. ``str(error)`` appends it to the message.
    """

    def __init__(self, message: str = "", *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class UsageError(CwnotifyError):
    """An option or argument is invalid."""


class SettingsError(CwnotifyError):
    """A setting is invalid. The message names where it comes from."""


class StateError(CwnotifyError):
    """The state directory or its outbox cannot be used."""


class ProtocolError(CwnotifyError):
    """A line on the pipe between kernel and sidecar does not follow the protocol."""


class AwsErrorKind(Enum):
    """Why a request to AWS failed."""

    CREDENTIALS = "credentials"  # no credentials, or AWS rejects them
    EXPIRED = "expired"
    DENIED = "denied"
    THROTTLED = "throttled"
    OFFLINE = "offline"  # no response, or one from a proxy
    REGION = "region"
    MISSING = "missing"
    CLOCK = "clock"  # this machine's clock is wrong
    PENDING = "pending"  # the response has not arrived yet
    OTHER = "other"


class AwsError(CwnotifyError):
    """AWS rejected a request or could not be reached.

    Parameters
    ----------
    code
        AWS's error code, if there was a response.
    kind
        Why the request failed.
    action
        The missing IAM action, if `kind` is ``DENIED``.
    """

    def __init__(
        self,
        message: str,
        code: str = "",
        kind: AwsErrorKind = AwsErrorKind.OTHER,
        action: str = "",
        *,
        hint: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.kind = kind
        self.action = action
