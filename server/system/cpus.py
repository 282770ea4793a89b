"""The number of CPUs that this process may use, by its CPU affinity and the quotas of its control groups."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def usable_cpus(root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> int:
    """Return the number of whole CPUs that this process may keep busy, at least 1.

    Args:
        root: The folder at which control groups (version 2 or 1) are mounted.
        membership: The file that lists the control groups of this process.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = (_quota_cpus(group) for group in _groups(root, membership))
    return max(1, int(min([allowed, *(quota for quota in quotas if quota is not None)])))


def _groups(root: Path, membership: Path) -> Iterator[Path]:
    """Yield the folder of each control group that limits this process; some may be invisible inside a container."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        lines = []
    paths = {"": "/", "cpu": "/"}  # by controller; version 2 has one hierarchy for all controllers, named ""
    for line in lines:
        _, controllers, path = line.split(":", 2)
        paths.update(dict.fromkeys(controllers.split(","), path))
    for mount, controller in ((root, ""), (root / "cpu", "cpu")):
        group = Path(paths[controller].lstrip("/"))
        yield from (mount / level for level in (group, *group.parents))


def _quota_cpus(group: Path) -> float | None:
    """Return the CPU quota of a group in CPUs, or None where there is no limit."""
    try:
        quota_us, period_us = (group / "cpu.max").read_text().split()
    except OSError:
        try:
            quota_us = (group / "cpu.cfs_quota_us").read_text().strip()
            period_us = (group / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    # Version 2 writes "max" for no limit, version 1 writes -1.
    return None if quota_us in ("max", "-1") else int(quota_us) / int(period_us)
