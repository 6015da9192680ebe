"""How many CPUs this process may use: what `num_threads="auto"` means.

The affinity mask (taskset, cpusets, a scheduler such as Slurm) says on which CPUs it may run. A
quota of its control groups (`docker run --cpus`, Kubernetes' limits) says how much of their time it
may use: with more threads than that, the kernel stops all of them for the rest of each period.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def available(root: Path = Path("/")) -> int:
    """CPUs of the affinity mask, or of the quota of the control groups if that is less; at least 1.

    A quota of 2.5 CPUs is 2: the threads of a call wait for each other. root: where `proc` and
    `sys` are.
    """
    cpus = float(_in_mask())
    for quota in _quotas(root):
        cpus = min(cpus, quota)
    return max(1, int(cpus))


def _in_mask() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quotas(root: Path) -> Iterator[float]:
    """CPUs that each control group grants which this process is in, and each group around it."""
    # "hierarchy:controllers:path"; version 2 is hierarchy 0, without controllers.
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        names = controllers.split(",")
        if controllers and "cpu" not in names:
            continue
        mounts = [root / "sys/fs/cgroup"]
        if controllers:
            mounts = [root / "sys/fs/cgroup" / name for name in (controllers, "cpu")]
        for mount in mounts:
            # In a container the path may be the host's, and the mount shows only its end: a
            # group that is not there has no file.
            for group in _and_above(path):
                quota = _quota(mount / group, bool(controllers))
                if quota is not None:
                    yield quota


def _and_above(path: str) -> Iterator[str]:
    """'a/b', 'a', '' of '/a/b'."""
    parts = [part for part in path.split("/") if part not in ("", ".", "..")]
    for count in range(len(parts), -1, -1):
        yield "/".join(parts[:count])


def _quota(group: Path, first_version: bool) -> float | None:
    """CPUs that one group grants; None if it sets no limit, or is not there."""
    if first_version:
        words = [
            _read(group / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")
        ]  # a quota of -1: none
    else:
        words = _read(group / "cpu.max").split()  # "max 100000": none
    try:
        quota, period = map(int, words)
    except ValueError:
        return None
    return quota / period if quota > 0 and period > 0 else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
