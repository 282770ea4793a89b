"""How many CPUs this process may really use: its affinity, and the quota of its container."""

from __future__ import annotations

import os
from pathlib import Path


def usable_cpus(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the whole CPUs this process may keep busy, at least 1.

    Args:
        cgroup: Where the control group of this process is mounted (version 2 or 1).
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota_cpus(cgroup)
    return allowed if quota is None else max(1, min(allowed, int(quota)))


def _quota_cpus(cgroup: Path) -> float | None:
    """Return the CPU quota in CPUs, or None where there is no limit."""
    try:
        quota_us, period_us = (cgroup / "cpu.max").read_text().split()
    except OSError:
        try:
            quota_us = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period_us = (cgroup / "cpu" / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    # Version 2 writes "max" for no limit, version 1 writes -1.
    return None if quota_us in ("max", "-1") else int(quota_us) / int(period_us)
