"""Values for ``--show``, taken in the user's namespace after the cell. Each failure is contained and shown as such."""

from __future__ import annotations

from typing import Any

from IPython.core.interactiveshell import InteractiveShell

from cwnotify.alerts.events.runs import Shown
from cwnotify.runs.deadline import MOST_SECONDS, within
from cwnotify.runs.value_format import MAX_VALUES, name_of_error, text_of


def evaluate(
    expressions: tuple[str, ...], shell: InteractiveShell, names: dict[str, Any] | None = None
) -> tuple[Shown, ...]:
    """Evaluate the first `MAX_VALUES` expressions, each for a few seconds at most; long values are cut.

    Parameters
    ----------
    names
        Local names that the expressions may use.
    """
    return tuple(_evaluate(expression, shell, names) for expression in expressions[:MAX_VALUES])


def _evaluate(expression: str, shell: InteractiveShell, names: dict[str, Any] | None) -> Shown:
    def ask() -> str:
        return text_of(eval(expression, shell.user_global_ns, shell.user_ns if names is None else names))

    try:
        return Shown(expression, value=within(MOST_SECONDS, ask))
    except BaseException as error:
        # Also SystemExit and an interrupt: the cell has ended, and its reply must not change any more.
        return Shown(expression, error=name_of_error(error))
