"""Every error that cwnotify raises on purpose. Imports nothing.

::

    CwnotifyError             say what happened, why, and what to do next; never hold a secret
    ├── UsageError            an option or argument that cannot be understood
    ├── SettingsError         a setting (environment, config.toml, login) that cannot be used
    ├── StateError            the state directory or the outbox in it cannot be used
    ├── ProtocolError         a line on the pipe that is not of our protocol
    └── AwsError              what AWS refused or could not do
"""


class CwnotifyError(Exception):
    """The base: catch it to catch all of ours."""


class UsageError(CwnotifyError):
    """An option or argument that cannot be understood."""


class SettingsError(CwnotifyError):
    """A setting that cannot be used, with the place where it was found."""


class StateError(CwnotifyError):
    """The state directory, or the outbox in it, cannot be used."""


class ProtocolError(CwnotifyError):
    """A line on the pipe between kernel and sidecar that is not of our protocol."""


class AwsError(CwnotifyError):
    """What AWS refused or could not do.

    Parameters
    ----------
    code
        AWS's own word for it, where it gave one.
    kind
        What is wrong, in one word: ``credentials`` (none, or unknown to AWS), ``expired``, ``denied``, ``throttled``,
        ``offline`` (no answer, or one that is not AWS's), ``region``, ``missing``, ``clock`` (this machine's is wrong)
        or ``other``.
    action
        The IAM action that is missing, where `kind` is ``denied``.
    """

    def __init__(self, message: str, code: str = "", kind: str = "other", action: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.kind = kind
        self.action = action
