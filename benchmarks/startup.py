"""What a fresh kernel pays: for ``%load_ext``, and for the first registered cell, which starts the sidecar."""

from __future__ import annotations

from benchmarks.harness import Findings, Spread, less, row, spread
from benchmarks.kernels import CLOCK, cell_times, kernel, said
from tests.support.slack import Slack

# A peer without a loading function registers itself when it is imported, so that is what is timed.
LOAD = """
import importlib, time, warnings
warnings.simplefilter("ignore")
def _load(name):
    began = time.perf_counter()
    module = importlib.import_module(name)
    getattr(module, "load_ipython_extension", lambda shell: None)(get_ipython())
    return 1000 * (time.perf_counter() - began)
print(_load({name!r}))
"""
EMPTY = "def load_ipython_extension(shell):\n    pass\n"
PEERS = {"jupyter-slack": "jupyter_slack", "slack-magic": "slack_magic", "jupyterlab-notify": "jupyterlab_notify"}


def measure(quick: bool) -> Findings:
    """Load each extension in kernels of its own, in turn."""
    loads: dict[str, list[float]] = {name: [] for name in ("an empty extension", "cwnotify", *PEERS)}
    firsts: list[float] = []
    with Slack() as slack:
        for number in range(2 if quick else 6):
            for name in loads:
                # The kernel of round 0 compiles what it imports, for all that follow: it does not count.
                loaded, first = _round(slack, PEERS.get(name, name))
                if number or quick:
                    loads[name].append(loaded)
                    firsts += first
    empty = loads.pop("an empty extension")
    ours = less(loads.pop("cwnotify"), empty)
    peers: dict[str, Spread | str] = {name: less(values, empty) for name, values in loads.items()}
    found = Findings()
    found.rows.append(row("`%load_ext`, beyond an empty extension", ours, "ms", 5.0, peers))
    found.rows.append(
        row("first registered cell, beyond a plain one: imports and the sidecar's start", spread(firsts), "ms", 5.0)
    )
    return found


def _round(slack: Slack, module: str) -> tuple[float, list[float]]:
    with kernel(slack) as one:
        if module == "an empty extension":
            (one.world.home / "empty.py").write_text(EMPTY)
            return said(one, LOAD.format(name="empty")), []
        loaded = said(one, LOAD.format(name=module))
        if module != "cwnotify":
            return loaded, []
        one.run(CLOCK)
        for _ in range(7):
            one.run("x = 1")
        cell_times(one)
        for _ in range(7):
            one.run("x = 1")
        one.run("%%notify_on_finish first\nx = 1")
        *plain, first = cell_times(one)
        return loaded, list(less([first], plain).values)
