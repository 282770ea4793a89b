"""The batcher through any history of what clients, the clock and the computation may do, against a model of it.

A rule does one thing, and may let the event loop come to rest; what must hold then holds after every rule. Time stands
still but for the rule that moves it.
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
"""Far from what a test takes: only the clock that the rules move reaches it."""
Task = asyncio.Task[Answers[tuple[int, int]]]


class Loop(asyncio.SelectorEventLoop):
    """An event loop whose time, and the batcher's, passes when a rule says so."""

    now_s = 0.0

    def time(self) -> float:
        return self.now_s


class Queue:
    """What an observer is told: the length of the queue, and its longest."""

    def __init__(self) -> None:
        self.length = self.longest = 0
        self.taken = 0

    def queue_changed(self, length: int) -> None:
        self.length, self.longest = length, max(self.longest, length)

    def batch_formed(self, waits_s: Sequence[float]) -> None:
        self.taken += len(waits_s)


class Computation:
    """Batches begun and not ended; of an inline one, the event loop has the results at once.

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
    """A batcher, and what each of its callers may expect."""

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
        """How often items of who left had begun by then, and 0 of those that expired in the queue: never again."""
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
        """Every callback that is ready runs, and those that they make ready."""

        async def turns() -> None:
            for _ in range(60):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turns())

    def expire(self) -> None:
        """The items whose time is up may not begin from now on."""
        late = {item for item, deadline_s in self.deadlines_s.items() if deadline_s <= self.loop.now_s}
        self.frozen.update({item: 0 for item in late if not self.compute.began[item]})

    @rule(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=3), poisoned=st.integers(0, 9), settle=st.booleans())
    def submit(self, sizes: list[int], poisoned: int, settle: bool) -> None:
        """Some clients at once; of the items one may have no result."""
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
        """A client gives up."""
        waiting = [(items, task) for items, task in self.tasks if not task.done()]
        items, task = data.draw(st.sampled_from(waiting), "client")
        task.cancel()
        self.frozen.update({item: self.compute.began[item] for item in items})
        if settle:
            self.settle()

    @precondition(lambda self: self.compute.running)
    @rule(data=st.data())
    def end_batch(self, data: st.DataObject) -> None:
        """A batch comes back, well or not as its items are."""
        self.expire()
        self.compute.end(data.draw(st.integers(0, len(self.compute.running) - 1), "batch"))
        self.settle()

    @precondition(lambda self: self.compute.running)
    @rule(data=st.data())
    def lose_results(self, data: st.DataObject) -> None:
        """A batch comes back with a result too few."""
        self.expire()
        batch, future = self.compute.running.pop(data.draw(st.integers(0, len(self.compute.running) - 1), "batch"))
        self.compute.poison.update(batch)
        future.set_result([(item, 0) for item in batch[1:]])
        self.settle()

    @rule(share=st.sampled_from([0.3, 0.6]), settle=st.booleans())
    def pass_time(self, share: float, settle: bool) -> None:
        """Time passes; an alarm rings when the event loop has its turn."""
        self.move_to(self.loop.now_s + share * TIMEOUT_S, settle=settle)

    @precondition(lambda self: self.waiting_deadlines_s())
    @rule(late_s=st.sampled_from([0.0, 1.0]), settle=st.booleans())
    def reach_deadline(self, late_s: float, settle: bool) -> None:
        """The first deadline has come, for which no alarm rings before a little later, or has passed."""
        self.move_to(max(self.loop.now_s, self.waiting_deadlines_s()[0] + late_s), settle=settle)

    def waiting_deadlines_s(self) -> list[float]:
        """Of who waits, the next first."""
        return sorted(self.deadlines_s[items[0]] for items, task in self.asked() if not task.done())

    def asked(self) -> list[tuple[list[int], Task]]:
        """Those whose clients had their turn."""
        return [(items, task) for items, task in self.tasks if items[0] in self.deadlines_s]

    def move_to(self, now_s: float, *, settle: bool) -> None:
        self.loop.now_s = now_s
        self.expire()
        if settle:
            self.settle()

    @precondition(lambda self: self.drain is None and len(self.tasks) > 8)  # else it would come too early, mostly
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
        """Everything ends, and everyone has got what is theirs."""
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
