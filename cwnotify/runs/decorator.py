"""`notify` as a decorator, for each kind of callable: a call of it is a run. Standard library, `errors` only.

What is decorated stays what it was: a coroutine function, a generator function, a method, a command.
"""

from __future__ import annotations

import functools
import inspect
import sys
import types
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from typing import Any, Protocol

from cwnotify.errors import UsageError

# Calls that some objects run later or elsewhere, where they would not be runs: Ray, Celery, Dask, Dramatiq, Modal.
_DEFERRED = ("remote", "delay", "apply_async", "send_with_options", "spawn_map")


class RunContext(Protocol):
    """A `cwnotify.notify` for one call."""

    def __enter__(self) -> Any: ...
    def __exit__(self, kind: Any, error: Any, trace: Any) -> None: ...
    def activate(self) -> Any: ...


def decorate(function: Any, fresh: Callable[[], RunContext]) -> Any:
    """Return `function` with each call inside one of `fresh`.

    Raises
    ------
    UsageError
        If its calls could not be followed, with the place where `notify` would work.
    """
    if isinstance(function, staticmethod | classmethod):
        return type(function)(decorate(function.__func__, fresh))
    if is_click_command(function):
        command: Any = function
        command.callback = decorate(command.callback, fresh)
        return command
    _check(function)
    called = (
        function if isinstance(function, functools.partial) or not _is_object(function) else type(function).__call__
    )
    if inspect.iscoroutinefunction(called):
        return _coroutine(function, fresh)
    if inspect.isasyncgenfunction(called):
        return _async_generator(function, fresh)
    if inspect.isgeneratorfunction(called):
        return _generator(function, fresh)
    return _Decorated(function, fresh) if _is_object(function) else _function(function, fresh)


def is_click_command(function: object) -> bool:
    """Whether `function` is a command of click's or typer's, which has to stay one."""
    click: Any = sys.modules.get("click")
    command = getattr(click, "Command", None)
    return isinstance(command, type) and isinstance(function, command) and callable(getattr(function, "callback", None))


def _check(function: Any) -> None:
    kind = type(function).__name__
    if isinstance(function, type):
        raise UsageError(
            f"notify cannot decorate a class ({function.__name__})",
            hint="put it above the method whose calls to report",
        )
    if not callable(function):
        raise UsageError(f"notify decorates functions, and a {kind} is not one", hint="put it directly above `def`")
    if _is_object(function) and any(callable(getattr(function.__class__, name, None)) for name in _DEFERRED):
        raise UsageError(
            f"a {kind} runs its function elsewhere", hint="put @cwnotify.notify below its decorator, above `def`"
        )


def _is_object(function: Any) -> bool:
    """Whether it is more than a function: an object with attributes and methods of its own."""
    return not isinstance(
        function,
        types.FunctionType | types.MethodType | types.BuiltinFunctionType | functools.partial | types.MethodWrapperType,
    )


def _function(function: Any, fresh: Callable[[], RunContext]) -> Any:
    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        return _call(function, fresh, args, kwargs)

    return called


def _call(function: Any, fresh: Callable[[], RunContext], args: Any, kwargs: Any) -> Any:
    run = fresh()
    with run.activate():
        run.__enter__()
        try:
            value = function(*args, **kwargs)
        except BaseException as error:
            run.__exit__(type(error), error, error.__traceback__)
            raise
    asyncio: Any = sys.modules.get("asyncio")
    if inspect.iscoroutine(value):
        # A lambda, or another function that returns a coroutine: the work is in there.
        return _awaited(run, value)
    if asyncio and isinstance(value, asyncio.Future):
        value.add_done_callback(functools.partial(_settled, run))
    elif inspect.isgenerator(value) and inspect.isgeneratorfunction(inspect.unwrap(function)):
        return _through(_Steps(run, value, begun=True))
    else:
        run.__exit__(None, None, None)
    return value


async def _awaited(run: RunContext, coroutine: Coroutine[Any, Any, Any]) -> Any:
    with run.activate():
        try:
            value = await coroutine
        except BaseException as error:
            run.__exit__(type(error), error, error.__traceback__)
            raise
        run.__exit__(None, None, None)
        return value


def _settled(run: RunContext, future: Any) -> None:
    import asyncio

    # Not `exception()`: asyncio would no longer warn of an exception that the program itself does not look at.
    error = asyncio.CancelledError() if future.cancelled() else getattr(future, "_exception", None)
    run.__exit__(type(error) if error else None, error, getattr(error, "__traceback__", None))


def _coroutine(function: Any, fresh: Callable[[], RunContext]) -> Any:
    @functools.wraps(function)
    async def awaited(*args: Any, **kwargs: Any) -> Any:
        with fresh():
            return await function(*args, **kwargs)

    return awaited


def _generator(function: Any, fresh: Callable[[], RunContext]) -> Any:
    @functools.wraps(function)
    def generated(*args: Any, **kwargs: Any) -> Any:
        return (yield from _Steps(fresh(), function(*args, **kwargs)))

    return generated


def _through(steps: _Steps) -> Generator[Any, Any, Any]:
    return (yield from steps)


class _Steps:
    """A generator's steps, all of one run. Between them the run is not the one that the consumer's notes belong to."""

    def __init__(self, run: RunContext, generator: Generator[Any, Any, Any], begun: bool = False) -> None:
        self._run = run
        self._generator = generator
        self._begun = begun

    def __iter__(self) -> _Steps:
        return self

    def __next__(self) -> Any:
        return self._step(self._generator.__next__)

    def send(self, value: Any) -> Any:
        """As a generator's."""
        return self._step(self._generator.send, value)

    def throw(self, *error: Any) -> Any:
        """As a generator's."""
        return self._step(self._generator.throw, *error)

    def close(self) -> None:
        """As a generator's; a consumer that has enough ends the run in good order."""
        with self._run.activate():
            try:
                self._generator.close()
            except BaseException as error:
                self._run.__exit__(type(error), error, error.__traceback__)
                raise
            self._run.__exit__(None, None, None)

    def _step(self, step: Callable[..., Any], *values: Any) -> Any:
        with self._run.activate():
            if not self._begun:
                self._begun = True
                self._run.__enter__()
            try:
                return step(*values)
            except StopIteration:
                self._run.__exit__(None, None, None)
                raise
            except BaseException as error:
                self._run.__exit__(type(error), error, error.__traceback__)
                raise


def _async_generator(function: Any, fresh: Callable[[], RunContext]) -> Any:
    @functools.wraps(function)
    async def generated(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        run, generator = fresh(), function(*args, **kwargs)
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
                await _closed(run, generator, error)
                raise
            except BaseException as error:
                step = generator.athrow(error)

    return generated


async def _closed(run: RunContext, generator: AsyncGenerator[Any, Any], reason: BaseException) -> None:
    try:
        await generator.aclose()
    except BaseException as error:
        run.__exit__(type(error), error, error.__traceback__)
        raise
    run.__exit__(type(reason), reason, None)


class _Decorated:
    """A callable object whose calls are runs; all else is the object's own."""

    def __init__(self, function: Any, fresh: Callable[[], RunContext]) -> None:
        self.__wrapped__ = function
        self._fresh = fresh
        functools.update_wrapper(self, function, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _call(self.__wrapped__, self._fresh, args, kwargs)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None or not hasattr(type(self.__wrapped__), "__get__"):
            return self
        return types.MethodType(self, instance)

    def __getattr__(self, name: str) -> Any:
        if name == "__wrapped__":
            # Not made yet, as while it is unpickled.
            raise AttributeError(name)
        return getattr(self.__wrapped__, name)

    def __repr__(self) -> str:
        return f"<cwnotify.notify of {self.__wrapped__!r}>"
