"""Where a batch is computed: a short one on the event loop, a longer one on a thread beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from time import perf_counter, thread_time
from typing import Generic, TypeVar

from astec.server.engine.batching.threads import InferenceThreads

Item = TypeVar("Item")
Result = TypeVar("Result")

# Of the latest batch in what is known about the speed.
_NEWS = 0.1


class BatchRunner(Generic[Item, Result]):
    """Computes batches where their results are there soonest, as long as nobody else waits for it.

    To wake a thread and be woken by it takes 80 us, which is more than a short query does. What would keep the event
    loop for longer than `max_inline_s` goes to a thread all the same: health checks and new requests must not wait.

    Args:
        compute: Computes a batch; as many results as items, in the same order.
        threads: For the longer ones.
        max_inline_s: The longest batch that the event loop computes itself, by what earlier ones took; 0 for none.
    """

    def __init__(
        self, compute: Callable[[list[Item]], list[Result]], threads: InferenceThreads, max_inline_s: float
    ) -> None:
        self._compute = compute
        self._threads = threads
        self._max_inline_s = max_inline_s
        self._item_s = max_inline_s  # While nothing is known, a single item may take it all.

    def run(self, batch: list[Item]) -> asyncio.Future[list[Result]]:
        """Return the future of the batch's results, done already where the event loop computed it.

        Raises:
            RuntimeError: The threads have been closed.
        """
        if len(batch) * self._item_s >= self._max_inline_s:
            return self._threads.run(partial(self._time, thread_time), batch)
        results: asyncio.Future[list[Result]] = asyncio.get_running_loop().create_future()
        try:
            results.set_result(self._time(perf_counter, batch))
        except Exception as error:
            results.set_exception(error)
        return results

    def _time(self, clock: Callable[[], float], batch: list[Item]) -> list[Result]:
        # A thread's own clock stands still while it waits for the interpreter, which the loop keeps busy under load:
        # by any other, batches would seem too long for the loop just when it should compute them.
        begun_s = clock()
        results = self._compute(batch)
        self._item_s += _NEWS * ((clock() - begun_s) / len(batch) - self._item_s)
        return results
