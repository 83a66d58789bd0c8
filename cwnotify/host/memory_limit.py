"""Find how much memory a process may use: the limit of its cgroup, if that is below the machine's memory.

Reads cgroup v2 and v1, also nested. Imports the standard library only. https://docs.kernel.org/admin-guide/cgroup-v2.html#memory,
https://docs.kernel.org/admin-guide/cgroup-v1/memory.html
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

# The file with the limit, the file with the use, and the counter of cached files that no process uses. The kernel drops
# these when memory is needed, so they do not count as used, as in `docker stats`.
_V2 = ("memory.max", "memory.current", "inactive_file")
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
LIMIT_FILES = (_V2[0], _V1[0])


def list_memory_cgroups(
    pid: int | str, proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")
) -> list[Path]:
    """Return the cgroups of `pid` that account for memory, innermost first.

    The root is always the last one: in a container it may be the container's own cgroup, although ``/proc`` shows the
    path on the host.
    """
    try:
        lines = (proc / str(pid) / "cgroup").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    folders = []
    for line in lines:
        controllers, _, path = line.partition(":")[2].partition(":")
        if controllers and "memory" not in controllers.split(","):
            continue
        root = cgroups / "memory" if controllers else cgroups
        parts = [part for part in path.split("/") if part not in ("", "..")]
        folders += [root.joinpath(*parts[:count]) for count in range(len(parts), -1, -1)]
    return [*dict.fromkeys([*folders, cgroups, cgroups / "memory"])]


def find_tightest_limit(levels: list[Path], total: int) -> tuple[int, int] | None:
    """Return the bytes used and allowed in the cgroup with the least free memory; None if no limit is below `total`."""
    limits = [(used, limit) for used, limit in _read_limits(levels) if 0 < limit < total]
    return min(limits, key=lambda level: level[1] - level[0], default=None)


def _read_limits(levels: list[Path]) -> Iterator[tuple[int, int]]:
    for folder in levels:
        for limit_name, used_name, cached_files in (_V2, _V1):
            limit, used = _read_number(folder / limit_name), _read_number(folder / used_name)
            if limit is not None and used is not None:
                yield max(used - _read_counter(folder / "memory.stat", cached_files), 0), limit


def _read_number(path: Path) -> int | None:
    """Return the number in a file; None if the file does not exist or holds "max"."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _read_counter(path: Path, name: str) -> int:
    try:
        counters = dict(line.split() for line in path.read_text().splitlines())
        return int(counters[name])
    except (OSError, ValueError, KeyError):
        return 0
