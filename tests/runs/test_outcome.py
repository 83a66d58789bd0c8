"""Which exceptions count as an interrupt, and which error is behind an exit."""

from __future__ import annotations

import asyncio
import bdb
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cwnotify.alerts.events.runs import Outcome
from cwnotify.runs.outcome import determine_outcome, unwrap_error


def catch(code: Callable[[], object]) -> BaseException:
    """Return the exception that `code` raises."""
    try:
        code()
    except BaseException as error:
        return error
    raise AssertionError("it raised nothing")


def create_library(source: str) -> ModuleType:
    """Create a module whose file is in an installed package."""
    module = ModuleType("library")
    exec(compile(source, "/usr/lib/python3/dist-packages/library.py", "exec"), vars(module))
    return module


def interrupt() -> None:
    raise KeyboardInterrupt


def exit_program(code: str | int | None = 1) -> None:
    sys.exit(code)


def divide() -> None:
    1 / 0  # noqa: B018


LIGHTNING = create_library(
    "def fit(train, shut_down):\n    try:\n        train()\n    except KeyboardInterrupt:\n        shut_down()"
)


def exit_after_interrupt() -> None:
    try:
        interrupt()
    except KeyboardInterrupt:
        exit_program()


def library_failure_during_interrupt() -> None:
    # IPython removes the built-in `exit`, and Lightning calls it.
    LIGHTNING.fit(interrupt, lambda: missing_exit())  # type: ignore[name-defined]  # noqa: F821


def interrupt_replaced_by_another_error() -> None:
    try:
        interrupt()
    except KeyboardInterrupt:
        raise RuntimeError("stopped")  # noqa: B904


def interrupt_as_cause() -> None:
    try:
        interrupt()
    except KeyboardInterrupt as error:
        reraise(error)


def reraise(error: BaseException) -> None:
    raise RuntimeError("stopped") from error


def interrupt_in_group() -> None:
    raise BaseExceptionGroup("tasks", [ValueError(), BaseExceptionGroup("more", [KeyboardInterrupt()])])


def debugger_quit() -> None:
    raise bdb.BdbQuit


def failure_in_interrupt_handler() -> None:
    try:
        interrupt()
    except KeyboardInterrupt:
        divide()


def library_failure_in_interrupt_handler() -> None:
    try:
        interrupt()
    except KeyboardInterrupt:
        LIGHTNING.fit(divide, interrupt)


def failure_after_handled_interrupt() -> None:
    try:
        interrupt()
    except KeyboardInterrupt:
        pass
    divide()


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (interrupt, Outcome.INTERRUPTED),
        (exit_after_interrupt, Outcome.INTERRUPTED),
        (library_failure_during_interrupt, Outcome.INTERRUPTED),
        (interrupt_replaced_by_another_error, Outcome.INTERRUPTED),
        (interrupt_as_cause, Outcome.INTERRUPTED),
        (interrupt_in_group, Outcome.INTERRUPTED),
        (debugger_quit, Outcome.INTERRUPTED),
        (failure_in_interrupt_handler, Outcome.FAILED),
        (library_failure_in_interrupt_handler, Outcome.FAILED),
        (failure_after_handled_interrupt, Outcome.FAILED),
        (exit_program, Outcome.FAILED),
        (divide, Outcome.FAILED),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_interrupt_counts_unless_user_code_handled_it(code: Callable[[], None], outcome: Outcome) -> None:
    assert determine_outcome(catch(code)) is outcome


def exit_in_except(code: str | int | None = 1) -> None:
    try:
        divide()
    except ZeroDivisionError:
        exit_program(code)


def exit_from_none() -> None:
    try:
        divide()
    except ZeroDivisionError:
        raise SystemExit(1) from None


def exit_from_cause() -> None:
    try:
        divide()
    except ZeroDivisionError:
        raise SystemExit(1) from ValueError("bad option")


def exit_twice() -> None:
    try:
        exit_in_except()
    except SystemExit:
        exit_program(2)


class Exit(RuntimeError):  # noqa: N818 (click's name)
    """Like click's exception for an exit code."""


def exit_of_click() -> None:
    try:
        raise Exit(3)
    except Exit:
        exit_program(3)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (exit_in_except, ZeroDivisionError),
        (exit_twice, ZeroDivisionError),
        (exit_from_cause, ValueError),
        (exit_from_none, SystemExit),
        (exit_of_click, SystemExit),
        (lambda: exit_in_except(0), SystemExit),
        (lambda: exit_in_except(None), SystemExit),
        (lambda: exit_in_except("no such file"), ZeroDivisionError),
        (exit_program, SystemExit),
        (divide, ZeroDivisionError),
    ],
)
def test_exit_in_an_except_block_reports_the_handled_error(code: Callable[[], None], error: type) -> None:
    assert type(unwrap_error(catch(code))) is error


ASYNC = """
import asyncio, os, signal, sys
from cwnotify.runs.outcome import determine_outcome

async def main():
    if {has_signal}:
        os.kill(os.getpid(), signal.SIGINT)
    else:
        asyncio.current_task().cancel()
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError as error:
        print(determine_outcome(error), flush=True)
        raise

try:
    asyncio.run(main())
except BaseException as error:
    print(determine_outcome(error))
"""


@pytest.mark.parametrize(
    ("has_signal", "inside", "outside"), [(True, "interrupted", "interrupted"), (False, "failed", "failed")]
)
def test_cancelled_task_is_interrupted_only_after_a_signal(has_signal: bool, inside: str, outside: str) -> None:
    result = subprocess.run(
        [sys.executable, "-c", ASYNC.format(has_signal=has_signal)], capture_output=True, text=True, check=True
    )

    assert result.stdout.split() == [inside, outside]


def test_hostile_signal_handler_is_not_called() -> None:
    class Hostile:
        @property
        def __closure__(self) -> None:
            raise ValueError

        def __call__(self, number: int, frame: object) -> None:
            return None

    previous = signal.signal(signal.SIGINT, Hostile())
    try:
        assert determine_outcome(asyncio.CancelledError()) is Outcome.FAILED
    finally:
        signal.signal(signal.SIGINT, previous)


def test_cycle_of_causes_ends() -> None:
    first, second = ValueError(), SystemExit(1)
    first.__context__, second.__context__ = second, first

    assert determine_outcome(first) is Outcome.FAILED
    assert unwrap_error(second) is first


KINDS = [KeyboardInterrupt, SystemExit, ValueError, asyncio.CancelledError, bdb.BdbQuit, GeneratorExit]


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.booleans()), min_size=1, max_size=80))
def test_any_chain_of_errors_has_an_outcome(chain: list[tuple[type[BaseException], bool]]) -> None:
    errors = [kind(1) for kind, _ in chain]
    for error, earlier, (_, is_cause) in zip(errors, errors[1:], chain, strict=False):
        if is_cause:
            error.__cause__ = earlier
        else:
            error.__context__ = earlier

    assert determine_outcome(errors[0]) in (Outcome.FAILED, Outcome.INTERRUPTED)
    assert unwrap_error(errors[0]) in errors


def test_overridden_causes_are_not_evaluated() -> None:
    class Liar(SystemExit):
        __cause__ = property(lambda self: 1 / 0)
        __context__ = property(lambda self: os.abort())
        code = property(lambda self: 1 / 0)

    assert determine_outcome(Liar(1)) is Outcome.FAILED
    assert type(unwrap_error(Liar(1))) is Liar
