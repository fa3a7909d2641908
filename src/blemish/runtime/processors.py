"""How many processors this process may use. Nothing here loads a library that computes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def available_processors() -> int:
    """Number of processors that this process may use: its affinity, lowered to the CPU quota of its control group."""
    allowed = affine_processors()
    quota = quota_processors()
    return allowed if quota is None else min(allowed, quota)


def affine_processors() -> int:
    """Number of processors that the scheduler may run this process on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def quota_processors(root: Path = Path("/")) -> int | None:
    """The smallest CPU quota of this process's control groups, rounded up to whole processors; None = no quota.

    Containers set such a quota. Both versions of control groups count, and so do all groups above the process's own.

    Args:
        root: folder that holds ``proc`` and ``sys``.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except (OSError, ValueError):
        return None
    shares = [share for line in lines for folder in _folders(root / "sys/fs/cgroup", line) for share in _shares(folder)]
    return max(1, min(shares)) if shares else None


def _folders(mount: Path, line: str) -> Iterator[Path]:
    """The folders of one control group and of all groups above it.

    Args:
        mount: where control groups are mounted.
        line: of ``/proc/self/cgroup``, ``NUMBER:CONTROLLERS:PATH``; version 2 has no controllers.
    """
    _, _, rest = line.partition(":")
    controllers, _, path = rest.partition(":")
    if controllers and "cpu" not in controllers.split(","):
        return
    places = (mount / controllers, mount / "cpu") if controllers else (mount, mount / "unified")
    parts = [part for part in PurePosixPath(path).parts if part not in ("/", "..")]
    for place in places:
        for length in range(len(parts), -1, -1):  # inside a container the path can be that of the host
            yield place.joinpath(*parts[:length])


def _shares(folder: Path) -> Iterator[int]:
    """The quota that one control group sets, in whole processors, if it sets one."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        if int(quota) > 0:
            yield -(-int(quota) // int(period))
    except (OSError, ValueError, ArithmeticError):  # no such file, or "max": no quota
        return
