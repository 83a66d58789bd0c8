"""The panel in a real kernel without a page: what it leaves alone, what it leaves behind, what it shows as text."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from tests.support.kernel import ROOT, Kernel, World

OPEN = """
import time
import cwnotify
from tests.support.panel_feed import PanelFeed
feed = globals().get("feed") or Feed("well")

def settled(condition, seconds=40):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)

def updates(panel, count):
    seen = set()
    settled(lambda: seen.add(panel._rendered.snapshot.at) or len(seen) > count)
"""
# A link that says what a test gives it to say, after a first word if it has one.
SILENT = """
import cwnotify
from cwnotify.alerts.serialization import to_json_dict
from tests.support.panel_feed import healthy_snapshot
def line(at, **pictures):
    return {"snapshot": to_record(well(at)), **pictures}
class Quiet:
    first = None
    told = []
    def aim(self, webhook): pass
    def watch(self, id, request, heard):
        self.told.append(("watch", id))
        self.heard = heard
        print("watched", flush=True)
        if self.first:
            heard(self.first)
    def unwatch(self, id): self.told.append(("unwatch", id))
    def command(self, kind, **values): self.told.append((kind, values))
quiet = Quiet()
"""
QUIET = SILENT + "quiet.first = line(1795400647.0, light='bGlnaHQ=', dark='ZGFyaw==')\n"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path / "world", PYTHONPATH=str(ROOT)) as one:
        yield one


@pytest.fixture
def kernel(world: World) -> Iterator[Kernel]:
    with Kernel(world) as one:
        yield one


def said(kernel: Kernel, expression: str) -> str:
    """The value of an expression in the kernel."""
    result = kernel.run(f"print(({expression}))")
    assert result.status == "ok", result.errors
    return result.stdout.strip()


STATE = """
import asyncio, logging, random, signal, sys, warnings
import matplotlib, matplotlib.pyplot as plt, numpy as np

def state():
    return {
        "rcParams": dict(matplotlib.rcParams),
        "backend": matplotlib.get_backend(),
        "figures": plt.get_fignums(),
        "axes": [len(plt.figure(n).axes) for n in plt.get_fignums()],
        "random": random.getstate(),
        "numpy": np.random.get_state()[1].tolist(),
        "filters": list(warnings.filters),
        "signals": [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGALRM)],
        "loop": (id(asyncio.get_event_loop()), type(asyncio.get_event_loop_policy())),
        "streams": (sys.stdout, sys.stderr, sys.stdin, sys.displayhook, sys.excepthook),
        "loggers": {name: (one.level, list(one.handlers)) for name, one in logging.root.manager.loggerDict.items()
                    if isinstance(one, logging.Logger) and name not in seen_later},
        "root logger": (logging.root.level, list(logging.root.handlers)),
        "locals": sorted(name for name in globals() if not name.startswith("_")),
    }
seen_later = {"Comm", "ipywidgets"}
before = after = None
import ipywidgets
random.seed(1); np.random.seed(2)
"""


def test_panel_leaves_training_process_untouched(kernel: Kernel) -> None:
    kernel.run(STATE)
    kernel.run(OPEN + "panel = None; plt.plot([1, 2]); before = state()")
    kernel.run("plt.plot([1, 2]); panel = cwnotify.panel(link=feed)\nupdates(panel, 4)\nafter = state()")
    changed = "[name for name in before if before[name] != after[name]]"

    assert said(kernel, "before['figures']") == "[1]"
    assert said(kernel, changed) == "[]"
    kernel.run("plt.plot([1, 2]); panel.close(); after = state()")
    assert said(kernel, changed) == "[]"


def test_panel_imports_nothing_heavy_and_uses_little_memory(kernel: Kernel) -> None:
    kernel.run("import ipywidgets, os, sys\ndisplay(ipywidgets.VBox([ipywidgets.Button(), ipywidgets.Image()]))")
    kernel.run(OPEN)
    kernel.run("""
loaded = set(sys.modules)
def rss():
    return int(open('/proc/self/statm').read().split()[1]) * os.sysconf('SC_PAGE_SIZE') / 1e6
""")
    kernel.run("before = rss()\npanel = cwnotify.panel(link=feed)\nupdates(panel, 12)\nafter = rss()")

    heavy = "boto3 botocore requests urllib3 matplotlib numpy PIL psutil"
    assert said(kernel, f"[name for name in {heavy.split()} if name in set(sys.modules) - loaded]") == "[]"
    assert float(said(kernel, "after - before")) < 5


def test_closing_panel_leaks_nothing(kernel: Kernel) -> None:
    look = """
import gc, threading
from ipywidgets.widgets.widget import _instances
def look():
    gc.collect()
    shell = get_ipython()
    return {
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "widgets": len(_instances),
        "comms": len(shell.kernel.comm_manager.comms),
        "hooks": {name: len(hooks) for name, hooks in shell.events.callbacks.items()},
        "watched": len(feed._heard),
        "panels": len(__import__("cwnotify.notebook.live_panel").notebook.live_panel._open),
    }
"""
    kernel.run(OPEN + look)
    kernel.run("cwnotify.panel(link=feed).close(); before = look()")
    for _ in range(3):
        kernel.run("panel = cwnotify.panel(link=feed)\nupdates(panel, 1)\npanel.close()\npanel.close()")

    assert said(kernel, "[name for name, seen in look().items() if seen != before[name]]") == "[]"


def test_opening_shows_widget_and_stored_picture(kernel: Kernel) -> None:
    kernel.run(OPEN)
    result = kernel.run("cwnotify.panel(link=feed)")
    live, kept = (one["data"] for one in result.outputs)

    assert result.status == "ok"
    assert set(live) == {"application/vnd.jupyter.widget-view+json", "text/plain"}
    assert set(kept) == {"text/html", "image/png", "text/plain"}
    assert "train-off · ALARM since" in kept["text/plain"]
    assert result.values == [], "as a cell's value it shows nothing more"


def test_quiet_sidecar_blocks_nothing(kernel: Kernel) -> None:
    kernel.run(SILENT)
    result = kernel.run("panel = cwnotify.panel(link=quiet)", seconds=10)

    assert result.status == "ok"
    assert "nothing read yet" in result.displays[1]


def test_interrupt_while_opening_leaves_nothing(kernel: Kernel) -> None:
    kernel.run(SILENT + "import cwnotify.notebook.live_panel as live")
    cell = kernel.submit_cell("cwnotify.panel(link=quiet)")
    cell.wait_for_output("watched")
    kernel.interrupt()

    assert cell.result().error.name == "KeyboardInterrupt"
    assert said(kernel, "live._open, [kind for kind, _ in quiet.told]") == "([], ['watch', 'unwatch'])"


def test_invalid_lines_are_skipped(kernel: Kernel) -> None:
    kernel.run(QUIET + "panel = cwnotify.panel(link=quiet)")
    lines = "{}, {'snapshot': None}, {'snapshot': {'at': 'x'}}, {'snapshot': {}, 'light': '!'}"
    kernel.run(f"for one in ({lines}): quiet.heard(one)")
    kernel.run("quiet.heard(line(1795400657.0))")

    assert said(kernel, "panel._rendered.snapshot.at, panel._rendered.light") == "(1795400657.0, b'light')"


def test_buttons_send_commands(kernel: Kernel) -> None:
    kernel.run(QUIET + "panel = cwnotify.panel(link=quiet)\nbuttons = panel._view._buttons\nquiet.told.clear()")
    kernel.run("for name in ('12 h', 'Refresh', 'Send a test', 'Mute 1 h', 'Close'): buttons[name].click()")
    told = said(kernel, "[one[0] for one in quiet.told], panel.request.span, quiet.told[3][1]")

    assert told == "(['watch', 'refresh', 'greet', 'mute', 'unwatch'], 43200.0, {'seconds': 3600.0})"


def test_unload_closes_panel(kernel: Kernel) -> None:
    kernel.run("%load_ext cwnotify")
    kernel.run(QUIET + "panel = cwnotify.panel(link=quiet)")
    kernel.run("%unload_ext cwnotify")

    assert said(kernel, "[kind for kind, _ in quiet.told]") == "['watch', 'unwatch']"


def test_config_sets_slack_options(kernel: Kernel) -> None:
    kernel.run("%load_ext cwnotify\n%config CWNotify.lang = 'ko'\n%config CWNotify.zone = 'Asia/Seoul'")
    kernel.run(QUIET + "panel = cwnotify.panel(link=quiet)")

    assert said(kernel, "panel.request.lang, panel.request.zone") == "('ko', 'Asia/Seoul')"


def test_text_update_keeps_last_picture(kernel: Kernel) -> None:
    kernel.run(QUIET + "panel = cwnotify.panel(link=quiet)\nquiet.heard(line(1795400657.0))")
    held = "panel._rendered.snapshot.at, panel._rendered.light, bytes(panel._view._pictures['cw-dark'].value)"

    assert said(kernel, held) == "(1795400657.0, b'light', b'dark')"


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("panle", "did you mean %cwnotify panel?"),
        ("outobx", "did you mean %cwnotify outbox?"),
        ("zzz", "it takes panel, login, test, "),
        ("panel --range 1s", "range takes 5m to 15d"),
        ("--tag x", "'x' is not a tag"),
    ],
)
def test_misspelled_argument_gets_suggestion(kernel: Kernel, line: str, hint: str) -> None:
    kernel.run("%load_ext cwnotify")
    result = kernel.run(f"%cwnotify {line}")

    assert result.status == "ok"
    assert hint in result.stderr


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("%cwnotify pa", ["panel"]),
        ("%cwnotify panel --al", ["--alarms", "--alarm-slack"]),
        ("%cwnotify --range 1h --m", ["--metric"]),
        ("cwnotify lo", ["login"]),
    ],
)
def test_tab_offers_arguments_and_options(kernel: Kernel, typed: str, offered: list[str]) -> None:
    kernel.run("%load_ext cwnotify")

    assert said(kernel, f"get_ipython().complete(None, {typed!r}, {len(typed)})[1]") == str(offered)
    kernel.run("%unload_ext cwnotify")
    assert said(kernel, f"get_ipython().complete(None, {typed!r}, {len(typed)})[1]") != str(offered)


def test_help_describes_arguments_and_options(kernel: Kernel) -> None:
    kernel.run("%load_ext cwnotify")
    asked, told = kernel.run("%cwnotify?").pager_text, kernel.run("%cwnotify panel --help").stdout

    assert all(word in asked for word in ("%cwnotify login", "--alarm-slack WHEN"))
    assert told in asked


def test_normal_shutdown_leaves_last_picture(kernel: Kernel) -> None:
    kernel.run(OPEN)
    kernel.run("panel = cwnotify.panel(link=feed)\nupdates(panel, 1)")
    kernel.shut_down()

    assert not kernel.is_alive()


@pytest.mark.flaky(reruns=1)  # nbclient drives a kernel
def test_nbclient_notebook_keeps_picture_and_text(world: World, tmp_path: Path) -> None:
    path = tmp_path / "train.ipynb"
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    later = "updates(panel, 2)\npanel.close()\nprint(panel._rendered.snapshot.alarms[0].state)"
    cells = [new_code_cell(OPEN + "panel = cwnotify.panel(link=feed)"), new_code_cell(later)]
    nbformat.write(new_notebook(cells=cells, metadata=kernel), path)
    done = world.execute(Path(sys.executable).with_name("jupyter-execute"), path, "--inplace", timeout=60)
    opened, watched = nbformat.read(path, as_version=4).cells
    live, kept = (output["data"] for output in opened.outputs)

    assert done.returncode == 0, done.stderr
    assert live["text/plain"] == "cwnotify: a live panel"
    assert "image/png" in kept
    assert "CPU ▁▁▁▁▁▄▅" in kept["text/plain"]
    # What it came to show while the later cell ran.
    assert f"train-busy · {watched.outputs[0]['text'].strip()}" in kept["text/plain"]


def test_terminal_prints_text_once(world: World) -> None:
    code = "import cwnotify\nfrom tests.support.panel_feed import PanelFeed\ncwnotify.panel(link=Feed('well'))"
    done = world.execute("python", "-m", "IPython", "--no-banner", "--colors=NoColor", "-c", code)

    assert done.returncode == 0, done.stderr
    assert done.stdout.count("cwnotify · i-0abc12f9 train-3") == 1
    assert "✓ resnet50 finished in 2 h 14 min" in done.stdout
