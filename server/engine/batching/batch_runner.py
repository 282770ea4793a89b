"""The choice where to compute a batch: a short one on the event loop, a longer one on a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from time import perf_counter, thread_time
from typing import Generic, TypeVar

from astec.server.engine.batching.threads import InferenceThreads

Item = TypeVar("Item")
Result = TypeVar("Result")

# Weight of the latest batch in the running mean of the time per item.
_LATEST_WEIGHT = 0.1


class BatchRunner(Generic[Item, Result]):
    """Computes short batches on the event loop and longer ones on threads.

    To hand a batch to a thread and to be woken by it takes 80 us, longer than a short query takes. A batch that would
    block the event loop for longer than `max_inline_s` goes to a thread all the same: health checks and new requests
    must not wait.

    Args:
        compute: Computes a batch; returns one result per item, in the same order.
        threads: The threads for the longer batches.
        max_inline_s: The longest batch that is computed on the event loop, estimated from earlier ones; 0: none is.
    """

    def __init__(
        self, compute: Callable[[list[Item]], list[Result]], threads: InferenceThreads, max_inline_s: float
    ) -> None:
        self._compute = compute
        self._threads = threads
        self._max_inline_s = max_inline_s
        self._item_s = max_inline_s  # Before the first measurement every batch is taken for a long one.

    def run(self, batch: list[Item]) -> asyncio.Future[list[Result]]:
        """Return the future of the batch's results; it is done already if the event loop computed them.

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
        # The clock of a thread stops while it waits for the interpreter's lock, which the event loop holds most of the
        # time under load. By any other clock, batches would seem too long for the event loop just when it is busy.
        begun_s = clock()
        results = self._compute(batch)
        self._item_s += _LATEST_WEIGHT * ((clock() - begun_s) / len(batch) - self._item_s)
        return results
