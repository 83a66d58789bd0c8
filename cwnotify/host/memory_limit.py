"""The memory that a process may use: its cgroup's (v2, v1, nested), if that is less than the machine's.

Standard library only. https://docs.kernel.org/admin-guide/cgroup-v2.html#memory,
https://docs.kernel.org/admin-guide/cgroup-v1/memory.html
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

# The limit, what is used, and what of it are files that no process uses: the kernel drops these when memory is needed,
# so they do not count, as in `docker stats`.
_V2 = ("memory.max", "memory.current", "inactive_file")
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
LIMIT_FILES = (_V2[0], _V1[0])


def list_memory_cgroups(
    pid: int | str, proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")
) -> list[Path]:
    """Return the cgroups of `pid` that count memory, the innermost first.

    A container may see its own cgroup as the root of all, while `/proc` still names it as the host does; so the root is
    always the last one.
    """
    try:
        lines = (proc / str(pid) / "cgroup").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    found = []
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "memory" not in controllers.split(","):
            continue
        root = cgroups / "memory" if controllers else cgroups
        parts = [part for part in path.split("/") if part not in ("", "..")]
        found += [root.joinpath(*parts[:count]) for count in range(len(parts), -1, -1)]
    return [*dict.fromkeys([*found, cgroups, cgroups / "memory"])]


def find_tightest_limit(levels: list[Path], total: int) -> tuple[int, int] | None:
    """Return the bytes used and allowed in the cgroup with the least room; None if none allows less than `total`."""
    limits = [(used, limit) for used, limit in _limits(levels) if 0 < limit < total]
    return min(limits, key=lambda level: level[1] - level[0], default=None)


def _limits(levels: list[Path]) -> Iterator[tuple[int, int]]:
    for folder in levels:
        for limit_name, used_name, files in (_V2, _V1):
            limit, used = _number(folder / limit_name), _number(folder / used_name)
            if limit is not None and used is not None:
                yield max(used - _count(folder / "memory.stat", files), 0), limit


def _number(path: Path) -> int | None:
    """The number in a file; None if it does not exist, or says "max"."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _count(path: Path, name: str) -> int:
    try:
        counts = dict(line.split() for line in path.read_text().splitlines())
        return int(counts[name])
    except (OSError, ValueError, KeyError):
        return 0
