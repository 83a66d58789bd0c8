"""The cost in a new kernel: of ``%load_ext``, and of the first registered cell, which starts the sidecar."""

from __future__ import annotations

from benchmarks.harness import BenchmarkResult, Summary, excess_over_median, summarize, threshold_row
from benchmarks.kernels import CELL_TIMER, benchmark_kernel, cell_times, printed_number
from tests.support.slack import Slack

# An extension without a load function registers itself on import, so the time includes the import.
LOAD_TEMPLATE = """
import importlib, time, warnings
warnings.simplefilter("ignore")
def _load(name):
    started_at = time.perf_counter()
    module = importlib.import_module(name)
    getattr(module, "load_ipython_extension", lambda shell: None)(get_ipython())
    return 1000 * (time.perf_counter() - started_at)
print(_load({name!r}))
"""
EMPTY_EXTENSION = "def load_ipython_extension(shell):\n    pass\n"
PEER_MODULES = {
    "jupyter-slack": "jupyter_slack",
    "slack-magic": "slack_magic",
    "jupyterlab-notify": "jupyterlab_notify",
}


def measure(quick: bool) -> BenchmarkResult:
    """Load each extension in new kernels, in turn."""
    loads: dict[str, list[float]] = {name: [] for name in ("an empty extension", "cwnotify", *PEER_MODULES)}
    first_cells: list[float] = []
    with Slack() as slack:
        for number in range(2 if quick else 6):
            for name in loads:
                # Round 0 does not count, because it compiles the modules for the later rounds.
                load, first_cell = _measure_kernel(slack, PEER_MODULES.get(name, name))
                if number or quick:
                    loads[name].append(load)
                    first_cells += first_cell
    empty = loads.pop("an empty extension")
    ours = excess_over_median(loads.pop("cwnotify"), empty)
    peers: dict[str, Summary | str] = {name: excess_over_median(values, empty) for name, values in loads.items()}
    first = summarize(first_cells)
    result = BenchmarkResult()
    result.rows += [
        threshold_row("`%load_ext`, beyond an empty extension", ours, "ms", 5.0, peers),
        threshold_row("first registered cell, beyond a plain one: imports and sidecar start", first, "ms", 5.0),
    ]
    return result


def _measure_kernel(slack: Slack, module: str) -> tuple[float, list[float]]:
    """Return the milliseconds to load `module`, and for cwnotify those of the first registered cell."""
    with benchmark_kernel(slack) as kernel:
        if module == "an empty extension":
            (kernel.world.home / "empty.py").write_text(EMPTY_EXTENSION)
            return printed_number(kernel, LOAD_TEMPLATE.format(name="empty")), []
        load = printed_number(kernel, LOAD_TEMPLATE.format(name=module))
        if module != "cwnotify":
            return load, []
        kernel.run(CELL_TIMER)
        for _ in range(7):
            kernel.run("x = 1")
        cell_times(kernel)
        for _ in range(7):
            kernel.run("x = 1")
        kernel.run("%%notify_on_finish first\nx = 1")
        *plain, first = cell_times(kernel)
        return load, list(excess_over_median([first], plain).values)
