"""The clock of the open loop."""

import asyncio
import threading
import time
from types import TracebackType
from typing import Self


class Pacer:
    """Hands out due times (of `time.perf_counter`) at a constant rate, each when it comes, then None.

    A context manager. It keeps time on a thread of its own: the timers of event loops tick in whole milliseconds, which
    is about as long as the answers that are to be measured.
    """

    def __init__(self, start_s: float, end_s: float, rate_per_s: float) -> None:
        """Start at `start_s`, end before `end_s`."""
        self._start_s = start_s
        self._end_s = end_s
        self._rate_per_s = rate_per_s
        self._loop = asyncio.get_running_loop()
        self._due: asyncio.Queue[float | None] = asyncio.Queue()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep_time, name="pacer", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    async def next_due_s(self) -> float | None:
        """Wait for the next due time; None after the last."""
        return await self._due.get()

    def _keep_time(self) -> None:
        number = 0
        while (due_s := self._start_s + number / self._rate_per_s) < self._end_s:
            wait_s = due_s - time.perf_counter()
            if wait_s > 0 and self._stop.wait(wait_s):
                return
            self._loop.call_soon_threadsafe(self._due.put_nowait, due_s)
            number += 1
        self._loop.call_soon_threadsafe(self._due.put_nowait, None)
