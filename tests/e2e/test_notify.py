"""`notify` with each kind of callable, and one object used several times: each use is a separate run."""

from __future__ import annotations

import asyncio
import functools
import inspect
import re
from pathlib import Path
from typing import Any, cast

import click
import pytest
from click.testing import CliRunner

from cwnotify import notify
from cwnotify.errors import UsageError
from tests.support.kernel import World, alert_outcome, alert_text
from tests.support.slack import Slack


def run_and_read_alerts(world: World, slack: Slack, code: str, exit_code: int = 0) -> list[tuple[str, str, str]]:
    """Run `code` as a program. Return each run's name, outcome and noted ``mark``, sorted."""
    process = world.execute(
        "python", "-c", f"import asyncio, functools, threading\nfrom cwnotify import note, notify\n{code}"
    )
    assert process.returncode == exit_code, process.stderr
    assert "cwnotify:" not in process.stderr
    world.wait_for_sidecars_to_exit()
    runs = []
    for payload in slack.payloads:
        name = re.search(r"\*(.+?)\*", payload["text"])
        mark = re.search(r"\*mark\*\n(.+)", alert_text(payload))
        runs.append((name[1] if name else "", alert_outcome(payload), mark[1].strip("`") if mark else ""))
    return sorted(runs)


KINDS = {
    "a generator that is exhausted": (
        "@notify\ndef train():\n    for epoch in range(3):\n        note(mark=epoch)\n        yield epoch\n"
        "assert list(train()) == [0, 1, 2]",
        [("train", "finished", "2")],
    ),
    "a generator that is left early": (
        "@notify\ndef train():\n    for epoch in range(9):\n        note(mark=epoch)\n        yield epoch\n"
        "for epoch in train():\n    if epoch == 1: break\n",
        [("train", "finished", "1")],
    ),
    "a generator that fails later": (
        "@notify\ndef train():\n    yield 1\n    raise ValueError\ntry: list(train())\nexcept ValueError: pass",
        [("train", "failed", "")],
    ),
    "a generator that is never begun": ("@notify\ndef train():\n    yield\ntrain()", []),
    "what a generator is sent and thrown": (
        "@notify\ndef train():\n    got = yield 1\n    try: yield got\n    except KeyError: yield 'caught'\n"
        "    return 'end'\none = train(); assert (next(one), one.send(2), one.throw(KeyError())) == (1, 2, 'caught')\n"
        "try: next(one)\nexcept StopIteration as stop: assert stop.value == 'end'",
        [("train", "finished", "")],
    ),
    "the consumer's notes between two steps": (
        "@notify\ndef batches():\n    for n in range(3): note(mark='inner'); yield n\n"
        "with notify('outer'):\n    for n in batches(): note(mark=f'outer {n}')",
        [("batches", "finished", "inner"), ("outer", "finished", "outer 2")],
    ),
    "an async generator": (
        "@notify\nasync def train():\n    for n in range(3): note(mark=n); yield n\n"
        "async def main(): return [n async for n in train()]\nassert asyncio.run(main()) == [0, 1, 2]",
        [("train", "finished", "2")],
    ),
    "an async generator that is left early and fails elsewhere": (
        "@notify\nasync def train():\n    try:\n        yield 1\n        yield 2\n    finally: note(mark='closed')\n"
        "async def main():\n    one = train()\n    async for n in one: break\n    await one.aclose()\n"
        "    async for n in failing(): pass\n"
        "@notify\nasync def failing():\n    yield 1\n    [][0]\n"
        "try: asyncio.run(main())\nexcept IndexError: pass",
        [("failing", "failed", ""), ("train", "finished", "closed")],
    ),
    "an async generator that is sent to and thrown at": (
        "@notify\nasync def train():\n    got = yield 1\n    try: yield got\n    except KeyError: yield 'caught'\n"
        "async def main():\n    one = train()\n"
        "    assert [await one.asend(None), await one.asend(2), await one.athrow(KeyError())] == [1, 2, 'caught']\n"
        "    assert [n async for n in one] == []\nasyncio.run(main())",
        [("train", "finished", "")],
    ),
    "a function that returns a coroutine": (
        "async def train(n):\n    await asyncio.sleep(0.01)\n    note(mark=n)\n    return n\n"
        "one = notify('one')(lambda: train(1))\nassert asyncio.run(one()) == 1\n"
        "two = notify(functools.partial(train, 2))\n"
        "assert asyncio.iscoroutinefunction(two) and asyncio.run(two()) == 2\n"
        "async def failing(): await asyncio.sleep(0.01); [][0]\n"
        "try: asyncio.run(notify('three')(lambda: failing())())\nexcept IndexError: pass",
        [("one", "finished", "1"), ("three", "failed", ""), ("train", "finished", "2")],
    ),
    "a function that returns a task": (
        "async def train(): await asyncio.sleep(0.01); [][0]\n"
        "async def main():\n    task = notify('task')(lambda: asyncio.create_task(train()))()\n"
        "    assert isinstance(task, asyncio.Task)\n    await asyncio.wait([task])\n    task.exception()\n"
        "asyncio.run(main())",
        [("task", "failed", "")],
    ),
    "callable objects and partials": (
        "class Trainer:\n    def __call__(self, n): note(mark=n); return n\n    def fit(self): note(mark='fit')\n"
        "    loss = 7\n"
        "one = notify(Trainer())\nassert (one(1), one.loss) == (1, 7)\nnotify(Trainer().fit)()\n"
        "assert notify('partial')(functools.partial(Trainer(), 2))() == 2",
        [("Trainer", "finished", "1"), ("Trainer.fit", "finished", "fit"), ("partial", "finished", "2")],
    ),
    "an async callable object": (
        "class Trainer:\n    async def __call__(self): await asyncio.sleep(0); note(mark=1); return 1\n"
        "assert asyncio.run(notify(Trainer())()) == 1",
        [("Trainer", "finished", "1")],
    ),
    "methods of every kind": (
        "class T:\n    @notify\n    @staticmethod\n    def a(): return 1\n    @notify('b')\n    @classmethod\n"
        "    def b(cls): return cls\n    @staticmethod\n    @notify\n    def c(): return 3\n    @notify\n"
        "    @functools.lru_cache\n    def d(self): return self\n"
        "t = T(); assert (t.a(), T.b(), t.c(), t.d()) == (1, T, 3, t)\nassert T.d.cache_info().misses == 1",
        [("T.a", "finished", ""), ("T.c", "finished", ""), ("T.d", "finished", ""), ("b", "finished", "")],
    ),
    "options with a function": ("notify(lambda: None, min='1h')()\nnotify(print, on='error')()", []),
    "one object one after the other, and nested": (
        "n = notify('n')\nwith n: note(mark=1)\nwith n:\n    note(mark=2)\n    with n: note(mark=3)\n    note(mark=4)",
        [("n", "finished", "1"), ("n", "finished", "3"), ("n", "finished", "4")],
    ),
    "one object in nested blocks that end differently": (
        "n = notify('n')\nwith n:\n    note(mark='outer')\n    try:\n        with n: note(mark='inner'); [][0]\n"
        "    except IndexError: pass",
        [("n", "failed", "inner"), ("n", "finished", "outer")],
    ),
    "one object in threads": (
        "n, barrier = notify('n'), threading.Barrier(2)\n"
        "def work(k):\n    try:\n        with n:\n            barrier.wait(); note(mark=k); barrier.wait()\n"
        "            if k: [][0]\n    except IndexError: pass\n"
        "ts = [threading.Thread(target=work, args=(k,)) for k in (0, 1)]\n"
        "for t in ts: t.start()\nfor t in ts: t.join()",
        [("n", "failed", "1"), ("n", "finished", "0")],
    ),
    "one object in tasks": (
        "n = notify('n')\nasync def work(k):\n    async with n:\n        await asyncio.sleep(0.01 * k); note(mark=k)\n"
        "        await asyncio.sleep(0.05 - 0.01 * k)\n        if k == 1: [][0]\n"
        "async def main(): await asyncio.gather(*map(work, range(3)), return_exceptions=True)\nasyncio.run(main())",
        [("n", "failed", "1"), ("n", "finished", "0"), ("n", "finished", "2")],
    ),
    "one object in generators that take turns": (
        "n = notify('n')\ndef work(k):\n    with n:\n        yield\n        if k == 0: raise ValueError\n"
        "a, b = work(0), work(1)\nnext(a); next(b)\ntry: next(a)\nexcept ValueError: pass\nb.close()",
        [("n", "failed", ""), ("n", "finished", "")],
    ),
    "an exit stack, left in another thread": (
        "import contextlib\nstack = contextlib.ExitStack()\nstack.enter_context(notify('n'))\n"
        "t = threading.Thread(target=stack.close); t.start(); t.join()",
        [("n", "finished", "")],
    ),
    "a thread without a run of its own": (
        "def work(): note(mark='thread')\n"
        "with notify('n'):\n    t = threading.Thread(target=work); t.start(); t.join()",
        [("n", "finished", "thread")],
    ),
    "an exit that was never entered": ("notify('n').__exit__(None, None, None)", []),
    "the arguments of a program are gone": (
        "import sys\nsys.argv.clear()\nwith notify(): pass",
        [("python", "finished", "")],
    ),
}


@pytest.mark.parametrize(("code", "runs"), KINDS.values(), ids=KINDS)
def test_each_use_is_separate_run(code: str, runs: list[tuple[str, str, str]], world: World, slack: Slack) -> None:
    assert run_and_read_alerts(world, slack, code) == runs


COMMAND = """
import click
@notify
@click.command()
@click.option('--lr', type=float)
def train(lr):
    note(mark=lr)
    raise click.ClickException('no data')
assert isinstance(train, click.Command)
train(['--lr', '0.5'])
"""


def test_decorated_command_stays_command(world: World, slack: Slack) -> None:
    assert run_and_read_alerts(world, slack, COMMAND, exit_code=1) == [("train", "failed", "0.5")]


# Decorated objects, without a run


@click.command()
@click.argument("name")
def greet(name: str) -> None:
    """Greet."""
    click.echo(f"hello {name}")


def batches(size: int = 3) -> Any:
    """All batches."""
    yield from range(size)


async def load(path: str) -> str:
    """Load it."""
    return path


async def stream(path: str) -> Any:
    """Stream it."""
    yield path


def train(model: int, *, lr: float = 0.1) -> int:
    """Train it."""
    return model


@pytest.mark.parametrize("function", [batches, load, stream, train])
def test_decorated_function_keeps_its_kind(function: Any) -> None:
    decorated = notify(function)

    assert (getattr(decorated, "__name__", ""), decorated.__doc__) == (function.__name__, function.__doc__)
    assert inspect.signature(decorated) == inspect.signature(function)
    for kind in (
        inspect.iscoroutinefunction,
        inspect.isgeneratorfunction,
        inspect.isasyncgenfunction,
        inspect.isfunction,
        asyncio.iscoroutinefunction,
    ):
        assert kind(decorated) == kind(function)


def test_decorated_command_parses_as_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CWNOTIFY_STATE_DIR", str(tmp_path))
    usage = CliRunner().invoke(cast(click.Command, notify(greet)), ["--help"]).output

    assert "Usage: greet [OPTIONS] NAME" in usage
    assert "Greet." in usage


@pytest.mark.parametrize(
    ("target", "advice"),
    [
        (type("Trainer", (), {}), "cannot decorate a class (Trainer); put it above the method"),
        (property(lambda self: 1), "a property is not one; put it directly above `def`"),
        (3, "an? int is not one"),
        (functools.partialmethod(train), "a partialmethod is not one"),
        (
            type("RemoteFunction", (), {"remote": train, "__call__": train})(),
            "put @cwnotify.notify below its decorator",
        ),
    ],
    ids=["class", "property", "number", "partialmethod", "Ray"],
)
def test_unsupported_callable_is_rejected_with_hint(target: object, advice: str) -> None:
    with pytest.raises(UsageError, match=advice.replace("(", r"\(").replace(")", r"\)")):
        notify("x")(target)  # type: ignore[type-var]


def test_decorated_object_is_recognizable() -> None:
    decorated = notify("x")(functools.lru_cache(train))

    assert inspect.signature(decorated) == inspect.signature(train)
    assert repr(decorated).startswith("<cwnotify.notify of <functools._lru_cache_wrapper")
    with pytest.raises(AttributeError):
        _ = getattr(decorated, "missing")  # noqa: B009
