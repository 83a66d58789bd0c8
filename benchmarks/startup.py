"""What a fresh kernel pays: for ``%load_ext``, and for the first registered cell, which starts the sidecar."""

from __future__ import annotations

from benchmarks.harness import BenchmarkResult, Summary, excess_over_median, summarize, threshold_row
from benchmarks.kernels import CELL_TIMER, benchmark_kernel, cell_times, printed_number
from tests.support.slack import Slack

# A peer without a loading function registers itself when it is imported, so that is what is timed.
LOAD_TEMPLATE = """
import importlib, time, warnings
warnings.simplefilter("ignore")
def _load(name):
    began = time.perf_counter()
    module = importlib.import_module(name)
    getattr(module, "load_ipython_extension", lambda shell: None)(get_ipython())
    return 1000 * (time.perf_counter() - began)
print(_load({name!r}))
"""
EMPTY_EXTENSION = "def load_ipython_extension(shell):\n    pass\n"
PEER_MODULES = {
    "jupyter-slack": "jupyter_slack",
    "slack-magic": "slack_magic",
    "jupyterlab-notify": "jupyterlab_notify",
}


def measure(quick: bool) -> BenchmarkResult:
    """Load each extension in kernels of its own, in turn."""
    loads: dict[str, list[float]] = {name: [] for name in ("an empty extension", "cwnotify", *PEER_MODULES)}
    firsts: list[float] = []
    with Slack() as slack:
        for number in range(2 if quick else 6):
            for name in loads:
                # The kernel of round 0 compiles what it imports, for all that follow: it does not count.
                loaded, first = _round(slack, PEER_MODULES.get(name, name))
                if number or quick:
                    loads[name].append(loaded)
                    firsts += first
    empty = loads.pop("an empty extension")
    ours = excess_over_median(loads.pop("cwnotify"), empty)
    peers: dict[str, Summary | str] = {name: excess_over_median(values, empty) for name, values in loads.items()}
    found = BenchmarkResult()
    found.rows.append(threshold_row("`%load_ext`, beyond an empty extension", ours, "ms", 5.0, peers))
    found.rows.append(
        threshold_row(
            "first registered cell, beyond a plain one: imports and the sidecar's start", summarize(firsts), "ms", 5.0
        )
    )
    return found


def _round(slack: Slack, module: str) -> tuple[float, list[float]]:
    with benchmark_kernel(slack) as one:
        if module == "an empty extension":
            (one.world.home / "empty.py").write_text(EMPTY_EXTENSION)
            return printed_number(one, LOAD_TEMPLATE.format(name="empty")), []
        loaded = printed_number(one, LOAD_TEMPLATE.format(name=module))
        if module != "cwnotify":
            return loaded, []
        one.run(CELL_TIMER)
        for _ in range(7):
            one.run("x = 1")
        cell_times(one)
        for _ in range(7):
            one.run("x = 1")
        one.run("%%notify_on_finish first\nx = 1")
        *plain, first = cell_times(one)
        return loaded, list(excess_over_median([first], plain).values)
