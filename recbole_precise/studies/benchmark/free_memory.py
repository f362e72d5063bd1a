"""Check whether there is room for one more run.

That is the free memory of the machine or of the container, less what the runs at work will still
take.
"""

from __future__ import annotations

from pathlib import Path

import psutil

_CGROUPS = Path("/sys/fs/cgroup")


def free_bytes(cgroups: Path = _CGROUPS) -> int:
    """Return the memory that can be taken without swapping.

    It is the machine's, or what a container (cgroup, version 1 or 2) leaves of it.
    """
    free = psutil.virtual_memory().available
    for limit, used, cache in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            most = (cgroups / limit).read_text().strip()
            taken = int((cgroups / used).read_text())
            stat = dict(
                line.split()
                for line in (cgroups / limit)
                .parent.joinpath("memory.stat")
                .read_text()
                .splitlines()
            )
        except (OSError, ValueError):
            continue
        if most.isdigit():
            free = min(free, int(most) - taken + int(stat.get(cache, 0)))
    return max(free, 0)


def resident_bytes(pid: int) -> int:
    """Resident memory of a process and its children; 0 when it has ended."""
    try:
        process = psutil.Process(pid)
        return sum(each.memory_info().rss for each in [process, *process.children(recursive=True)])
    except psutil.Error:
        return 0


def has_room(need: int, running: list[tuple[int, int]], free: int) -> bool:
    """Return whether a run that may take `need` bytes fits beside `running`.

    `running`: (bytes it may take, bytes it has now) of each.
    """
    return free - sum(max(0, most - now) for most, now in running) >= need
