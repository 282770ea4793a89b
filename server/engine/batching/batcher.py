"""Micro-batching on asyncio: the items that queue while a batch is computed form the next batch.

Knows neither HTTP nor numpy. All state belongs to one event loop, so there are no locks.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Generic, NamedTuple, Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# Event loops round timers to milliseconds. A timer that is set this much later never fires before its time.
TIMER_SLACK_S = 0.001


class BatcherError(Exception):
    """An item was not computed, and the item is not the cause."""


class QueueFullError(BatcherError):
    """The queue has no room for all items of a submission; none of them was queued."""


class DeadlineError(BatcherError):
    """The deadline passed before the results were there."""


class ClosedError(BatcherError):
    """The batcher is draining and accepts no more items."""


class CallerLeftError(BatcherError):
    """The caller no longer waits for the results, so they were not computed."""


class Caller(Protocol):
    """The client that waits for a submission. `disconnected` is read just before the items would be computed."""

    @property
    def disconnected(self) -> bool:
        """Whether the client no longer waits."""


class Waiting(Protocol[Result]):
    """Waits for the results of a submission, as far as a batcher uses an `asyncio.Future`."""

    def done(self) -> bool:
        """Return whether it waits no longer."""

    def set_result(self, result: Answers[Result], /) -> object:
        """Take the results."""

    def set_exception(self, exception: BaseException, /) -> object:
        """Take the reason why there are no results."""

    def exception(self) -> BaseException | None:
        """Return that reason."""

    def cancel(self) -> object:
        """Wait no longer."""


class Observer(Protocol):
    """The metrics that a batcher reports to."""

    def queue_changed(self, length: int) -> None:
        """Record that `length` items are queued now."""

    def batch_formed(self, waits_s: Sequence[float]) -> None:
        """Record a batch that left the queue, by the seconds that each of its items waited."""


class Answers(NamedTuple, Generic[Result]):
    """The results of a submission, in the order of its items, and the longest time that an item queued, in seconds."""

    results: list[Result]
    queue_s: float


class _Submission(Generic[Item, Result]):
    """The items that one caller waits for.

    `waiting` is done early if the caller left, the deadline passed or an item failed.
    """

    __slots__ = ("caller", "deadline_s", "items", "missing", "queue_s", "queued_at_s", "results", "taken", "waiting")

    def __init__(
        self,
        items: Sequence[Item],
        caller: Caller | None,
        waiting: Waiting[Result],
        queued_at_s: float,
        timeout_s: float,
    ) -> None:
        self.items = items
        self.caller = caller
        self.waiting = waiting
        self.queued_at_s = queued_at_s
        self.deadline_s = queued_at_s + timeout_s
        self.queue_s = 0.0  # Queueing time of the items that left the queue last.
        self.taken = 0  # Number of items that have left the queue.
        self.missing = len(items)  # Number of items without a result.
        self.results: dict[int, Result] | None = None  # of several batches

    def deliver(self, begin: int, results: list[Result]) -> None:
        """Store the results of the items from `begin` on, and answer the caller once no result is missing."""
        self.missing -= len(results)
        if self.missing or self.results is not None:
            if self.results is None:
                self.results = {}
            self.results.update(enumerate(results, begin))
            if self.missing:
                return
            # In the order of the items; batches may end in another order.
            results = [self.results[position] for position in range(len(self.items))]
        if not self.waiting.done():
            self.waiting.set_result(Answers(results, self.queue_s))


class _Part(NamedTuple, Generic[Item, Result]):
    """The part of a batch that belongs to one submission: its items from `begin` to `end`."""

    submission: _Submission[Item, Result]
    begin: int
    end: int


_Batch = list[_Part[Item, Result]]


class Batcher(Generic[Item, Result]):
    """Gathers items into batches and gives each caller the results of its own items.

    Belongs to the event loop in which it is created.

    Args:
        process: Computes one batch, or starts to compute it. Its future has one result per item, in the same order.
        max_batch_size: The most items in a batch.
        queue_capacity: The most items in the queue; batches in flight do not count.
        concurrency: The most batches in flight at a time.
        timeout_s: The longest time that a submission may take; items that are still queued then are not computed.
        batch_timeout_us: How long a batch that is not full waits for more items while it could be computed; 0: not.
        observer: The metrics that every change of the queue is reported to.
    """

    def __init__(
        self,
        process: Callable[[list[Item]], asyncio.Future[list[Result]]],
        *,
        max_batch_size: int,
        queue_capacity: int,
        concurrency: int,
        timeout_s: float,
        batch_timeout_us: int = 0,
        observer: Observer,
    ) -> None:
        self._process = process
        self._max_batch_size = max_batch_size
        self._queue_capacity = queue_capacity
        self._concurrency = concurrency
        self._timeout_s = timeout_s
        self._batch_timeout_s = batch_timeout_us / 1e6
        self._observer = observer
        self._loop = asyncio.get_running_loop()
        # Both in order of arrival, and dictionaries, so that a submission is removed in O(1). As all have the same
        # timeout, the oldest unanswered submission is the first to expire, and one timer is enough for all of them.
        self._queue: OrderedDict[_Submission[Item, Result], None] = OrderedDict()
        self._unanswered: OrderedDict[_Submission[Item, Result], None] = OrderedDict()
        self._queued_items = 0
        self._in_flight = 0
        self._forms_soon = False  # whether batches are formed at the end of this turn of the event loop
        self._deadline_timer: asyncio.TimerHandle | None = None
        self._batch_timer: asyncio.TimerHandle | None = None
        self._retries: set[asyncio.Task[None]] = set()
        self._closed = False
        self._drained = asyncio.Event()

    def has_room(self, items: int) -> bool:
        """Return whether the queue has room for so many items."""
        return self._queued_items + items <= self._queue_capacity

    async def submit(self, items: Sequence[Item], caller: Caller | None = None) -> Answers[Result]:
        """Queue all items or none, and return their results.

        Raises:
            QueueFullError: There is no room for all of the items.
            ClosedError: The batcher is draining.
            DeadlineError: The deadline passed; items that were still queued are not computed.
            CallerLeftError: The caller had disconnected when the items would have been computed.
            Exception: The error that `process` raised for one of the items when it was computed alone.
        """
        future: asyncio.Future[Answers[Result]] = self._loop.create_future()
        submission = self.enqueue(items, caller, future)
        try:
            return await future
        finally:
            if submission in self._unanswered:
                self._forget(submission)
            # An error in the future refers to this frame: without this it would be a reference cycle, which only the
            # garbage collector frees.
            del submission, future

    def enqueue(
        self, items: Sequence[Item], caller: Caller | None, waiting: Waiting[Result]
    ) -> _Submission[Item, Result]:
        """Queue all items or none; `waiting` gets the results, or the error, when they are there.

        Raises:
            QueueFullError, ClosedError: As `submit`.
        """
        submission = self._admit(items, caller, waiting)
        if not self._forms_soon:
            # Everything that arrives in this turn of the event loop is queued first, and forms one batch.
            self._forms_soon = True
            self._loop.call_soon(self._form_first_batches)
        return submission

    async def drain(self) -> None:
        """Refuse new items, and return once all accepted items are answered."""
        self._closed = True
        self._form_batches()
        if self._in_flight:
            await self._drained.wait()
        for timer in (self._deadline_timer, self._batch_timer):
            if timer is not None:
                timer.cancel()

    def _admit(
        self, items: Sequence[Item], caller: Caller | None, waiting: Waiting[Result]
    ) -> _Submission[Item, Result]:
        if self._closed:
            raise ClosedError("The server is shutting down and takes no more queries.")
        if not self.has_room(len(items)):
            raise QueueFullError(
                f"{self._queued_items} of {self._queue_capacity} places in the queue are taken; "
                f"there is no room for {len(items)} more."
            )
        now_s = time.perf_counter()  # The clock of the event loop may have a resolution of milliseconds.
        submission: _Submission[Item, Result] = _Submission(items, caller, waiting, now_s, self._timeout_s)
        self._queue[submission] = self._unanswered[submission] = None
        self._queued_items += len(items)
        if self._deadline_timer is None:
            self._deadline_timer = self._loop.call_later(self._timeout_s + TIMER_SLACK_S, self._on_deadline)
        return submission

    def _forget(self, submission: _Submission[Item, Result]) -> None:
        """Drop a submission and the items of it that are still queued."""
        del self._unanswered[submission]
        if submission in self._queue:
            del self._queue[submission]
            self._queued_items -= len(submission.items) - submission.taken
            self._observer.queue_changed(self._queued_items)

    def _form_first_batches(self) -> None:
        self._forms_soon = False
        self._observer.queue_changed(self._queued_items)
        self._form_batches()

    def _form_batches(self) -> None:
        while self._queue and self._in_flight < self._concurrency and not self._waits_for_more_items():
            if batch := self._take_batch(time.perf_counter()):
                self._start(batch)

    def _waits_for_more_items(self) -> bool:
        if self._closed or self._batch_timeout_s == 0 or self._queued_items >= self._max_batch_size:
            return False
        left_s = next(iter(self._queue)).queued_at_s + self._batch_timeout_s - time.perf_counter()
        if left_s > 0 and self._batch_timer is None:
            self._batch_timer = self._loop.call_later(left_s, self._on_batch_timeout)
        return left_s > 0

    def _on_batch_timeout(self) -> None:
        self._batch_timer = None
        self._form_batches()

    def _take_batch(self, now_s: float) -> _Batch[Item, Result]:
        batch: _Batch[Item, Result] = []
        waits_s: list[float] = []
        while self._queue and len(waits_s) < self._max_batch_size:
            submission = next(iter(self._queue))
            if submission.deadline_s <= now_s:
                self._expire(submission)
            elif submission.caller is not None and submission.caller.disconnected:
                _fail(submission, CallerLeftError("The client closed the connection before its answer was ready."))
            if submission.waiting.done():
                self._forget(submission)
                continue
            begin, queue_s = submission.taken, now_s - submission.queued_at_s
            end = min(len(submission.items), begin + self._max_batch_size - len(waits_s))
            batch.append(_Part(submission, begin, end))
            waits_s += [queue_s] * (end - begin)
            submission.taken, submission.queue_s = end, queue_s
            self._queued_items -= end - begin
            if end == len(submission.items):
                del self._queue[submission]
        self._observer.queue_changed(self._queued_items)
        if batch:
            self._observer.batch_formed(waits_s)
        return batch

    def _start(self, batch: _Batch[Item, Result]) -> None:
        self._in_flight += 1
        results = self._compute(batch)
        if not results.done():
            results.add_done_callback(partial(self._on_computed, batch))
        elif self._queue:
            # It was computed on the event loop. Other events have their turn before the next batch.
            self._loop.call_soon(self._on_computed, batch, results)
        else:
            self._on_computed(batch, results)

    def _compute(self, batch: _Batch[Item, Result]) -> asyncio.Future[list[Result]]:
        try:
            return self._process([item for submission, begin, end in batch for item in submission.items[begin:end]])
        except Exception as error:
            failed: asyncio.Future[list[Result]] = self._loop.create_future()
            failed.set_exception(error)
            return failed

    def _on_computed(self, batch: _Batch[Item, Result], results: asyncio.Future[list[Result]]) -> None:
        error = _error_of(results, batch)
        if error is not None and (len(batch) > 1 or batch[0].end - batch[0].begin > 1):
            # The batch stays in flight while its items are computed one by one, so that only the faulty item fails.
            retry = self._loop.create_task(self._compute_one_by_one(batch))
            self._retries.add(retry)
            retry.add_done_callback(self._retries.discard)
            return
        self._answer(batch, results, error)
        self._end()

    async def _compute_one_by_one(self, batch: _Batch[Item, Result]) -> None:
        try:
            for submission, begin, end in batch:
                for position in range(begin, end):
                    if not submission.waiting.done():
                        single = [_Part(submission, position, position + 1)]
                        results = self._compute(single)
                        await asyncio.wait([results])
                        self._answer(single, results, _error_of(results, single))
        finally:
            self._end()

    def _answer(
        self, batch: _Batch[Item, Result], results: asyncio.Future[list[Result]], error: BaseException | None
    ) -> None:
        if results.cancelled() or error is not None:
            for part in batch:
                if error is None:
                    part.submission.waiting.cancel()
                else:
                    _fail(part.submission, error)
                if part.submission in self._unanswered:
                    self._forget(part.submission)
        else:
            computed, used = results.result(), 0
            for submission, begin, end in batch:
                submission.deliver(begin, computed[used : used + end - begin])
                used += end - begin
                if submission.missing == 0:
                    self._unanswered.pop(submission, None)

    def _end(self) -> None:
        self._in_flight -= 1
        self._form_batches()
        # The next batch was started just above, so when none is in flight the queue is empty.
        if self._closed and not self._in_flight:
            self._drained.set()

    def _on_deadline(self) -> None:
        self._deadline_timer = None
        now_s = time.perf_counter()
        while self._unanswered:
            oldest = next(iter(self._unanswered))
            if oldest.deadline_s > now_s:
                left_s = oldest.deadline_s - now_s + TIMER_SLACK_S
                self._deadline_timer = self._loop.call_later(left_s, self._on_deadline)
                return
            self._expire(oldest)
            self._forget(oldest)

    def _expire(self, submission: _Submission[Item, Result]) -> None:
        _fail(submission, DeadlineError(f"No answer within the deadline of {self._timeout_s * 1e3:g} ms."))


def _fail(submission: _Submission[Item, Result], error: BaseException) -> None:
    if not submission.waiting.done():
        submission.waiting.set_exception(error)
        submission.waiting.exception()  # Marks it as retrieved: asyncio logs no error if the caller just left.


def _error_of(results: asyncio.Future[list[Result]], batch: _Batch[Item, Result]) -> BaseException | None:
    """Return the error of a batch; None if it has results or was cancelled."""
    if results.cancelled():
        return None
    if (error := results.exception()) is not None:
        return error
    num_results, num_items = len(results.result()), sum([end - begin for _, begin, end in batch])
    if num_results != num_items:
        return RuntimeError(f"A batch of {num_items} items came back with {num_results} results.")
    return None
