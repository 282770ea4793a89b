"""The batcher under random histories of clients, clock and computation, compared with a model of it.

Each rule does one thing, and may let the event loop run until it is idle; the invariants are checked after every rule.
Time passes only in the rule that moves the clock.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from unittest.mock import patch

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from astec.server.engine.batching.batcher import Answers, Batcher, ClosedError, DeadlineError, QueueFullError

TIMEOUT_S = 3600.0
"""A deadline that only the test clock, moved by the rules, can reach."""
Task = asyncio.Task[Answers[tuple[int, int]]]


class Loop(asyncio.SelectorEventLoop):
    """An event loop on the test clock, which the batcher reads too and only the rules move."""

    now_s = 0.0

    def time(self) -> float:
        return self.now_s


class Queue:
    """An observer that keeps the current and the greatest length of the queue."""

    def __init__(self) -> None:
        self.length = self.longest = 0
        self.taken = 0

    def queue_changed(self, length: int) -> None:
        self.length, self.longest = length, max(self.longest, length)

    def batch_formed(self, waits_s: Sequence[float]) -> None:
        self.taken += len(waits_s)


class Computation:
    """The batches that have begun and not ended; an inline batch has its results at once.

    A result is the item and how often it was computed before.
    """

    def __init__(self, *, inline: bool) -> None:
        self.inline = inline
        self.poison: set[int] = set()
        self.began: Counter[int] = Counter()
        self.sizes: list[int] = []
        self.running: list[tuple[list[int], asyncio.Future[list[tuple[int, int]]]]] = []

    def __call__(self, batch: list[int]) -> asyncio.Future[list[tuple[int, int]]]:
        future: asyncio.Future[list[tuple[int, int]]] = asyncio.get_running_loop().create_future()
        self.sizes.append(len(batch))
        self.running.append((batch, future))
        self.began.update(batch)
        if self.inline:
            self.end(0)
        return future

    def end(self, position: int) -> None:
        batch, future = self.running.pop(position)
        if self.poison.intersection(batch):
            future.set_exception(ArithmeticError("poison"))
        else:
            future.set_result([(item, self.began[item] - 1) for item in batch])


class BatcherStates(RuleBasedStateMachine):
    """A batcher, and the outcomes that each of its callers may expect."""

    @initialize(
        inline=st.booleans(),
        size=st.integers(1, 4),
        capacity=st.integers(4, 16),
        concurrency=st.integers(1, 2),
    )
    def begin(self, inline: bool, size: int, capacity: int, concurrency: int) -> None:
        self.loop, self.queue, self.compute = Loop(), Queue(), Computation(inline=inline)
        self.clock = patch.object(time, "perf_counter", self.loop.time)
        self.clock.start()
        self.size, self.capacity, self.concurrency = size, capacity, concurrency
        self.batcher = self.loop.run_until_complete(self.make())
        self.tasks: list[tuple[list[int], Task]] = []
        self.frozen: dict[int, int] = {}
        """Times that items of callers that left had begun by then, 0 for items that expired in the queue.

        They must never begin again.
        """
        self.errors: list[object] = []
        self.loop.set_exception_handler(lambda _, context: self.errors.append(context))
        self.deadlines_s: dict[int, float] = {}
        self.fresh = 0
        self.drain: asyncio.Task[None] | None = None

    async def make(self) -> Batcher[int, tuple[int, int]]:
        return Batcher[int, tuple[int, int]](
            self.compute,
            max_batch_size=self.size,
            queue_capacity=self.capacity,
            concurrency=self.concurrency,
            timeout_s=TIMEOUT_S,
            observer=self.queue,
        )

    async def ask(self, items: list[int]) -> Answers[tuple[int, int]]:
        self.deadlines_s.update(dict.fromkeys(items, self.loop.now_s + TIMEOUT_S))
        return await self.batcher.submit(items)

    def settle(self) -> None:
        """Run every callback that is ready, and the callbacks that these schedule."""

        async def turns() -> None:
            for _ in range(60):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turns())

    def expire(self) -> None:
        """Mark the queued items whose deadline has passed: they must not begin from now on."""
        late = {item for item, deadline_s in self.deadlines_s.items() if deadline_s <= self.loop.now_s}
        self.frozen.update({item: 0 for item in late if not self.compute.began[item]})

    @rule(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=3), poisoned=st.integers(0, 9), settle=st.booleans())
    def submit(self, sizes: list[int], poisoned: int, settle: bool) -> None:
        """Several clients submit at once; one of the items may fail."""
        for size in sizes:
            items = list(range(self.fresh, self.fresh + size))
            self.fresh += size
            if poisoned < size:
                self.compute.poison.add(items[poisoned])
            self.tasks.append((items, self.loop.create_task(self.ask(items))))
        if settle:
            self.settle()

    @precondition(lambda self: any(not task.done() for _, task in self.tasks))
    @rule(data=st.data(), settle=st.booleans())
    def leave(self, data: st.DataObject, settle: bool) -> None:
        """A client cancels its submission."""
        waiting = [(items, task) for items, task in self.tasks if not task.done()]
        items, task = data.draw(st.sampled_from(waiting), "client")
        task.cancel()
        self.frozen.update({item: self.compute.began[item] for item in items})
        if settle:
            self.settle()

    @precondition(lambda self: self.compute.running)
    @rule(data=st.data())
    def end_batch(self, data: st.DataObject) -> None:
        """A batch ends, with an error if one of its items fails."""
        self.expire()
        self.compute.end(data.draw(st.integers(0, len(self.compute.running) - 1), "batch"))
        self.settle()

    @precondition(lambda self: self.compute.running)
    @rule(data=st.data())
    def lose_results(self, data: st.DataObject) -> None:
        """A batch ends with one result too few."""
        self.expire()
        batch, future = self.compute.running.pop(data.draw(st.integers(0, len(self.compute.running) - 1), "batch"))
        self.compute.poison.update(batch)
        future.set_result([(item, 0) for item in batch[1:]])
        self.settle()

    @rule(share=st.sampled_from([0.3, 0.6]), settle=st.booleans())
    def pass_time(self, share: float, settle: bool) -> None:
        """Time passes; timers fire when the event loop runs."""
        self.move_to(self.loop.now_s + share * TIMEOUT_S, settle=settle)

    @precondition(lambda self: self.waiting_deadlines_s())
    @rule(late_s=st.sampled_from([0.0, 1.0]), settle=st.booleans())
    def reach_deadline(self, late_s: float, settle: bool) -> None:
        """The first deadline has come, just before its timer fires, or has passed."""
        self.move_to(max(self.loop.now_s, self.waiting_deadlines_s()[0] + late_s), settle=settle)

    def waiting_deadlines_s(self) -> list[float]:
        """The deadlines of the waiting callers, the next first."""
        return sorted(self.deadlines_s[items[0]] for items, task in self.asked() if not task.done())

    def asked(self) -> list[tuple[list[int], Task]]:
        """The submissions whose clients have run."""
        return [(items, task) for items, task in self.tasks if items[0] in self.deadlines_s]

    def move_to(self, now_s: float, *, settle: bool) -> None:
        self.loop.now_s = now_s
        self.expire()
        if settle:
            self.settle()

    @precondition(lambda self: self.drain is None and len(self.tasks) > 8)  # Otherwise most histories would be short.
    @rule()
    def begin_drain(self) -> None:
        """The server shuts down."""
        self.settle()
        self.expire()
        self.drain = self.loop.create_task(self.batcher.drain())
        self.settle()

    @invariant()
    def limits_hold(self) -> None:
        if not hasattr(self, "batcher"):
            return
        assert 0 <= self.queue.length <= self.queue.longest <= self.capacity
        assert len(self.compute.running) <= self.concurrency
        assert max(self.compute.sizes, default=0) <= self.size
        assert all(self.compute.began[item] == began for item, began in self.frozen.items())
        assert not self.errors

    def teardown(self) -> None:
        """Everything ends, and every caller has its own results."""
        if not hasattr(self, "batcher"):
            return
        self.settle()
        self.expire()
        drain = self.drain or self.loop.create_task(self.batcher.drain())
        self.settle()
        while self.compute.running:
            self.expire()
            self.compute.end(0)
            self.settle()
        assert drain.done(), "to drain ends with the last batch"
        assert self.queue.length == 0
        for items, task in self.tasks:
            assert task.done(), "nobody waits for ever"
            self.check(items, task)
        late = self.loop.create_task(self.batcher.submit([-1]))
        self.settle()
        assert isinstance(late.exception(), ClosedError)
        self.limits_hold()
        self.loop.close()
        self.clock.stop()

    def check(self, items: list[int], task: Task) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            assert [item for item, _ in task.result().results] == items
            assert not self.compute.poison.intersection(items)
        elif isinstance(error, QueueFullError | ClosedError):
            assert not any(self.compute.began[item] for item in items), "refused as a whole"
        elif isinstance(error, DeadlineError):
            assert self.deadlines_s[items[0]] <= self.loop.now_s
        else:
            assert isinstance(error, ArithmeticError | RuntimeError)
            assert self.compute.poison.intersection(items)


TestBatcherStates = BatcherStates.TestCase
TestBatcherStates.settings = settings(derandomize=True, deadline=None, max_examples=100, stateful_step_count=50)
