"""``python -m tests.e2e.faults [--long] [--write FILE] [NAME...]``: run the faults whose names start with a NAME.

The default is all. It prints the table and can write it into a document. With ``fuzz`` instead of names it runs
`tests.e2e.faults.fuzz`.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.e2e.faults import aws, fuzz, kills, machine, processes, slack
from tests.e2e.faults.bench import FaultResult, FaultRunner, format_table

MAX_PARALLEL_FAULTS = 3
ALL_FAULTS: dict[str, FaultRunner] = {
    **kills.FAULTS,
    **processes.FAULTS,
    **machine.FAULTS,
    **slack.FAULTS,
    **aws.FAULTS,
}


def main() -> None:
    """Run the faults and print the table. Exit with 1 if a fault did not pass."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.faults", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="start of the names of the faults to run")
    parser.add_argument(
        "--long", action="store_true", help=f"kill {kills.LONG_RUN_KILLS} kernels and that many sidecars"
    )
    parser.add_argument("--write", type=Path, metavar="FILE", help="replace the table in FILE")
    options = parser.parse_args()
    if options.names == ["fuzz"]:
        fuzz.main(fuzz.LONG_RUN_CASES if options.long else fuzz.DEFAULT_CASES)
        return
    selected = {
        name: act
        for name, act in ALL_FAULTS.items()
        if name.lower().startswith(tuple(map(str.lower, options.names or [""])))
    }
    if options.long:
        selected |= {name: act for name, act in kills.kill_faults(kills.LONG_RUN_KILLS).items() if name in selected}
    start = time.monotonic()
    results = run_faults(selected, MAX_PARALLEL_FAULTS)
    seconds = time.monotonic() - start
    lines = format_table([result for result in results.values() if result])
    print(lines)
    broken = [name for name, result in results.items() if result is None or not result.has_passed]
    print(f"\n{len(results)} faults in {seconds:.0f} s; failed: {', '.join(broken) or 'none'}")
    if options.write:
        options.write.write_text(replace_table(options.write.read_text(), lines, seconds, time.strftime("%Y-%m-%d")))
    sys.exit(bool(broken))


def replace_table(text: str, lines: str, seconds: float, day: str) -> str:
    """Return `text` with this table, and with the duration and the day of this run."""
    text, times = re.subn(r"run of \d+ s on [\d-]+", f"run of {seconds:.0f} s on {day}", text)
    text, tables = re.subn(r"(?m)^\| fault \|.*\|\n(\|.*\|\n)+", lambda _: f"{lines}\n", text)
    assert (times, tables) == (1, 1), "the document needs one table and one line about the run"
    return text


def run_faults(acts: dict[str, FaultRunner], max_parallel: int) -> dict[str, FaultResult | None]:
    """Run these faults in parallel. The result is None if a fault raised an exception."""

    def run_fault(name: str) -> FaultResult | None:
        with tempfile.TemporaryDirectory(prefix="cwnotify-faults-", ignore_cleanup_errors=True) as folder:
            try:
                return acts[name](Path(folder))
            except Exception:
                print(f"{name}:\n{traceback.format_exc()}", file=sys.stderr)
                return None

    with ThreadPoolExecutor(max_parallel) as pool:
        return dict(zip(acts, pool.map(run_fault, acts), strict=True))


if __name__ == "__main__":
    main()
