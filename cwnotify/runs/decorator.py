"""Decorate any kind of callable so that each call is a run. Imports the standard library and `errors`.

The decorated object keeps its kind: coroutine function, generator function, method, command.
"""

from __future__ import annotations

import functools
import inspect
import sys
import types
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from typing import Any, Protocol

from cwnotify.errors import UsageError

# Methods of objects that run their function later or elsewhere: Ray, Celery, Dask, Dramatiq, Modal.
_DEFERRED_CALL_METHODS = ("remote", "delay", "apply_async", "send_with_options", "spawn_map")


class RunContext(Protocol):
    """A `cwnotify.notify` object for one call."""

    def __enter__(self) -> Any: ...
    def __exit__(self, kind: Any, error: Any, trace: Any) -> None: ...
    def activate(self) -> Any: ...


def decorate(function: Any, create_run: Callable[[], RunContext]) -> Any:
    """Return `function` with each call inside a new run.

    Parameters
    ----------
    create_run
        Returns the context for one call.

    Raises
    ------
    UsageError
        If the calls cannot be followed. The hint names where `notify` would work.
    """
    if isinstance(function, staticmethod | classmethod):
        return type(function)(decorate(function.__func__, create_run))
    if is_click_command(function):
        command: Any = function
        command.callback = decorate(command.callback, create_run)
        return command
    _reject_unsupported(function)
    called = (
        function if isinstance(function, functools.partial) or not _is_object(function) else type(function).__call__
    )
    if inspect.iscoroutinefunction(called):
        return _decorate_coroutine(function, create_run)
    if inspect.isasyncgenfunction(called):
        return _decorate_async_generator(function, create_run)
    if inspect.isgeneratorfunction(called):
        return _decorate_generator(function, create_run)
    return _DecoratedObject(function, create_run) if _is_object(function) else _decorate_function(function, create_run)


def is_click_command(function: object) -> bool:
    """Return whether `function` is a command of click or typer, which must stay a command."""
    click: Any = sys.modules.get("click")
    command = getattr(click, "Command", None)
    return isinstance(command, type) and isinstance(function, command) and callable(getattr(function, "callback", None))


def _reject_unsupported(function: Any) -> None:
    kind = type(function).__name__
    if isinstance(function, type):
        raise UsageError(
            f"notify cannot decorate a class ({function.__name__})",
            hint="put it above the method whose calls to report",
        )
    if not callable(function):
        raise UsageError(f"notify decorates functions, and a {kind} is not one", hint="put it directly above `def`")
    if _is_object(function) and any(
        callable(getattr(function.__class__, name, None)) for name in _DEFERRED_CALL_METHODS
    ):
        raise UsageError(
            f"notify cannot decorate a {kind}, which runs its function elsewhere",
            hint="put @cwnotify.notify below its decorator, above `def`",
        )


def _is_object(function: Any) -> bool:
    """Return whether it is more than a function: an object with its own attributes and methods."""
    return not isinstance(
        function,
        types.FunctionType | types.MethodType | types.BuiltinFunctionType | functools.partial | types.MethodWrapperType,
    )


def _decorate_function(function: Any, create_run: Callable[[], RunContext]) -> Any:
    @functools.wraps(function)
    def call_in_run(*args: Any, **kwargs: Any) -> Any:
        return _call(function, create_run, args, kwargs)

    return call_in_run


def _call(function: Any, create_run: Callable[[], RunContext], args: Any, kwargs: Any) -> Any:
    run = create_run()
    with run.activate():
        run.__enter__()
        try:
            value = function(*args, **kwargs)
        except BaseException as error:
            run.__exit__(type(error), error, error.__traceback__)
            raise
    asyncio: Any = sys.modules.get("asyncio")
    if inspect.iscoroutine(value):
        # A function, such as a lambda, that returns a coroutine: the work is in the coroutine.
        return _await_in_run(run, value)
    if asyncio and isinstance(value, asyncio.Future):
        value.add_done_callback(functools.partial(_end_with_future, run))
    elif inspect.isgenerator(value) and inspect.isgeneratorfunction(inspect.unwrap(function)):
        return _iterate(_GeneratorSteps(run, value, is_started=True))
    else:
        run.__exit__(None, None, None)
    return value


async def _await_in_run(run: RunContext, coroutine: Coroutine[Any, Any, Any]) -> Any:
    with run.activate():
        try:
            value = await coroutine
        except BaseException as error:
            run.__exit__(type(error), error, error.__traceback__)
            raise
        run.__exit__(None, None, None)
        return value


def _end_with_future(run: RunContext, future: Any) -> None:
    import asyncio

    # Not `exception()`: it would suppress asyncio's warning about an exception that the program never retrieves.
    error = asyncio.CancelledError() if future.cancelled() else getattr(future, "_exception", None)
    run.__exit__(type(error) if error else None, error, getattr(error, "__traceback__", None))


def _decorate_coroutine(function: Any, create_run: Callable[[], RunContext]) -> Any:
    @functools.wraps(function)
    async def await_in_run(*args: Any, **kwargs: Any) -> Any:
        with create_run():
            return await function(*args, **kwargs)

    return await_in_run


def _decorate_generator(function: Any, create_run: Callable[[], RunContext]) -> Any:
    @functools.wraps(function)
    def generate_in_run(*args: Any, **kwargs: Any) -> Any:
        return (yield from _GeneratorSteps(create_run(), function(*args, **kwargs)))

    return generate_in_run


def _iterate(steps: _GeneratorSteps) -> Generator[Any, Any, Any]:
    return (yield from steps)


class _GeneratorSteps:
    """A generator whose steps belong to one run. Between the steps, the consumer's own run is the current one."""

    def __init__(self, run: RunContext, generator: Generator[Any, Any, Any], is_started: bool = False) -> None:
        self._run = run
        self._generator = generator
        self._is_started = is_started

    def __iter__(self) -> _GeneratorSteps:
        return self

    def __next__(self) -> Any:
        return self._step(self._generator.__next__)

    def send(self, value: Any) -> Any:
        """Do what `generator.send` does."""
        return self._step(self._generator.send, value)

    def throw(self, *error: Any) -> Any:
        """Do what `generator.throw` does."""
        return self._step(self._generator.throw, *error)

    def close(self) -> None:
        """Do what `generator.close` does. The run has finished, because the consumer needs no more."""
        with self._run.activate():
            try:
                self._generator.close()
            except BaseException as error:
                self._run.__exit__(type(error), error, error.__traceback__)
                raise
            self._run.__exit__(None, None, None)

    def _step(self, step: Callable[..., Any], *values: Any) -> Any:
        with self._run.activate():
            if not self._is_started:
                self._is_started = True
                self._run.__enter__()
            try:
                return step(*values)
            except StopIteration:
                self._run.__exit__(None, None, None)
                raise
            except BaseException as error:
                self._run.__exit__(type(error), error, error.__traceback__)
                raise


def _decorate_async_generator(function: Any, create_run: Callable[[], RunContext]) -> Any:
    @functools.wraps(function)
    async def generate_in_run(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        run, generator = create_run(), function(*args, **kwargs)
        with run.activate():
            run.__enter__()
        step = generator.__anext__()
        while True:
            try:
                with run.activate():
                    value = await step
            except StopAsyncIteration:
                run.__exit__(None, None, None)
                return
            except BaseException as error:
                run.__exit__(type(error), error, error.__traceback__)
                raise
            try:
                step = generator.asend((yield value))
            except GeneratorExit as error:
                await _close_async_generator(run, generator, error)
                raise
            except BaseException as error:
                step = generator.athrow(error)

    return generate_in_run


async def _close_async_generator(run: RunContext, generator: AsyncGenerator[Any, Any], reason: BaseException) -> None:
    try:
        await generator.aclose()
    except BaseException as error:
        run.__exit__(type(error), error, error.__traceback__)
        raise
    run.__exit__(type(reason), reason, None)


class _DecoratedObject:
    """A callable object whose calls are runs. All other attributes are the object's own."""

    def __init__(self, function: Any, create_run: Callable[[], RunContext]) -> None:
        self.__wrapped__ = function
        self._create_run = create_run
        functools.update_wrapper(self, function, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _call(self.__wrapped__, self._create_run, args, kwargs)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None or not hasattr(type(self.__wrapped__), "__get__"):
            return self
        return types.MethodType(self, instance)

    def __getattr__(self, name: str) -> Any:
        if name == "__wrapped__":
            # It does not exist yet while the object is unpickled.
            raise AttributeError(name)
        return getattr(self.__wrapped__, name)

    def __repr__(self) -> str:
        return f"<cwnotify.notify of {self.__wrapped__!r}>"
