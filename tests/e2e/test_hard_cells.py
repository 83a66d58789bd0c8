"""Cells that break their process or contain secrets: they behave as usual, are reported, and leak no secret."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from textwrap import indent

import pytest

from tests.slack_rules import assert_valid_payload
from tests.support.kernel import (
    LONG_RUNNING_CODE,
    Kernel,
    World,
    alert_outcome,
    alert_text,
    delivered_alerts,
    wait_for_alert,
)
from tests.support.slack import Slack
from tests.support.waiting import until

NAMES = (f"h{number}" for number in count(1))


@pytest.fixture(scope="module")
def slack() -> Iterator[Slack]:
    with Slack() as slack:
        yield slack


@pytest.fixture(scope="module")
def world(slack: Slack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with World(tmp_path_factory.mktemp("world"), slack.url) as world:
        yield world


@pytest.fixture
def kernel(world: World) -> Iterator[Kernel]:
    """Start a new kernel, because a cell may break it."""
    with Kernel(world) as kernel:
        kernel.run("%load_ext cwnotify")
        yield kernel


@dataclass(frozen=True)
class HardCell:
    """A cell's body and options, its outcome, and a text in the alert."""

    body: str
    outcome: str = "finished"
    text: str = ""
    options: str = ""


RAISES = "class Odd(Exception):\n    def __str__(self):\n        {}\nraise Odd"
HARD_CELLS = {
    "10 MB printed": HardCell(
        "for _ in range(1000):\n    print('x' * 10_000)\nprint('the end')", text="the end", options="--tail 1"
    ),
    "str raises": HardCell(RAISES.format("raise KeyError(3)"), "failed", "KeyError"),
    "str of 10 MB": HardCell("raise ValueError('y' * 10_000_000)", "failed", "yyyy"),
    "lone surrogate": HardCell("x = '\\ud800'", text="\N{REPLACEMENT CHARACTER}", options="--show x"),
    "NUL, reversed text": HardCell("raise ValueError('\\x00 \\u202e')", "failed", "ValueError"),
    "markup": HardCell("raise ValueError('</script> <!channel> ``` <https://evil.example|x>')", "failed", "</script>"),
    "colours": HardCell("raise ValueError('\\x1b[31mred\\x1b[0m')", "failed", "ValueError: red"),
    "show that raises": HardCell("x = 1", text="ZeroDivisionError", options="--show 1/0"),
    "show that recurses": HardCell("def f():\n    return f()", text="RecursionError", options="--show f()"),
    "show that sleeps": HardCell("import time", text="TimeoutError", options="--show time.sleep(600)"),
    "show that waits for a lock": HardCell(
        "import threading\nlock = threading.Lock()\nlock.acquire()",
        text="TimeoutError",
        options="--show lock.acquire()",
    ),
    "show that never ends": HardCell("def f():\n    while True: pass", text="TimeoutError", options="--show f()"),
    "str that is slow for us": HardCell(
        "import sys, time\n"
        + RAISES.format(
            "time.sleep(600 * sys._getframe(1).f_code.co_filename.endswith('runs/exceptions.py')); return 'slow'"
        ),
        "failed",
        "its message cannot be shown",
    ),
    "modules gone": HardCell(
        "import sys\nfor n in [n for n in sys.modules if n.startswith('cwnotify')]:\n    del sys.modules[n]"
    ),
    "environment gone": HardCell("import os\nos.environ.clear()"),
    "another directory": HardCell("import os\nos.chdir('/')"),
    "streams replaced": HardCell("import io, sys\nsys.stdout = io.StringIO()\nsys.stderr = None"),
    "alarm": HardCell(
        "import signal, time\nsignal.signal(signal.SIGALRM, lambda *_: 1 / 0)\nsignal.alarm(1)\ntime.sleep(10)",
        "failed",
        "ZeroDivisionError",
    ),
    "clocks stopped": HardCell("import time\ntime.time = time.monotonic = lambda: 0.0"),
    "faulthandler": HardCell(
        "import faulthandler\nfaulthandler.enable(open('fault', 'w'))\nfaulthandler.dump_traceback_later(60)"
    ),
    "no more threads": HardCell(
        "import threading\ndef no(self):\n    raise RuntimeError('no thread is left')\n"
        "threading.Thread.start = no\nthreading.Thread().start()",
        "failed",
        "no thread is left",
    ),
    "notes that end and block": HardCell(
        "import cwnotify, time\nclass Exits:\n    def __str__(self):\n        raise SystemExit\n"
        "class Blocks:\n    def __str__(self):\n        time.sleep(600)\n"
        "try:\n    cwnotify.note(a=Exits(), b=Blocks())\nexcept SystemExit:\n    pass",
        text="SystemExit",
    ),
    "a script that fails": HardCell(
        "open('broken.py', 'w').write('1 / 0')\n%run broken.py", "failed", "ZeroDivisionError"
    ),
    "loaded again": HardCell("%reload_ext cwnotify"),
    "no more processes": HardCell("import resource\nresource.setrlimit(resource.RLIMIT_NPROC, (0, 0))"),
}


@pytest.mark.parametrize("case", HARD_CELLS.values(), ids=HARD_CELLS)
def test_hard_cell_is_reported_and_unchanged(case: HardCell, kernel: Kernel, slack: Slack) -> None:
    name = next(NAMES)
    result = kernel.run(f"%%notify_on_finish {name} {case.options}\n{case.body}")
    alert = wait_for_alert(slack, name, 20)

    # IPython displays a script's error, but the cell succeeds.
    assert result.status == ("error" if case.outcome == "failed" and "%run" not in case.body else "ok")
    assert alert_outcome(alert) == case.outcome
    assert case.text in alert_text(alert)
    assert_valid_payload(alert)


def test_cell_without_descriptor_is_reported_when_one_is_free(kernel: Kernel, slack: Slack) -> None:
    name = next(NAMES)
    kernel.run("import resource\nlimit = resource.getrlimit(resource.RLIMIT_NOFILE)")
    result = kernel.run(f"%%notify_on_finish {name}\nresource.setrlimit(resource.RLIMIT_NOFILE, (3, limit[1]))\n40 + 2")
    kernel.run("resource.setrlimit(resource.RLIMIT_NOFILE, limit)")

    assert (result.status, result.values, result.text) == ("ok", ["42"], "")
    assert alert_outcome(wait_for_alert(slack, name, 40)) == "finished"


def test_sidecar_starts_from_exhausted_process(kernel: Kernel, slack: Slack, world: World) -> None:
    name = next(NAMES)
    (world.home / "own").mkdir()
    (world.home / "own" / "requests.py").write_text("raise SystemExit")
    kernel.run(
        "import os, sys\nos.environ['PYTHONPATH'] = os.path.abspath('own')\nsys.executable = ''\n"
        "for n in range(40):\n    os.environ[f'LARGE{n}'] = 120_000 * 'x'"
    )
    kernel.run(f"%%notify_on_finish {name}\n1")

    assert alert_outcome(wait_for_alert(slack, name, 20)) == "finished"


def test_sidecar_start_failure_is_printed(tmp_path: Path, slack: Slack) -> None:
    large = {f"LARGE{n}": 1_000 * "x" for n in range(1000)}
    with World(tmp_path, slack.url, **large) as world, Kernel(world) as kernel:
        kernel.run("%load_ext cwnotify")
        # Linux lets the environment of a new program take a quarter of the stack.
        kernel.run("import resource\nresource.setrlimit(resource.RLIMIT_STACK, (1 << 20, resource.RLIM_INFINITY))")
        result = kernel.run(f"%%notify_on_finish {next(NAMES)}\n40 + 2")

    assert result.values == ["42"]
    assert "could not be started" in result.text


def test_thousand_cells_are_all_reported(kernel: Kernel, slack: Slack, world: World) -> None:
    name = next(NAMES)
    kernel.run(f"for n in range(1000):\n    get_ipython().run_cell('%%notify_on_finish --min 1h {name}\\n1')", 90)

    until(lambda: len(world.outbox_messages("skipped")) >= 1000, 30, "a thousand runs in the outbox")
    assert not delivered_alerts(slack, name)


# Closes all descriptors of cwnotify, which are pipes, but not the kernel's sockets. The reader thread is idle by then.
CLOSE_PIPES = (
    "import os, stat\nfrom cwnotify.sidecar.client import get_sidecar_client\n"
    "assert get_sidecar_client().wait_until_stored(10)\n"
    "for number in map(int, os.listdir('/proc/self/fd')):\n"
    "    try:\n        mode = os.fstat(number).st_mode\n    except OSError:\n        continue\n"
    "    if number > 2 and stat.S_ISFIFO(mode):\n        os.close(number)\n"
)


def test_cell_that_clears_hooks_is_followed_by_warning(kernel: Kernel, slack: Slack) -> None:
    name = next(NAMES)
    kernel.run(f"%%notify_on_finish {name}a\nfor hooks in get_ipython().events.callbacks.values(): hooks.clear()")
    result = kernel.run(f"%%notify_on_finish {name}b\n40 + 2")
    reloaded = kernel.run("%reload_ext cwnotify")
    kernel.run(f"%%notify_on_finish {name}c")

    assert result.values == ["42"]
    assert "this will not reach Slack" in result.text
    assert (reloaded.status, reloaded.errors) == ("ok", [])
    assert alert_outcome(wait_for_alert(slack, f"{name}c")) == "finished"


def test_panel_and_extension_close_after_cleared_registrations(kernel: Kernel) -> None:
    kernel.run("import cwnotify\npanel = cwnotify.panel()")
    kernel.run("for hooks in get_ipython().events.callbacks.values(): hooks.clear()")
    kernel.run("get_ipython().input_transformers_cleanup.clear()")
    results = [kernel.run(code) for code in ("panel.close()", "%reload_ext cwnotify", "%unload_ext cwnotify")]

    assert [(result.status, result.errors) for result in results] == [("ok", [])] * 3


def test_detached_sidecars_leave_to_last_one(kernel: Kernel, slack: Slack, world: World) -> None:
    name = next(NAMES)
    for letter in "abc":
        kernel.run(f"%%notify_on_finish {name}{letter}\n{CLOSE_PIPES}")
        assert alert_outcome(wait_for_alert(slack, f"{name}{letter}", 20)) == "finished"
    until(lambda: len(world.sidecar_ids()) == 1, 30, "the exit of all sidecars but one")
    kernel.submit_cell(f"%%notify_on_finish {name}d\n{LONG_RUNNING_CODE}").wait_for_output("begun")
    kernel.kill()

    assert alert_outcome(wait_for_alert(slack, f"{name}d", 20)) == "lost"
    world.wait_for_sidecars_to_exit()
    assert [len(delivered_alerts(slack, f"{name}{letter}")) for letter in "abcd"] == [1, 1, 1, 1]


def test_files_opened_under_our_descriptors_stay_intact(kernel: Kernel, slack: Slack, world: World) -> None:
    name = next(NAMES)
    kernel.run(f"%%notify_on_finish {name}a\n1")
    wait_for_alert(slack, f"{name}a")
    kernel.run(f"%%notify_on_finish {name}b\n{CLOSE_PIPES}files = [open(f'mine{{n}}', 'w+') for n in range(40)]")
    assert alert_outcome(wait_for_alert(slack, f"{name}b", 20)) == "finished"
    kernel.run(f"%%notify_on_finish {name}c\nfor file in files:\n    file.flush()")
    wait_for_alert(slack, f"{name}c", 20)

    assert {path.read_text() for path in world.home.glob("mine*")} == {""}


def test_closing_every_descriptor_leaves_user_files_clean(slack: Slack, world: World) -> None:
    # In a program, because ZeroMQ aborts a kernel without its sockets.
    name = next(NAMES)
    body = (
        f"import os, cwnotify\nwith cwnotify.notify('{name}a'):\n    pass\nwith cwnotify.notify('{name}b'):\n"
        "    os.closerange(3, 4096)\n    files = [open(f'closed{n}', 'w') for n in range(40)]\n"
        f"with cwnotify.notify('{name}c'):\n    [print('own', file=file, flush=True) for file in files]"
    )
    result = world.execute("python", "-c", body)
    outcomes = [alert_outcome(wait_for_alert(slack, f"{name}{part}", 30)) for part in "abc"]

    assert (result.returncode, result.stderr) == (0, "")
    assert outcomes == ["finished"] * 3
    assert [path.read_text() for path in world.home.glob("closed*")] == ["own\n"] * 40


def test_interrupt_during_value_evaluation_ends_only_that(kernel: Kernel, slack: Slack) -> None:
    name = next(NAMES)
    cell = kernel.submit_cell(
        f"%%notify_on_finish {name} --show wait()\ndef wait():\n{indent(LONG_RUNNING_CODE, '    ')}"
    )
    cell.wait_for_output("begun")
    kernel.interrupt()

    assert cell.result().status == "ok"
    assert "KeyboardInterrupt" in alert_text(wait_for_alert(slack, name))
    assert kernel.run("import signal, time\ntime.sleep(3)\nsignal.getsignal(signal.SIGINT)").status == "ok"


# Secrets


def test_notebook_cannot_redirect_alerts(kernel: Kernel, slack: Slack) -> None:
    name = next(NAMES)
    with Slack() as other:
        cells = [
            f"%config CWNotify.webhook = {other.url!r}",
            f"%config CWNotify.webhook_url = {other.url!r}",
            f"%%notify_on_finish --webhook {other.url} x\n1",
        ]
        for cell in cells:
            kernel.run(cell)
        kernel.run(f"%%notify_on_finish {name}\n1")
        wait_for_alert(slack, name)

        assert other.received == []


DEBUG_LOGGING = """
import logging, sys
logging.basicConfig(level=logging.DEBUG, stream=sys.stdout, force=True)
for name in ("urllib3", "botocore", "requests", "cwnotify"):
    logging.getLogger(name).setLevel(logging.DEBUG)
"""


def test_webhook_is_in_no_file_or_output(tmp_path: Path) -> None:
    with Slack() as slack, World(tmp_path, XDG_CONFIG_HOME=str(tmp_path / "config")) as world, Kernel(world) as kernel:
        webhook_file = tmp_path / "config" / "cwnotify" / "webhook"
        webhook_file.parent.mkdir(parents=True, mode=0o700)
        webhook_file.touch(0o600)
        webhook_file.write_text(slack.url)
        slack.next_answers += [slack.answer.__class__(500, "rollup_error"), slack.answer.__class__(mode="reset")]
        results = [kernel.run("%load_ext cwnotify"), kernel.run(DEBUG_LOGGING)]
        path = slack.url.partition("127.0.0.1")[2].partition("/")[2]
        bodies = [
            "1",
            f"raise OSError('Max retries exceeded with url: /' + {path[:-8]!r} + {path[-8:]!r})",
            f"url = {slack.url[:-8]!r} + {slack.url[-8:]!r}",
        ]
        for number, body in enumerate(bodies):
            results.append(kernel.run(f"%%notify_on_finish leak{number} --show globals().get('url') --tail 5\n{body}"))
        alerts = [wait_for_alert(slack, f"leak{number}", 20) for number in range(len(bodies))]
        results.append(kernel.run("%config CWNotify\n%cwnotify outbox list --all\nimport cwnotify\nvars(cwnotify)"))
        (pid,) = world.sidecar_ids()
        process = b"".join(Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ"))
        files = [path for path in tmp_path.rglob("*") if path.is_file() and path != webhook_file]
        leaks = [str(path.relative_to(tmp_path)) for path in files if slack.canary.encode() in path.read_bytes()]

    assert not leaks
    assert any(path.name == "outbox.sqlite3-wal" for path in files)
    assert slack.canary.encode() not in process
    assert not [payload for payload in alerts if slack.canary in str(payload)]
    assert "[removed]" in str(alerts[1])
    assert "[removed]" in str(alerts[2])
    # The cell printed the webhook in its own traceback. No other output contains it.
    failed_cell = results.pop(3)
    assert slack.canary in str(failed_cell.outputs)
    assert not [result for result in results if slack.canary in str(result.outputs)]


def test_webhook_variable_does_not_reach_sidecar(world: World, kernel: Kernel, slack: Slack) -> None:
    name = next(NAMES)
    kernel.run(f"%%notify_on_finish {name}\n1")
    wait_for_alert(slack, name)

    for pid in world.sidecar_ids():
        assert slack.canary.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
        # A crash must not write it into a core dump.
        assert re.search(r"Max core file size +[01] ", Path(f"/proc/{pid}/limits").read_text())
