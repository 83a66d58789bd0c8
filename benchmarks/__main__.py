"""Measure what the README claims.

::

    python -m benchmarks                    all, and write benchmarks/RESULTS.md
    python -m benchmarks cells outbox       only these, and print
    python -m benchmarks --quick            few rounds, and print: to see that it works
"""

from __future__ import annotations

import argparse
import importlib
import time

from benchmarks import report
from benchmarks.harness import BenchmarkResult

BENCHMARKS = ("startup", "cells", "delivery", "weight", "panel", "plot", "watching", "outbox", "handler", "fleet")


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}")
    parser.add_argument("--quick", action="store_true", help="few rounds")
    parser.add_argument("--write", action="store_true", help="write RESULTS.md all the same")
    asked = parser.parse_args()
    if unknown := [name for name in asked.names if name not in BENCHMARKS]:
        parser.error(f"no such theme: {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    load, began = report.load_average(), time.monotonic()
    found: dict[str, BenchmarkResult] = {}
    for name in asked.names or BENCHMARKS:
        since = time.monotonic()
        found[name] = importlib.import_module(f"benchmarks.{name}").measure(asked.quick)
        print(f"— {name}, {time.monotonic() - since:.0f} s")
        report.print_rows(found[name])
    if asked.write or not (asked.names or asked.quick):
        print(f"written: {report.write_results(found, load, time.monotonic() - began)}")


if __name__ == "__main__":
    main()
