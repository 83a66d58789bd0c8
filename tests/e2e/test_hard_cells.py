"""Cells that are hard on us, and secrets in them: the cell is untouched, Slack is told, and no secret goes astray."""

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
    with Slack() as one:
        yield one


@pytest.fixture(scope="module")
def world(slack: Slack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with World(tmp_path_factory.mktemp("world"), slack.url) as one:
        yield one


@pytest.fixture
def kernel(world: World) -> Iterator[Kernel]:
    """A kernel for one cell, for the cell may ruin it."""
    with Kernel(world) as one:
        one.run("%load_ext cwnotify")
        yield one


@dataclass(frozen=True)
class Hard:
    """A cell's body, the options in its header, how it ends, and what the alert says."""

    body: str
    word: str = "finished"
    says: str = ""
    options: str = ""


RAISES = "class Odd(Exception):\n    def __str__(self):\n        {}\nraise Odd"
HARD = {
    "10 MB printed": Hard(
        "for _ in range(1000):\n    print('x' * 10_000)\nprint('the end')", says="the end", options="--tail 1"
    ),
    "str raises": Hard(RAISES.format("raise KeyError(3)"), "failed", "KeyError"),
    "str of 50 MB": Hard("raise ValueError('y' * 50_000_000)", "failed", "yyyy"),
    "lone surrogate": Hard("x = '\\ud800'", says="\N{REPLACEMENT CHARACTER}", options="--show x"),
    "NUL, reversed text": Hard("raise ValueError('\\x00 \\u202e')", "failed", "ValueError"),
    "markup": Hard("raise ValueError('</script> <!channel> ``` <https://evil.example|x>')", "failed", "</script>"),
    "colours": Hard("raise ValueError('\\x1b[31mred\\x1b[0m')", "failed", "ValueError: red"),
    "show that raises": Hard("x = 1", says="ZeroDivisionError", options="--show 1/0"),
    "show that recurses": Hard("def f():\n    return f()", says="RecursionError", options="--show f()"),
    "show that sleeps": Hard("import time", says="TimeoutError", options="--show time.sleep(600)"),
    "show that waits for a lock": Hard(
        "import threading\nlock = threading.Lock()\nlock.acquire()",
        says="TimeoutError",
        options="--show lock.acquire()",
    ),
    "show that never ends": Hard("def f():\n    while True: pass", says="TimeoutError", options="--show f()"),
    "str that is slow for us": Hard(
        "import sys, time\n"
        + RAISES.format(
            "time.sleep(600 * sys._getframe(1).f_code.co_filename.endswith('runs/exceptions.py')); return 'slow'"
        ),
        "failed",
        "its message cannot be shown",
    ),
    "modules gone": Hard(
        "import sys\nfor n in [n for n in sys.modules if n.startswith('cwnotify')]:\n    del sys.modules[n]"
    ),
    "environment gone": Hard("import os\nos.environ.clear()"),
    "another directory": Hard("import os\nos.chdir('/')"),
    "streams replaced": Hard("import io, sys\nsys.stdout = io.StringIO()\nsys.stderr = None"),
    "alarm": Hard(
        "import signal, time\nsignal.signal(signal.SIGALRM, lambda *_: 1 / 0)\nsignal.alarm(1)\ntime.sleep(10)",
        "failed",
        "ZeroDivisionError",
    ),
    "clocks stopped": Hard("import time\ntime.time = time.monotonic = lambda: 0.0"),
    "faulthandler": Hard(
        "import faulthandler\nfaulthandler.enable(open('fault', 'w'))\nfaulthandler.dump_traceback_later(60)"
    ),
    "no more threads": Hard(
        "import threading\ndef no(self):\n    raise RuntimeError('no thread is left')\n"
        "threading.Thread.start = no\nthreading.Thread().start()",
        "failed",
        "no thread is left",
    ),
    "notes that end and block": Hard(
        "import cwnotify, time\nclass Exits:\n    def __str__(self):\n        raise SystemExit\n"
        "class Blocks:\n    def __str__(self):\n        time.sleep(600)\n"
        "try:\n    cwnotify.note(a=Exits(), b=Blocks())\nexcept SystemExit:\n    pass",
        says="SystemExit",
    ),
    "a script that fails": Hard("open('broken.py', 'w').write('1 / 0')\n%run broken.py", "failed", "ZeroDivisionError"),
    "loaded anew": Hard("%reload_ext cwnotify"),
    "no more processes": Hard("import resource\nresource.setrlimit(resource.RLIMIT_NPROC, (0, 0))"),
}


@pytest.mark.parametrize("hard", HARD.values(), ids=HARD)
def test_hard_cell_is_reported_and_unchanged(hard: Hard, kernel: Kernel, slack: Slack) -> None:
    name = next(NAMES)
    result = kernel.run(f"%%notify_on_finish {name} {hard.options}\n{hard.body}")
    told = wait_for_alert(slack, name, 20)

    # IPython shows a script's error, and goes on.
    assert result.status == ("error" if hard.word == "failed" and "%run" not in hard.body else "ok")
    assert alert_outcome(told) == hard.word
    assert hard.says in alert_text(told)
    assert_valid_payload(told)


def test_cell_without_descriptor_is_reported_when_one_is_free(kernel: Kernel, slack: Slack) -> None:
    name = next(NAMES)
    kernel.run("import resource\nlimit = resource.getrlimit(resource.RLIMIT_NOFILE)")
    few = kernel.run(f"%%notify_on_finish {name}\nresource.setrlimit(resource.RLIMIT_NOFILE, (3, limit[1]))\n40 + 2")
    kernel.run("resource.setrlimit(resource.RLIMIT_NOFILE, limit)")

    assert (few.status, few.values, few.text) == ("ok", ["42"], "")
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
        # A new program may have a quarter of the stack for its environment.
        kernel.run("import resource\nresource.setrlimit(resource.RLIMIT_STACK, (1 << 20, resource.RLIM_INFINITY))")
        result = kernel.run(f"%%notify_on_finish {next(NAMES)}\n40 + 2")

    assert result.values == ["42"]
    assert "could not be started" in result.text


def test_thousand_cells_are_all_reported(kernel: Kernel, slack: Slack, world: World) -> None:
    name = next(NAMES)
    kernel.run(f"for n in range(1000):\n    get_ipython().run_cell('%%notify_on_finish --min 1h {name}\\n1')", 90)

    until(lambda: len(world.outbox_messages("skipped")) >= 1000, 30, "a thousand runs in the outbox")
    assert not delivered_alerts(slack, name)


# All of ours, and none of the kernel's own sockets, which it needs to answer. By then our thread waits for answers.
CLOSES = (
    "import os, stat\nfrom cwnotify.sidecar.client import get_sidecar_client\nassert shared().wait(10)\n"
    "for number in map(int, os.listdir('/proc/self/fd')):\n"
    "    try:\n        mode = os.fstat(number).st_mode\n    except OSError:\n        continue\n"
    "    if number > 2 and stat.S_ISFIFO(mode):\n        os.close(number)\n"
)


def test_cell_that_clears_hooks_is_followed_by_warning(kernel: Kernel, slack: Slack) -> None:
    name = next(NAMES)
    kernel.run(f"%%notify_on_finish {name}a\nfor hooks in get_ipython().events.callbacks.values(): hooks.clear()")
    told = kernel.run(f"%%notify_on_finish {name}b\n40 + 2")
    mended = kernel.run("%reload_ext cwnotify")
    kernel.run(f"%%notify_on_finish {name}c")

    assert told.values == ["42"]
    assert "this will not reach Slack" in told.text
    assert (mended.status, mended.errors) == ("ok", [])
    assert alert_outcome(wait_for_alert(slack, f"{name}c")) == "finished"


def test_panel_and_extension_close_after_cleared_registrations(kernel: Kernel) -> None:
    kernel.run("import cwnotify\npanel = cwnotify.panel()")
    kernel.run("for hooks in get_ipython().events.callbacks.values(): hooks.clear()")
    kernel.run("get_ipython().input_transformers_cleanup.clear()")
    closed = [kernel.run(code) for code in ("panel.close()", "%reload_ext cwnotify", "%unload_ext cwnotify")]

    assert [(one.status, one.errors) for one in closed] == [("ok", [])] * 3


def test_detached_sidecars_leave_to_last_one(kernel: Kernel, slack: Slack, world: World) -> None:
    name = next(NAMES)
    for which in "abc":
        kernel.run(f"%%notify_on_finish {name}{which}\n{CLOSES}")
        assert alert_outcome(wait_for_alert(slack, f"{name}{which}", 20)) == "finished"
    until(lambda: len(world.sidecar_ids()) == 1, 30, "the leaving of all sidecars but one")
    kernel.submit_cell(f"%%notify_on_finish {name}d\n{LONG_RUNNING_CODE}").wait_for_output("begun")
    kernel.kill()

    assert alert_outcome(wait_for_alert(slack, f"{name}d", 20)) == "lost"
    world.wait_for_sidecars_to_exit()
    assert [len(delivered_alerts(slack, f"{name}{which}")) for which in "abcd"] == [1, 1, 1, 1]


def test_files_opened_under_our_descriptors_stay_intact(kernel: Kernel, slack: Slack, world: World) -> None:
    name = next(NAMES)
    kernel.run(f"%%notify_on_finish {name}a\n1")
    wait_for_alert(slack, f"{name}a")
    kernel.run(f"%%notify_on_finish {name}b\n{CLOSES}files = [open(f'mine{{n}}', 'w+') for n in range(40)]")
    assert alert_outcome(wait_for_alert(slack, f"{name}b", 20)) == "finished"
    kernel.run(f"%%notify_on_finish {name}c\nfor file in files:\n    file.flush()")
    wait_for_alert(slack, f"{name}c", 20)

    assert {path.read_text() for path in world.home.glob("mine*")} == {""}


def test_closing_every_descriptor_leaves_user_files_clean(slack: Slack, world: World) -> None:
    # In a program, for a kernel loses its sockets too, and ZeroMQ ends it at some moment.
    name = next(NAMES)
    body = (
        f"import os, cwnotify\nwith cwnotify.notify('{name}a'):\n    pass\nwith cwnotify.notify('{name}b'):\n"
        "    os.closerange(3, 4096)\n    files = [open(f'closed{n}', 'w') for n in range(40)]\n"
        f"with cwnotify.notify('{name}c'):\n    [print('own', file=file, flush=True) for file in files]"
    )
    done = world.execute("python", "-c", body)
    told = [alert_outcome(wait_for_alert(slack, f"{name}{part}", 30)) for part in "abc"]

    assert (done.returncode, done.stderr) == (0, "")
    assert told == ["finished"] * 3
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
    with Slack() as stranger:
        asked = [
            f"%config CWNotify.webhook = {stranger.url!r}",
            f"%config CWNotify.webhook_url = {stranger.url!r}",
            f"%%notify_on_finish --webhook {stranger.url} x\n1",
        ]
        for one in asked:
            kernel.run(one)
        kernel.run(f"%%notify_on_finish {name}\n1")
        wait_for_alert(slack, name)

        assert stranger.received == []


LEAKY = """
import logging, sys
logging.basicConfig(level=logging.DEBUG, stream=sys.stdout, force=True)
for name in ("urllib3", "botocore", "requests", "cwnotify"):
    logging.getLogger(name).setLevel(logging.DEBUG)
"""


def test_webhook_is_in_no_file_or_output(tmp_path: Path) -> None:
    with Slack() as slack, World(tmp_path, XDG_CONFIG_HOME=str(tmp_path / "config")) as world, Kernel(world) as kernel:
        kept = tmp_path / "config" / "cwnotify" / "webhook"
        kept.parent.mkdir(parents=True, mode=0o700)
        kept.touch(0o600)
        kept.write_text(slack.url)
        slack.next_answers += [slack.answer.__class__(500, "rollup_error"), slack.answer.__class__(mode="reset")]
        seen = [kernel.run("%load_ext cwnotify"), kernel.run(LEAKY)]
        path = slack.url.partition("127.0.0.1")[2].partition("/")[2]
        bodies = [
            "1",
            f"raise OSError('Max retries exceeded with url: /' + {path[:-8]!r} + {path[-8:]!r})",
            f"url = {slack.url[:-8]!r} + {slack.url[-8:]!r}",
        ]
        for number, body in enumerate(bodies):
            seen.append(kernel.run(f"%%notify_on_finish leak{number} --show globals().get('url') --tail 5\n{body}"))
        told = [wait_for_alert(slack, f"leak{number}", 20) for number in range(len(bodies))]
        seen.append(kernel.run("%config CWNotify\n%cwnotify outbox list --all\nimport cwnotify\nvars(cwnotify)"))
        (pid,) = world.sidecar_ids()
        process = b"".join(Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ"))
        files = [one for one in tmp_path.rglob("*") if one.is_file() and one != kept]
        held = {str(one.relative_to(tmp_path)) for one in files if slack.canary.encode() in one.read_bytes()}

    assert not held
    assert any("outbox.sqlite3-wal" in str(one) for one in files)
    assert slack.canary.encode() not in process
    assert not [payload for payload in told if slack.canary in str(payload)]
    assert "[removed]" in str(told[1])
    assert "[removed]" in str(told[2])
    # What the cell itself said of it is the cell's; nothing else in the notebook says it.
    own = seen.pop(3)
    assert slack.canary in str(own.outputs)
    assert not [one for one in seen if slack.canary in str(one.outputs)]


def test_webhook_variable_does_not_reach_sidecar(world: World, kernel: Kernel, slack: Slack) -> None:
    name = next(NAMES)
    kernel.run(f"%%notify_on_finish {name}\n1")
    wait_for_alert(slack, name)

    for pid in world.sidecar_ids():
        assert slack.canary.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
        # Nor would a crash leave it in a dump.
        assert re.search(r"Max core file size +[01] ", Path(f"/proc/{pid}/limits").read_text())
