"""Micro-batching on asyncio: what queued while the workers were busy forms the next batch.

Knows neither HTTP nor numpy. All state belongs to one event loop, so there are no locks.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class BatcherError(Exception):
    """An item was not computed, for a reason that is not the item's fault."""


class QueueFullError(BatcherError):
    """The queue has no room for the whole submission; nothing of it was queued."""


class DeadlineError(BatcherError):
    """The deadline passed before the answer was there."""


class ClosedError(BatcherError):
    """The batcher is draining and takes no more work."""


class Observer(Protocol):
    """What the batcher tells the metrics."""

    def queue_changed(self, length: int) -> None:
        """Note that `length` items are queued now."""

    def batch_formed(self, waits_s: Sequence[float]) -> None:
        """Note that a batch left the queue; one wait in seconds per item of it."""


@dataclass(frozen=True, slots=True)
class Answer(Generic[Result]):
    """An item's result and the seconds it queued for."""

    result: Result
    queue_s: float


@dataclass(slots=True, eq=False)
class _Waiter(Generic[Item, Result]):
    """A queued item. Its future is done early when its caller left or its deadline passed."""

    item: Item
    answer: asyncio.Future[Answer[Result]]
    queued_at_s: float
    queue_s: float = 0.0


class Batcher(Generic[Item, Result]):
    """Gathers items into batches and hands each caller its own answer.

    Args:
        process: Computes one batch: as many results as items, in the same order.
        max_batch_size: The most items in a batch.
        queue_capacity: The most items that wait; batches in flight do not count.
        concurrency: The most batches in flight.
        batch_timeout_us: How long a part-filled batch waits for more items while a worker is idle; 0 waits for nothing.
        observer: Told of every change of the queue.
    """

    def __init__(
        self,
        process: Callable[[list[Item]], Awaitable[list[Result]]],
        *,
        max_batch_size: int,
        queue_capacity: int,
        concurrency: int,
        batch_timeout_us: int = 0,
        observer: Observer,
    ) -> None:
        self._process = process
        self._max_batch_size = max_batch_size
        self._queue_capacity = queue_capacity
        self._concurrency = concurrency
        self._batch_timeout_s = batch_timeout_us / 1e6
        self._observer = observer
        # Ordered by arrival; keyed so that a waiter whose caller left frees its place in O(1).
        self._queue: OrderedDict[_Waiter[Item, Result], None] = OrderedDict()
        self._in_flight: set[asyncio.Task[None]] = set()
        self._alarm: asyncio.TimerHandle | None = None
        self._closed = False

    async def submit(self, items: Sequence[Item], timeout_s: float) -> list[Answer[Result]]:
        """Queue all items or none, and return their answers in order.

        Raises:
            QueueFullError: There is no room for all of the items.
            ClosedError: The batcher is draining.
            DeadlineError: `timeout_s` seconds passed; what was still queued is not computed.
            Exception: Whatever `process` raised for one of the items on its own.
        """
        loop = asyncio.get_running_loop()
        waiters = self._admit(items, loop)
        expiry = loop.call_later(timeout_s, _expire, waiters, timeout_s)
        self._form_batches()
        try:
            return [await waiter.answer for waiter in waiters]
        except BaseException:
            self._abandon(waiters)
            raise
        finally:
            expiry.cancel()

    async def drain(self) -> None:
        """Refuse new work and return once all accepted work is answered."""
        self._closed = True
        self._form_batches()
        # A batch that ends starts the next one first, so nothing can be queued once none is in flight.
        while self._in_flight:
            await asyncio.wait(self._in_flight)

    def _admit(self, items: Sequence[Item], loop: asyncio.AbstractEventLoop) -> list[_Waiter[Item, Result]]:
        if self._closed:
            raise ClosedError("The server is shutting down and takes no more queries.")
        if len(self._queue) + len(items) > self._queue_capacity:
            raise QueueFullError(
                f"{len(self._queue)} of {self._queue_capacity} places in the queue are taken; "
                f"there is no room for {len(items)} more."
            )
        now_s = time.perf_counter()  # Not the loop's clock, which may tick in milliseconds.
        waiters = [_Waiter[Item, Result](item, loop.create_future(), now_s) for item in items]
        self._queue.update((waiter, None) for waiter in waiters)
        self._observer.queue_changed(len(self._queue))
        return waiters

    def _abandon(self, waiters: list[_Waiter[Item, Result]]) -> None:
        for waiter in waiters:
            self._queue.pop(waiter, None)
            if not waiter.answer.cancel() and not waiter.answer.cancelled():
                waiter.answer.exception()  # Seen: asyncio reports exceptions that nobody retrieves.
        self._observer.queue_changed(len(self._queue))

    def _form_batches(self) -> None:
        loop = asyncio.get_running_loop()
        while self._queue and len(self._in_flight) < self._concurrency and not self._waits_for_company(loop):
            batch = self._take_batch(time.perf_counter())
            if batch:
                self._in_flight.add(loop.create_task(self._run(batch)))

    def _waits_for_company(self, loop: asyncio.AbstractEventLoop) -> bool:
        if self._closed or self._batch_timeout_s == 0 or len(self._queue) >= self._max_batch_size:
            return False
        left_s = next(iter(self._queue)).queued_at_s + self._batch_timeout_s - time.perf_counter()
        if left_s > 0 and self._alarm is None:
            self._alarm = loop.call_later(left_s, self._on_alarm)
        return left_s > 0

    def _on_alarm(self) -> None:
        self._alarm = None
        self._form_batches()

    def _take_batch(self, now_s: float) -> list[_Waiter[Item, Result]]:
        batch: list[_Waiter[Item, Result]] = []
        while self._queue and len(batch) < self._max_batch_size:
            waiter, _ = self._queue.popitem(last=False)
            if not waiter.answer.done():
                waiter.queue_s = now_s - waiter.queued_at_s
                batch.append(waiter)
        self._observer.queue_changed(len(self._queue))
        if batch:
            self._observer.batch_formed([waiter.queue_s for waiter in batch])
        return batch

    async def _run(self, batch: list[_Waiter[Item, Result]]) -> None:
        try:
            await self._answer(batch)
        finally:
            for waiter in batch:
                waiter.answer.cancel()  # Only takes effect where the computation itself was cancelled.
            task = asyncio.current_task()
            assert task is not None  # noqa: S101  (we are inside it)
            self._in_flight.discard(task)
            self._form_batches()

    async def _answer(self, batch: list[_Waiter[Item, Result]]) -> None:
        """Answer each waiter; where the batch fails, each item is tried alone so that only the culprit fails."""
        try:
            results = await self._process([waiter.item for waiter in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"A batch of {len(batch)} items came back with {len(results)} results.")
        except Exception as error:
            if len(batch) == 1:
                if not batch[0].answer.done():
                    batch[0].answer.set_exception(error)
                return
            for waiter in batch:
                if not waiter.answer.done():
                    await self._answer([waiter])
            return
        for waiter, result in zip(batch, results, strict=True):
            if not waiter.answer.done():
                waiter.answer.set_result(Answer(result, waiter.queue_s))


def _expire(waiters: list[_Waiter[Item, Result]], timeout_s: float) -> None:
    for waiter in waiters:
        if not waiter.answer.done():
            waiter.answer.set_exception(DeadlineError(f"No answer within the deadline of {timeout_s * 1e3:g} ms."))
