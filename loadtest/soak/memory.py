"""The growth of memory: samples of every process of a server, and the slope through them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import suppress
from time import perf_counter

import numpy as np

from astec.loadtest.bench.serving import Served
from astec.server.system.process_memory import process_memory

_MIB = 1 << 20


class MemoryTrend:
    """The memory that processes have allocated, over time.

    Only allocated memory counts: pages shared with other processes or mapped from files change when those processes
    start or end.

    Args:
        settle_s: seconds at the start of a process's life that do not count: caches fill and pages are copied.
    """

    def __init__(self, settle_s: float) -> None:
        self._settle_s = settle_s
        self._born_s: dict[int, float] = {}
        self._samples: defaultdict[int, list[tuple[float, float]]] = defaultdict(list)

    def add(self, pid: int, now_s: float, allocated_bytes: float) -> None:
        """Add a sample of one process."""
        if now_s - self._born_s.setdefault(pid, now_s) >= self._settle_s:
            self._samples[pid].append((now_s, allocated_bytes))

    def slope_mib_per_min(self) -> float | None:
        """Fit lines of one common slope, one line per process, by least squares; return the slope.

        None where no process lived long enough.
        """
        covariance = variance = 0.0
        for samples in self._samples.values():
            seconds, sizes = np.array(samples).T
            centred = seconds - seconds.mean()
            covariance += float(centred @ sizes)
            variance += float(centred @ centred)
        return covariance / variance * 60 / _MIB if variance else None


async def watch_memory(server: Served, trend: MemoryTrend, every_s: float) -> None:
    """Sample the memory of the parent process and its workers until cancelled."""
    while True:
        for pid in {server.pid, *server.workers()}:
            with suppress(OSError, KeyError):  # the process has just been killed: its file is missing or empty
                trend.add(pid, perf_counter(), process_memory(pid).anonymous_bytes)
        await asyncio.sleep(every_s)
