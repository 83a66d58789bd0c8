"""Evaluate the expressions of ``--show`` in the user's namespace after a cell. A failure becomes the value's error."""

from __future__ import annotations

from typing import Any

from IPython.core.interactiveshell import InteractiveShell

from cwnotify.alerts.events.runs import CapturedValue
from cwnotify.runs.deadline import USER_CODE_TIMEOUT, call_with_timeout
from cwnotify.runs.value_format import MAX_SHOWN_VALUES, format_error_name, format_value


def evaluate_expressions(
    expressions: tuple[str, ...], shell: InteractiveShell, names: dict[str, Any] | None = None
) -> tuple[CapturedValue, ...]:
    """Evaluate the first `MAX_SHOWN_VALUES` expressions, each within `USER_CODE_TIMEOUT` seconds. Cut long values.

    Parameters
    ----------
    names
        Local names that the expressions may use.
    """
    return tuple(_evaluate(expression, shell, names) for expression in expressions[:MAX_SHOWN_VALUES])


def _evaluate(expression: str, shell: InteractiveShell, names: dict[str, Any] | None) -> CapturedValue:
    def evaluate() -> str:
        return format_value(eval(expression, shell.user_global_ns, shell.user_ns if names is None else names))

    try:
        return CapturedValue(expression, value=call_with_timeout(USER_CODE_TIMEOUT, evaluate))
    except BaseException as error:
        # Also SystemExit and interrupts: the cell has ended, and its result must not change.
        return CapturedValue(expression, error=format_error_name(error))
