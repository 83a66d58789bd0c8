"""Values for ``--show``, taken in the user's namespace after the cell. Each failure is contained and shown as such."""

from __future__ import annotations

from IPython.core.interactiveshell import InteractiveShell

from cwnotify.alerts.events import Shown
from cwnotify.alerts.limits import MARGIN, MAX_VALUE
from cwnotify.patience import MOST_SECONDS, within


def evaluate(expressions: tuple[str, ...], shell: InteractiveShell) -> tuple[Shown, ...]:
    """Evaluate each expression, for a few seconds at most; long values are cut, but only redacted later."""
    return tuple(_evaluate(expression, shell) for expression in expressions)


def _evaluate(expression: str, shell: InteractiveShell) -> Shown:
    def ask() -> str:
        value = eval(expression, shell.user_global_ns, shell.user_ns)
        return value if isinstance(value, str) else f"{value:.6g}" if isinstance(value, float) else repr(value)

    try:
        text = within(MOST_SECONDS, ask)
        return Shown(expression, value=text[: MAX_VALUE + MARGIN])
    except BaseException as error:
        # Also SystemExit and an interrupt: the cell has ended, and its reply must not change any more.
        return Shown(expression, error=type(error).__name__)
