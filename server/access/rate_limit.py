"""The rate limiter: token buckets of clients, shared by all workers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from hashlib import sha256
from mmap import mmap

# Untouched pages take no memory, so there are far more cells than clients, and collisions are rare.
_CELLS = 1 << 20
_CELL_BYTES = 8


class RateLimit:
    """A token bucket per client. It holds up to `burst` tokens, gains `rate_qps` a second, and a query takes one.

    A bucket is stored as one number, the time at which it will be full again, in memory that the workers share; so it
    is created before the fork. There is no lock. Two workers that serve one client in the same microsecond may both
    take the same token: a query too many may pass now and then, but none is refused wrongly.

    Args:
        rate_qps: Queries per second.
        burst: The most queries at once, after a pause.
        clock_s: The time in seconds, the same in every worker.
    """

    def __init__(self, rate_qps: float, burst: int, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._query_s = 1 / rate_qps
        self._max_debt_s = (burst - 1) / rate_qps
        self._clock_s = clock_s
        self._full_at_s = memoryview(mmap(-1, _CELLS * _CELL_BYTES)).cast("d")
        self._cells: dict[str, int] = {}

    def know(self, names: Iterable[str]) -> None:
        """Give each client a bucket, by its name, so that it is the same in every worker and after every change."""
        taken: dict[int, str] = {}
        for name in sorted(names):
            cell = int.from_bytes(sha256(name.encode()).digest()[:8], "big") % _CELLS
            while cell in taken:
                cell = (cell + 1) % _CELLS
            taken[cell] = name
        self._cells = {name: cell for cell, name in taken.items()}

    def take(self, name: str, queries: int) -> float:
        """Take a token per query and return 0, or take none and return the seconds until there is one.

        A request with more queries than there are tokens passes and leaves a debt, so that no request is too large to
        pass at all. In the long run the queries stay within the rate all the same.
        """
        cell, now_s = self._cells.get(name), self._clock_s()
        if cell is None:  # The key was valid when the request began, and was withdrawn since.
            return 0.0
        full_at_s = max(self._full_at_s[cell], now_s)
        wait_s = full_at_s - now_s - self._max_debt_s
        if wait_s > 0:
            return wait_s
        self._full_at_s[cell] = full_at_s + queries * self._query_s
        return 0.0
