"""``python -m tests.e2e.faults [--long] [--write FILE] [NAME...]``: the faults whose names begin so, all by default.

It prints the table, and can put it into a document.

``fuzz`` instead of names: see `tests.e2e.faults.fuzz`.
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
    """Run the faults, print the table, and tell by the exit status whether every promise was kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.faults", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="how the names of the faults begin")
    parser.add_argument("--long", action="store_true", help=f"kill {kills.LONG_RUN_KILLS} kernels and as many sidecars")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table in here, in place of the one in it")
    asked = parser.parse_args()
    if asked.names == ["fuzz"]:
        fuzz.main(fuzz.LONG_RUN_CASES if asked.long else fuzz.DEFAULT_CASES)
        return
    wanted = {
        name: act
        for name, act in ALL_FAULTS.items()
        if name.lower().startswith(tuple(map(str.lower, asked.names or [""])))
    }
    if asked.long:
        wanted |= {name: act for name, act in kills.kill_faults(kills.LONG_RUN_KILLS).items() if name in wanted}
    begun = time.monotonic()
    found = run_faults(wanted, MAX_PARALLEL_FAULTS)
    seconds = time.monotonic() - begun
    lines = format_table([one for one in found.values() if one])
    print(lines)
    broken = [name for name, one in found.items() if one is None or not one.has_passed]
    print(f"\n{len(found)} faults in {seconds:.0f} s; not kept: {', '.join(broken) or 'none'}")
    if asked.write:
        asked.write.write_text(replace_table(asked.write.read_text(), lines, seconds, time.strftime("%Y-%m-%d")))
    sys.exit(bool(broken))


def replace_table(text: str, lines: str, seconds: float, day: str) -> str:
    """`text` with this table in place of its own, and how long the run took and when it was."""
    text, times = re.subn(r"run of \d+ s on [\d-]+", f"run of {seconds:.0f} s on {day}", text)
    text, tables = re.subn(r"(?m)^\| fault \|.*\|\n(\|.*\|\n)+", lambda _: f"{lines}\n", text)
    assert (times, tables) == (1, 1), "it has one table, and says once when it was made"
    return text


def run_faults(acts: dict[str, FaultRunner], at_once: int) -> dict[str, FaultResult | None]:
    """Do these faults, some at a time; None stands for one that could not be done."""

    def one(name: str) -> FaultResult | None:
        with tempfile.TemporaryDirectory(prefix="cwnotify-faults-", ignore_cleanup_errors=True) as folder:
            try:
                return acts[name](Path(folder))
            except Exception:
                print(f"{name}:\n{traceback.format_exc()}", file=sys.stderr)
                return None

    with ThreadPoolExecutor(at_once) as pool:
        return dict(zip(acts, pool.map(one, acts), strict=True))


if __name__ == "__main__":
    main()
