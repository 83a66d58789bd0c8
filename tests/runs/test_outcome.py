"""Which exceptions are an interrupt, and which error is behind an exit."""

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


def raised(code: Callable[[], object]) -> BaseException:
    try:
        code()
    except BaseException as error:
        return error
    raise AssertionError("it raised nothing")


def library(source: str) -> ModuleType:
    """A module that an installer put there."""
    module = ModuleType("library")
    exec(compile(source, "/usr/lib/python3/dist-packages/library.py", "exec"), vars(module))
    return module


def stop() -> None:
    raise KeyboardInterrupt


def leave(code: object = 1) -> None:
    sys.exit(code)


def divide() -> None:
    1 / 0  # noqa: B018


LIGHTNING = library(
    "def fit(train, shut_down):\n    try:\n        train()\n    except KeyboardInterrupt:\n        shut_down()"
)


def an_exit_after_an_interrupt() -> None:
    try:
        stop()
    except KeyboardInterrupt:
        leave()


def a_library_that_fails_while_it_stops() -> None:
    # IPython takes `exit` out of the built-in names, and Lightning calls it.
    LIGHTNING.fit(stop, lambda: exit_that_is_not_there())  # noqa: F821


def an_interrupt_turned_into_another_error() -> None:
    try:
        stop()
    except KeyboardInterrupt:
        raise RuntimeError("stopped")  # noqa: B904


def an_interrupt_as_a_cause() -> None:
    try:
        stop()
    except KeyboardInterrupt as error:
        report(error)


def report(error: BaseException) -> None:
    raise RuntimeError("stopped") from error


def an_interrupt_in_a_group() -> None:
    raise BaseExceptionGroup("tasks", [ValueError(), BaseExceptionGroup("more", [KeyboardInterrupt()])])


def the_debugger_is_left() -> None:
    raise bdb.BdbQuit


def a_handler_that_fails_later() -> None:
    try:
        stop()
    except KeyboardInterrupt:
        divide()


def a_library_in_a_handler_that_fails_later() -> None:
    try:
        stop()
    except KeyboardInterrupt:
        LIGHTNING.fit(divide, stop)


def an_interrupt_that_was_over() -> None:
    try:
        stop()
    except KeyboardInterrupt:
        pass
    divide()


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (stop, Outcome.INTERRUPTED),
        (an_exit_after_an_interrupt, Outcome.INTERRUPTED),
        (a_library_that_fails_while_it_stops, Outcome.INTERRUPTED),
        (an_interrupt_turned_into_another_error, Outcome.INTERRUPTED),
        (an_interrupt_as_a_cause, Outcome.INTERRUPTED),
        (an_interrupt_in_a_group, Outcome.INTERRUPTED),
        (the_debugger_is_left, Outcome.INTERRUPTED),
        (a_handler_that_fails_later, Outcome.FAILED),
        (a_library_in_a_handler_that_fails_later, Outcome.FAILED),
        (an_interrupt_that_was_over, Outcome.FAILED),
        (leave, Outcome.FAILED),
        (divide, Outcome.FAILED),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_an_interrupt_is_one_unless_the_users_code_handled_it(code: Callable[[], None], outcome: Outcome):
    assert determine_outcome(raised(code)) is outcome


def exit_in_except(code: object = 1) -> None:
    try:
        divide()
    except ZeroDivisionError:
        leave(code)


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
        leave(2)


class Exit(RuntimeError):  # noqa: N818 (click's name)
    """As click has it."""


def exit_of_click() -> None:
    try:
        raise Exit(3)
    except Exit:
        leave(3)


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
        (leave, SystemExit),
        (divide, ZeroDivisionError),
    ],
)
def test_an_exit_in_an_except_block_names_the_error_that_it_handles(code: Callable[[], None], error: type):
    assert type(unwrap_error(raised(code))) is error


ASYNC = """
import asyncio, os, signal, sys
from cwnotify.runs.outcome import determine_outcome

async def main():
    if {signalled}:
        os.kill(os.getpid(), signal.SIGINT)
    else:
        asyncio.current_task().cancel()
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError as error:
        print(outcome_of(error), flush=True)
        raise

try:
    asyncio.run(main())
except BaseException as error:
    print(outcome_of(error))
"""


@pytest.mark.parametrize(
    ("signalled", "inside", "outside"), [(True, "interrupted", "interrupted"), (False, "failed", "failed")]
)
def test_a_cancelled_task_is_interrupted_only_if_an_interrupt_arrived(signalled: bool, inside: str, outside: str):
    done = subprocess.run(
        [sys.executable, "-c", ASYNC.format(signalled=signalled)], capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == [inside, outside]


def test_a_handler_that_looks_like_ipykernels_is_only_looked_at():
    class Hostile:
        @property
        def __closure__(self) -> None:
            raise ValueError

        def __call__(self, number: int, frame: object) -> None:
            return None

    before = signal.signal(signal.SIGINT, Hostile())
    try:
        assert determine_outcome(asyncio.CancelledError()) is Outcome.FAILED
    finally:
        signal.signal(signal.SIGINT, before)


def test_causes_in_a_circle_come_to_an_end():
    first, second = ValueError(), SystemExit(1)
    first.__context__, second.__context__ = second, first

    assert determine_outcome(first) is Outcome.FAILED
    assert unwrap_error(second) is first


KINDS = [KeyboardInterrupt, SystemExit, ValueError, asyncio.CancelledError, bdb.BdbQuit, GeneratorExit]


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.booleans()), min_size=1, max_size=80))
def test_every_chain_of_errors_has_an_outcome(chain: list[tuple[type[BaseException], bool]]):
    errors = [kind(1) for kind, _ in chain]
    for error, behind, (_, is_cause) in zip(errors, errors[1:], chain, strict=False):
        if is_cause:
            error.__cause__ = behind
        else:
            error.__context__ = behind

    assert determine_outcome(errors[0]) in (Outcome.FAILED, Outcome.INTERRUPTED)
    assert unwrap_error(errors[0]) in errors


def test_a_class_that_hides_its_causes_cannot_raise_here():
    class Liar(SystemExit):
        __cause__ = property(lambda self: 1 / 0)  # type: ignore[assignment]
        __context__ = property(lambda self: os.abort())  # type: ignore[assignment]
        code = property(lambda self: 1 / 0)  # type: ignore[assignment]

    assert determine_outcome(Liar(1)) is Outcome.FAILED
    assert type(unwrap_error(Liar(1))) is Liar
