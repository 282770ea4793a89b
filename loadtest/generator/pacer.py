"""The clock of the open loop, which calls back whenever a request is due."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from time import perf_counter
from types import TracebackType
from typing import Self

from astec.loadtest.generator.interval_timer import create_interval_timer

_COUNTER_BYTES = 8


class Pacer:
    """Calls back on the event loop at a constant rate with each due time (of `time.perf_counter`), then with None.

    A context manager. It does not use the timers of the event loop, whose resolution of a millisecond is about as long
    as the latencies to measure, nor a thread as a clock, which cost three times as much as sending a request.
    """

    def __init__(self, end_s: float, rate_per_s: float, on_due: Callable[[float | None], None]) -> None:
        """Prepare due times from the start of the block until `end_s`, exclusive."""
        self._end_s, self._rate_per_s = end_s, rate_per_s
        self._on_due = on_due
        self._loop = asyncio.get_running_loop()
        self._number = 0

    def __enter__(self) -> Self:
        self._start_s = perf_counter()
        self._timer = create_interval_timer(1 / self._rate_per_s)
        self._loop.add_reader(self._timer, self._tick)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._loop.remove_reader(self._timer)
        os.close(self._timer)

    def _tick(self) -> None:
        with suppress(BlockingIOError):  # reading resets the timer, which would else stay readable
            os.read(self._timer, _COUNTER_BYTES)
        while (due_s := self._start_s + self._number / self._rate_per_s) <= perf_counter():
            if due_s >= self._end_s:
                self._loop.remove_reader(self._timer)
                self._on_due(None)
                return
            self._number += 1
            self._on_due(due_s)
