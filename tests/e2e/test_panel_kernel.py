"""The panel in a real kernel without a page: its side effects, the state after it closes, and its text form."""

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
feed = globals().get("feed") or PanelFeed("well")

def wait_until(condition, seconds=40):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)

def wait_for_updates(panel, count):
    times = set()
    wait_until(lambda: times.add(panel._rendered.snapshot.at) or len(times) > count)
"""
# A source that sends only the lines a test passes to `receive`, after `first` if that is set.
SILENT = """
import cwnotify
from cwnotify.alerts.serialization import to_json_dict
from tests.support.panel_feed import healthy_snapshot
def line(at, **pictures):
    return {"snapshot": to_json_dict(healthy_snapshot(at)), **pictures}
class Source:
    first = None
    calls = []
    def set_webhook(self, webhook): pass
    def subscribe(self, panel_id, request, receive):
        self.calls.append(("subscribe", panel_id))
        self.receive = receive
        print("subscribed", flush=True)
        if self.first:
            receive(self.first)
    def unsubscribe(self, panel_id): self.calls.append(("unsubscribe", panel_id))
    def send_command(self, kind, **values): self.calls.append((kind, values))
source = Source()
"""
ONE_SNAPSHOT = SILENT + "source.first = line(1795400647.0, light='bGlnaHQ=', dark='ZGFyaw==')\n"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path / "world", PYTHONPATH=str(ROOT)) as world:
        yield world


@pytest.fixture
def kernel(world: World) -> Iterator[Kernel]:
    with Kernel(world) as kernel:
        yield kernel


@pytest.fixture(scope="module")
def started_kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    folder = tmp_path_factory.mktemp("world")
    with World(folder, PYTHONPATH=str(ROOT)) as world, Kernel(world) as kernel:
        yield kernel


@pytest.fixture
def shared_kernel(started_kernel: Kernel) -> Iterator[Kernel]:
    """A kernel for tests that leave nothing behind but names. Their panels are closed and the extension is unloaded."""
    yield started_kernel
    started_kernel.run("import cwnotify.notebook.live_panel as live\nfor panel in list(live._open): panel.close()")
    started_kernel.run("%unload_ext cwnotify")


def evaluate(kernel: Kernel, expression: str) -> str:
    """Return what the kernel prints as the value of an expression."""
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
        "loggers": {name: (logger.level, list(logger.handlers))
                    for name, logger in logging.root.manager.loggerDict.items()
                    if isinstance(logger, logging.Logger) and name not in later_loggers},
        "root logger": (logging.root.level, list(logging.root.handlers)),
        "locals": sorted(name for name in globals() if not name.startswith("_")),
    }
later_loggers = {"Comm", "ipywidgets"}
before = after = None
import ipywidgets
random.seed(1); np.random.seed(2)
"""


def test_panel_leaves_training_process_untouched(kernel: Kernel) -> None:
    kernel.run(STATE)
    kernel.run(OPEN + "panel = None; plt.plot([1, 2]); before = state()")
    kernel.run("plt.plot([1, 2]); panel = cwnotify.panel(link=feed)\nwait_for_updates(panel, 4)\nafter = state()")
    changed = "[name for name in before if before[name] != after[name]]"

    assert evaluate(kernel, "before['figures']") == "[1]"
    assert evaluate(kernel, changed) == "[]"
    kernel.run("plt.plot([1, 2]); panel.close(); after = state()")
    assert evaluate(kernel, changed) == "[]"


def test_panel_imports_nothing_heavy_and_uses_little_memory(kernel: Kernel) -> None:
    kernel.run("import ipywidgets, os, sys\ndisplay(ipywidgets.VBox([ipywidgets.Button(), ipywidgets.Image()]))")
    kernel.run(OPEN)
    kernel.run("""
loaded = set(sys.modules)
def rss():
    return int(open('/proc/self/statm').read().split()[1]) * os.sysconf('SC_PAGE_SIZE') / 1e6
""")
    kernel.run("before = rss()\npanel = cwnotify.panel(link=feed)\nwait_for_updates(panel, 12)\nafter = rss()")

    heavy = "boto3 botocore requests urllib3 matplotlib numpy PIL psutil"
    assert evaluate(kernel, f"[name for name in {heavy.split()} if name in set(sys.modules) - loaded]") == "[]"
    assert float(evaluate(kernel, "after - before")) < 5


def test_closing_panel_leaks_nothing(kernel: Kernel) -> None:
    count_resources = """
import gc, threading
from ipywidgets.widgets.widget import _instances
def count_resources():
    gc.collect()
    shell = get_ipython()
    return {
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "widgets": len(_instances),
        "comms": len(shell.kernel.comm_manager.comms),
        "hooks": {name: len(hooks) for name, hooks in shell.events.callbacks.items()},
        "subscriptions": len(feed._receivers),
        "panels": len(__import__("cwnotify.notebook.live_panel").notebook.live_panel._open),
    }
"""
    kernel.run(OPEN + count_resources)
    kernel.run("cwnotify.panel(link=feed).close(); before = count_resources()")
    for _ in range(3):
        kernel.run("panel = cwnotify.panel(link=feed)\nwait_for_updates(panel, 1)\npanel.close()\npanel.close()")

    assert evaluate(kernel, "[name for name, count in count_resources().items() if count != before[name]]") == "[]"


def test_opening_shows_widget_and_stored_picture(shared_kernel: Kernel) -> None:
    shared_kernel.run(OPEN)
    result = shared_kernel.run("cwnotify.panel(link=feed)")
    widget, stored = (output["data"] for output in result.outputs)

    assert result.status == "ok"
    assert set(widget) == {"application/vnd.jupyter.widget-view+json", "text/plain"}
    assert set(stored) == {"text/html", "image/png", "text/plain"}
    assert "train-off · ALARM since" in stored["text/plain"]
    assert result.values == [], "as a cell's value it shows nothing more"


def test_quiet_sidecar_blocks_nothing(shared_kernel: Kernel) -> None:
    shared_kernel.run(SILENT)
    result = shared_kernel.run("panel = cwnotify.panel(link=source)", seconds=10)

    assert result.status == "ok"
    assert "nothing read yet" in result.displays[1]


def test_interrupt_while_opening_leaves_nothing(kernel: Kernel) -> None:
    kernel.run(SILENT + "import cwnotify.notebook.live_panel as live")
    cell = kernel.submit_cell("cwnotify.panel(link=source)")
    cell.wait_for_output("subscribed")
    kernel.interrupt()

    assert cell.result().error.name == "KeyboardInterrupt"
    assert evaluate(kernel, "live._open, [kind for kind, _ in source.calls]") == "([], ['subscribe', 'unsubscribe'])"


def test_invalid_lines_are_skipped(shared_kernel: Kernel) -> None:
    shared_kernel.run(ONE_SNAPSHOT + "panel = cwnotify.panel(link=source)")
    lines = "{}, {'snapshot': None}, {'snapshot': {'at': 'x'}}, {'snapshot': {}, 'light': '!'}"
    shared_kernel.run(f"for invalid in ({lines}): source.receive(invalid)")
    shared_kernel.run("source.receive(line(1795400657.0))")

    assert evaluate(shared_kernel, "panel._rendered.snapshot.at, panel._rendered.light") == "(1795400657.0, b'light')"


def test_buttons_send_commands(shared_kernel: Kernel) -> None:
    shared_kernel.run(ONE_SNAPSHOT + "panel = cwnotify.panel(link=source)")
    shared_kernel.run("buttons = panel._view._buttons\nsource.calls.clear()")
    shared_kernel.run("for name in ('12 h', 'Refresh', 'Send a test', 'Mute 1 h', 'Close'): buttons[name].click()")
    calls = evaluate(shared_kernel, "[call[0] for call in source.calls], panel.request.span, source.calls[3][1]")

    assert calls == "(['subscribe', 'refresh', 'greet', 'mute', 'unsubscribe'], 43200.0, {'seconds': 3600.0})"


def test_unload_closes_panel(shared_kernel: Kernel) -> None:
    shared_kernel.run("%load_ext cwnotify")
    shared_kernel.run(ONE_SNAPSHOT + "panel = cwnotify.panel(link=source)")
    shared_kernel.run("%unload_ext cwnotify")

    assert evaluate(shared_kernel, "[kind for kind, _ in source.calls]") == "['subscribe', 'unsubscribe']"


def test_config_sets_slack_options(kernel: Kernel) -> None:
    kernel.run("%load_ext cwnotify\n%config CWNotify.lang = 'ko'\n%config CWNotify.zone = 'Asia/Seoul'")
    kernel.run(ONE_SNAPSHOT + "panel = cwnotify.panel(link=source)")

    assert evaluate(kernel, "panel.request.lang, panel.request.zone") == "('ko', 'Asia/Seoul')"


def test_text_update_keeps_last_picture(shared_kernel: Kernel) -> None:
    shared_kernel.run(ONE_SNAPSHOT + "panel = cwnotify.panel(link=source)\nsource.receive(line(1795400657.0))")
    pictures = "panel._rendered.snapshot.at, panel._rendered.light, bytes(panel._view._pictures['cw-dark'].value)"

    assert evaluate(shared_kernel, pictures) == "(1795400657.0, b'light', b'dark')"


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
def test_misspelled_argument_gets_suggestion(shared_kernel: Kernel, line: str, hint: str) -> None:
    shared_kernel.run("%load_ext cwnotify")
    result = shared_kernel.run(f"%cwnotify {line}")

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
def test_tab_offers_arguments_and_options(shared_kernel: Kernel, typed: str, offered: list[str]) -> None:
    shared_kernel.run("%load_ext cwnotify")

    assert evaluate(shared_kernel, f"get_ipython().complete(None, {typed!r}, {len(typed)})[1]") == str(offered)
    shared_kernel.run("%unload_ext cwnotify")
    assert evaluate(shared_kernel, f"get_ipython().complete(None, {typed!r}, {len(typed)})[1]") != str(offered)


def test_help_describes_arguments_and_options(shared_kernel: Kernel) -> None:
    shared_kernel.run("%load_ext cwnotify")
    magic_help, panel_help = (
        shared_kernel.run("%cwnotify?").pager_text,
        shared_kernel.run("%cwnotify panel --help").stdout,
    )

    assert all(text in magic_help for text in ("%cwnotify login", "--alarm-slack WHEN"))
    assert panel_help in magic_help


def test_normal_shutdown_leaves_last_picture(kernel: Kernel) -> None:
    kernel.run(OPEN)
    kernel.run("panel = cwnotify.panel(link=feed)\nwait_for_updates(panel, 1)")
    kernel.shut_down()

    assert not kernel.is_alive()


@pytest.mark.flaky(reruns=1)  # nbclient drives a kernel
def test_nbclient_notebook_keeps_picture_and_text(world: World, tmp_path: Path) -> None:
    path = tmp_path / "train.ipynb"
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    later = "wait_for_updates(panel, 2)\npanel.close()\nprint(panel._rendered.snapshot.alarms[0].state)"
    cells = [new_code_cell(OPEN + "panel = cwnotify.panel(link=feed)"), new_code_cell(later)]
    nbformat.write(new_notebook(cells=cells, metadata=kernel), path)
    result = world.execute(Path(sys.executable).with_name("jupyter-execute"), path, "--inplace", timeout=60)
    opening_cell, later_cell = nbformat.read(path, as_version=4).cells
    widget, stored = (output["data"] for output in opening_cell.outputs)

    assert result.returncode == 0, result.stderr
    assert widget["text/plain"] == "cwnotify: a live panel"
    assert "image/png" in stored
    assert "CPU ▁▁▁▁▁▄▅" in stored["text/plain"]
    # The panel updated while the later cell ran.
    assert f"train-busy · {later_cell.outputs[0]['text'].strip()}" in stored["text/plain"]


def test_terminal_prints_text_once(world: World) -> None:
    code = "import cwnotify\nfrom tests.support.panel_feed import PanelFeed\ncwnotify.panel(link=PanelFeed('well'))"
    result = world.execute("python", "-m", "IPython", "--no-banner", "--colors=NoColor", "-c", code)

    assert result.returncode == 0, result.stderr
    assert result.stdout.count("cwnotify · i-0abc12f9 train-3") == 1
    assert "✓ resnet50 finished in 2 h 14 min" in result.stdout
