"""Measure what the README claims.

::

    python -m benchmarks                    run all benchmarks and write benchmarks/RESULTS.md
    python -m benchmarks cells outbox       run only these and print the results
    python -m benchmarks --quick            run few rounds and print the results, to check that everything works
"""

from __future__ import annotations

import argparse
import importlib
import time

from benchmarks import report
from benchmarks.harness import BenchmarkResult

BENCHMARKS = ("startup", "cells", "delivery", "weight", "panel", "plot", "watching", "outbox", "handler", "fleet")


def main() -> None:
    """Run the benchmarks, print their results and write RESULTS.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"a benchmark: {', '.join(BENCHMARKS)}")
    parser.add_argument("--quick", action="store_true", help="run few rounds")
    parser.add_argument("--write", action="store_true", help="write RESULTS.md also with --quick or NAME")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in BENCHMARKS]:
        parser.error(f"no benchmark is named {', '.join(unknown)}. Choose from: {', '.join(BENCHMARKS)}")
    load, started_at = report.load_average(), time.monotonic()
    results: dict[str, BenchmarkResult] = {}
    for name in options.names or BENCHMARKS:
        benchmark_started_at = time.monotonic()
        results[name] = importlib.import_module(f"benchmarks.{name}").measure(options.quick)
        print(f"— {name}, {time.monotonic() - benchmark_started_at:.0f} s")
        report.print_rows(results[name])
    if options.write or not (options.names or options.quick):
        print(f"Wrote {report.write_results(results, load, time.monotonic() - started_at)}")


if __name__ == "__main__":
    main()
