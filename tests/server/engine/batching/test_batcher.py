"""The batcher: batches, queue, deadlines and cancellation."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astec.server.engine.batching.batcher import (
    Answers,
    Batcher,
    CallerLeftError,
    ClosedError,
    DeadlineError,
    QueueFullError,
)

FAR_S = 3600.0


class Recorder:
    def __init__(self) -> None:
        self.lengths: list[int] = []
        self.waits_s: list[list[float]] = []

    def queue_changed(self, length: int) -> None:
        self.lengths.append(length)

    def batch_formed(self, waits_s: Sequence[float]) -> None:
        self.waits_s.append(list(waits_s))


class Worker:
    """A computation that ends when the test releases it: doubles numbers, and fails for numbers in `poison`."""

    def __init__(self, *, gated: bool = True, poison: frozenset[int] = frozenset()) -> None:
        self.batches: list[list[int]] = []
        self.most_in_flight = 0
        self._gated = gated
        self._poison = poison
        self._gates: list[asyncio.Event] = []
        self._in_flight = 0

    @property
    def processed(self) -> list[int]:
        return [item for batch in self.batches for item in batch]

    @property
    def busy(self) -> int:
        return len(self._gates)

    async def __call__(self, items: list[int]) -> list[int]:
        self.batches.append(items)
        self._in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self._in_flight)
        try:
            if self._gated:
                gate = asyncio.Event()
                self._gates.append(gate)
                await gate.wait()
            if self._poison.intersection(items):
                raise ArithmeticError("poison")
            return [2 * item for item in items]
        finally:
            self._in_flight -= 1

    def release(self) -> None:
        self._gates.pop(0).set()

    def open(self) -> None:
        self._gated = False
        while self._gates:
            self.release()


def make_batcher(
    worker: Callable[[list[int]], Coroutine[None, None, list[int]]],
    *,
    size: int = 4,
    capacity: int = 100,
    concurrency: int = 1,
    timeout_s: float = FAR_S,
    timeout_us: int = 0,
) -> tuple[Batcher[int, int], Recorder]:
    recorder = Recorder()
    batcher = Batcher[int, int](
        lambda items: asyncio.ensure_future(worker(items)),
        max_batch_size=size,
        queue_capacity=capacity,
        concurrency=concurrency,
        timeout_s=timeout_s,
        batch_timeout_us=timeout_us,
        observer=recorder,
    )
    return batcher, recorder


def submit(batcher: Batcher[int, int], *items: int) -> "asyncio.Task[Answers[int]]":
    return asyncio.create_task(batcher.submit(items))


async def settle() -> None:
    """Run every callback that is ready, and the callbacks that these schedule."""
    for _ in range(20):
        await asyncio.sleep(0)


def results(answers: Answers[int]) -> list[int]:
    return answers.results


async def test_a_single_item_is_not_kept_waiting() -> None:
    batcher, recorder = make_batcher(Worker(gated=False))
    answers = await batcher.submit([21])
    assert answers.results == [42]
    assert recorder.waits_s == [[answers.queue_s]]
    assert answers.queue_s >= 0


async def test_what_queued_while_the_worker_was_busy_forms_the_next_batch() -> None:
    worker = Worker()
    batcher, recorder = make_batcher(worker, size=4)
    tasks = [submit(batcher, 0)]
    await settle()
    tasks += [submit(batcher, item) for item in range(1, 7)]
    await settle()
    assert worker.batches == [[0]]
    worker.release()
    await settle()
    assert worker.batches == [[0], [1, 2, 3, 4]]
    worker.open()
    assert [results(await task) for task in tasks] == [[2 * item] for item in range(7)]
    assert worker.batches == [[0], [1, 2, 3, 4], [5, 6]]
    assert [len(waits) for waits in recorder.waits_s] == [1, 4, 2]
    assert recorder.lengths[-1] == 0


async def test_what_arrives_in_the_same_turn_of_the_loop_is_computed_together() -> None:
    worker = Worker(gated=False)
    batcher, _ = make_batcher(worker)
    tasks = [submit(batcher, item) for item in range(3)]
    assert [results(await task) for task in tasks] == [[0], [2], [4]]
    assert worker.batches == [[0, 1, 2]]


async def test_a_submission_of_several_items_is_answered_in_order() -> None:
    batcher, _ = make_batcher(Worker(gated=False), size=3)
    assert results(await batcher.submit(list(range(10)))) == [2 * item for item in range(10)]


async def test_concurrency_bounds_the_batches_in_flight() -> None:
    worker = Worker()
    batcher, _ = make_batcher(worker, size=1, concurrency=2)
    task = submit(batcher, 1, 2, 3, 4)
    await settle()
    assert worker.busy == 2
    worker.open()
    assert results(await task) == [2, 4, 6, 8]
    assert worker.most_in_flight == 2


async def test_a_full_queue_refuses_at_once_and_whole_submissions_only() -> None:
    worker = Worker()
    batcher, recorder = make_batcher(worker, capacity=3)
    blocking = submit(batcher, 0)
    await settle()
    queued = submit(batcher, 1, 2)
    await settle()
    with pytest.raises(QueueFullError, match=r"2 of 3 places .* no room for 2 more"):
        await batcher.submit([3, 4])
    assert recorder.lengths[-1] == 2
    last = submit(batcher, 5)
    await settle()
    worker.open()
    assert [results(await task) for task in (blocking, queued, last)] == [[0], [2, 4], [10]]
    assert worker.processed == [0, 1, 2, 5]


async def test_a_cancelled_caller_frees_its_places_and_is_not_computed() -> None:
    worker = Worker()
    batcher, recorder = make_batcher(worker, capacity=2)
    blocking = submit(batcher, 0)
    await settle()
    leaver = submit(batcher, 1, 2)
    await settle()
    leaver.cancel()
    await settle()
    assert recorder.lengths[-1] == 0
    stayer = submit(batcher, 3, 4)
    await settle()
    worker.open()
    assert results(await stayer) == [6, 8]
    await blocking
    assert leaver.cancelled()
    assert worker.processed == [0, 3, 4]


class Client:
    def __init__(self) -> None:
        self.disconnected = False


async def test_a_caller_that_hung_up_while_it_queued_is_not_computed() -> None:
    worker = Worker()
    batcher, recorder = make_batcher(worker)
    blocking = submit(batcher, 0)
    await settle()
    clients = [Client() for _ in range(3)]
    tasks = [asyncio.create_task(batcher.submit([item], client)) for item, client in enumerate(clients, 1)]
    await settle()
    clients[1].disconnected = True
    worker.open()
    await asyncio.wait([blocking, *tasks])
    assert [type(task.exception()) for task in tasks] == [type(None), CallerLeftError, type(None)]
    assert worker.batches == [[0], [1, 3]]
    assert recorder.lengths[-1] == 0


async def test_a_caller_that_hangs_up_while_it_is_computed_takes_nothing_from_others() -> None:
    worker = Worker()
    batcher, _ = make_batcher(worker)
    clients = [Client(), Client()]
    tasks = [asyncio.create_task(batcher.submit([item], client)) for item, client in enumerate(clients)]
    await settle()
    clients[0].disconnected = True
    worker.open()
    assert [results(await task) for task in tasks] == [[0], [2]]


async def test_a_queue_of_callers_that_hung_up_makes_room_at_once() -> None:
    worker = Worker()
    batcher, recorder = make_batcher(worker, size=1, capacity=4)
    blocking = submit(batcher, 0)
    await settle()
    gone = Client()
    tasks = [asyncio.create_task(batcher.submit([item], gone)) for item in range(1, 5)]
    await settle()
    gone.disconnected = True
    worker.open()
    await asyncio.wait([blocking, *tasks])
    assert {type(task.exception()) for task in tasks} == {CallerLeftError}
    assert recorder.lengths[-1] == 0
    assert results(await batcher.submit([5, 6, 7, 8])) == [10, 12, 14, 16]
    assert worker.processed == [0, 5, 6, 7, 8]


async def test_cancelling_in_the_moment_before_the_batch_forms_still_drops_the_item() -> None:
    worker = Worker()
    batcher, _ = make_batcher(worker)
    blocking = submit(batcher, 0)
    await settle()
    leaver = submit(batcher, 1)
    await settle()
    worker.open()
    leaver.cancel()
    await blocking
    await batcher.drain()
    assert worker.processed == [0]


async def test_an_expired_item_fails_while_it_queues_and_is_not_computed() -> None:
    worker = Worker()
    batcher, recorder = make_batcher(worker, timeout_s=0.02)
    blocking = submit(batcher, 0)
    await settle()
    with pytest.raises(DeadlineError, match="20 ms"):
        await batcher.submit([1, 2])
    assert recorder.lengths[-1] == 0
    worker.open()
    with pytest.raises(DeadlineError):
        await blocking
    await batcher.drain()
    assert worker.processed == [0]


async def test_an_expired_item_is_not_computed_even_if_the_timer_has_not_fired_yet() -> None:
    worker = Worker()
    batcher, recorder = make_batcher(worker, timeout_s=0.02)
    blocking = submit(batcher, 0)
    await settle()
    late = submit(batcher, 1, 2)
    await settle()
    worker.open()
    time.sleep(0.03)  # Blocks the event loop and its timers.
    await settle()
    with pytest.raises(DeadlineError):
        await late
    assert recorder.lengths[-1] == 0
    await asyncio.wait([blocking])
    assert worker.processed == [0]


async def test_deadlines_follow_one_another() -> None:
    worker = Worker()
    batcher, _ = make_batcher(worker, timeout_s=0.01)
    tasks = [submit(batcher, 0)]
    for item in (1, 2):
        await asyncio.sleep(0.005)
        tasks.append(submit(batcher, item))
    await asyncio.wait(tasks)
    assert [type(task.exception()) for task in tasks] == [DeadlineError] * 3
    worker.open()
    await batcher.drain()
    assert worker.processed == [0]


async def test_a_deadline_that_passes_during_the_computation_is_reported_too() -> None:
    worker = Worker()
    batcher, _ = make_batcher(worker, timeout_s=0.01)
    with pytest.raises(DeadlineError):
        await batcher.submit([1])
    worker.open()
    assert results(await batcher.submit([2])) == [4]


async def test_poison_fails_alone() -> None:
    worker = Worker(poison=frozenset({2}))
    batcher, _ = make_batcher(worker)
    blocking = submit(batcher, 0)
    await settle()
    tasks = [submit(batcher, item) for item in (1, 2, 3)]
    await settle()
    worker.open()
    await blocking
    assert results(await tasks[0]) == [2]
    with pytest.raises(ArithmeticError, match="poison"):
        await tasks[1]
    assert results(await tasks[2]) == [6]
    assert worker.batches == [[0], [1, 2, 3], [1], [2], [3]]


async def test_a_poisoned_submission_fails_as_a_whole_without_unseen_exceptions() -> None:
    batcher, _ = make_batcher(Worker(gated=False, poison=frozenset({1, 2})), size=1)
    with pytest.raises(ArithmeticError):
        await batcher.submit([1, 2, 3])
    await batcher.drain()


async def test_a_computation_that_loses_results_is_an_error_not_a_mix_up() -> None:
    async def forgetful(items: list[int]) -> list[int]:
        return items[1:]

    batcher, _ = make_batcher(forgetful)
    with pytest.raises(RuntimeError, match="A batch of 1 items came back with 0 results"):
        await batcher.submit([1, 2])


async def test_a_computation_that_cannot_even_begin_fails_its_items() -> None:
    def closed(items: list[int]) -> asyncio.Future[list[int]]:
        raise RuntimeError("closed")

    batcher = Batcher[int, int](
        closed, max_batch_size=4, queue_capacity=4, concurrency=1, timeout_s=FAR_S, observer=Recorder()
    )
    with pytest.raises(RuntimeError, match="closed"):
        await batcher.submit([1, 2])
    await batcher.drain()


async def test_a_cancelled_computation_leaves_nobody_waiting() -> None:
    async def cancelled(items: list[int]) -> list[int]:
        raise asyncio.CancelledError

    batcher, _ = make_batcher(cancelled)
    with pytest.raises(asyncio.CancelledError):
        await batcher.submit([1])


async def test_who_waits_by_other_means_than_a_coroutine_is_told_the_outcome_and_then_forgotten() -> None:
    batcher, _ = make_batcher(Worker(gated=False, poison=frozenset({2})), capacity=2)
    for item in (1, 2):
        futures = [asyncio.get_running_loop().create_future() for _ in range(2)]
        for future in futures:
            batcher.enqueue([item], None, future)
        await asyncio.wait(futures)
        assert [future.exception() is None for future in futures] == [item == 1] * 2
    await batcher.drain()
    assert not batcher._unanswered


async def test_drain_finishes_accepted_work_and_refuses_more() -> None:
    worker = Worker()
    batcher, _ = make_batcher(worker, size=1)
    accepted = submit(batcher, 1, 2, 3)
    await settle()
    draining = asyncio.create_task(batcher.drain())
    await settle()
    with pytest.raises(ClosedError):
        await batcher.submit([4])
    assert not draining.done()
    worker.open()
    await draining
    assert results(await accepted) == [2, 4, 6]


async def test_with_a_timeout_a_part_filled_batch_waits_for_more_items() -> None:
    worker = Worker(gated=False)
    batcher, _ = make_batcher(worker, size=2, timeout_us=3_600_000_000)
    first = submit(batcher, 1)
    await settle()
    assert worker.batches == []
    second = submit(batcher, 2)
    assert [results(await first), results(await second)] == [[2], [4]]
    assert worker.batches == [[1, 2]]


async def test_with_a_timeout_a_lonely_item_is_computed_in_the_end() -> None:
    worker = Worker(gated=False)
    batcher, _ = make_batcher(worker, size=2, timeout_us=200)
    assert results(await batcher.submit([1])) == [2]
    assert results(await batcher.submit([2])) == [4]


async def test_drain_does_not_wait_for_more_items() -> None:
    worker = Worker(gated=False)
    batcher, _ = make_batcher(worker, size=2, timeout_us=3_600_000_000)
    lonely = submit(batcher, 1)
    await settle()
    await batcher.drain()
    assert results(await lonely) == [2]


class Inline:
    """A computation on the event loop: its future is done when it returns."""

    def __init__(self, poison: frozenset[int] = frozenset()) -> None:
        self.batches: list[list[int]] = []
        self._poison = poison

    def __call__(self, items: list[int]) -> asyncio.Future[list[int]]:
        self.batches.append(items)
        future: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
        if self._poison.intersection(items):
            future.set_exception(ArithmeticError("poison"))
        else:
            future.set_result([2 * item for item in items])
        return future


def make_inline(inline: Inline, size: int) -> Batcher[int, int]:
    return Batcher[int, int](
        inline, max_batch_size=size, queue_capacity=100, concurrency=1, timeout_s=FAR_S, observer=Recorder()
    )


async def test_on_the_event_loop_what_arrives_in_the_same_turn_is_computed_together() -> None:
    inline = Inline()
    batcher = make_inline(inline, size=4)
    tasks = [submit(batcher, item) for item in range(3)]
    assert [results(await task) for task in tasks] == [[0], [2], [4]]
    assert results(await batcher.submit([7])) == [14]
    assert inline.batches == [[0, 1, 2], [7]]


async def test_on_the_event_loop_others_have_their_turn_between_batches() -> None:
    inline = Inline()
    batcher = make_inline(inline, size=2)
    turns: list[int] = []

    async def other() -> None:
        while not tasks[-1].done():
            turns.append(len(inline.batches))
            await asyncio.sleep(0)

    tasks = [submit(batcher, 2 * item, 2 * item + 1) for item in range(4)]
    await other()
    assert [results(await task) for task in tasks] == [[0, 2], [4, 6], [8, 10], [12, 14]]
    assert max(after - before for before, after in pairwise(turns)) == 1
    await batcher.drain()


async def test_on_the_event_loop_poison_fails_alone() -> None:
    inline = Inline(poison=frozenset({2}))
    batcher = make_inline(inline, size=4)
    tasks = [submit(batcher, item) for item in (1, 2, 3)]
    await asyncio.wait(tasks)
    assert [type(task.exception()) for task in tasks] == [type(None), ArithmeticError, type(None)]
    assert inline.batches == [[1, 2, 3], [1], [2], [3]]
    await batcher.drain()


async def test_who_leaves_before_its_turn_leaves_the_batch_to_the_next() -> None:
    inline = Inline()
    batcher = make_inline(inline, size=4)
    tasks = [submit(batcher, item) for item in (1, 2, 3)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    assert [results(await task) for task in tasks[1:]] == [[4], [6]]
    assert tasks[0].cancelled()
    assert inline.batches == [[2, 3]]


async def test_drain_on_the_event_loop_finishes_all_batches() -> None:
    inline = Inline()
    batcher = make_inline(inline, size=1)
    tasks = [submit(batcher, item) for item in (1, 2, 3)]
    await asyncio.sleep(0)
    await batcher.drain()
    assert inline.batches == [[1], [2], [3]]
    assert [results(await task) for task in tasks] == [[2], [4], [6]]


Action = tuple[str, int]
ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.integers(1, 6)),
        st.tuples(st.just("cancel"), st.integers(0, 30)),
        st.tuples(st.just("release"), st.just(0)),
        st.tuples(st.just("settle"), st.just(0)),
    ),
    max_size=40,
)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    actions=ACTIONS,
    size=st.integers(1, 5),
    capacity=st.integers(6, 20),
    concurrency=st.integers(1, 3),
    poison=st.frozensets(st.integers(0, 60), max_size=4),
)
def test_whatever_happens_each_item_gets_its_own_answer_once(
    actions: list[Action], size: int, capacity: int, concurrency: int, poison: frozenset[int]
) -> None:
    asyncio.run(scenario(actions, size, capacity, concurrency, poison))


async def scenario(actions: list[Action], size: int, capacity: int, concurrency: int, poison: frozenset[int]) -> None:
    worker = Worker(poison=poison)
    batcher, recorder = make_batcher(worker, size=size, capacity=capacity, concurrency=concurrency)
    submissions: list[tuple[list[int], asyncio.Task[Answers[int]]]] = []
    left_while_queued: set[int] = set()
    fresh = 0
    for action, number in actions:
        if action == "submit":
            items = list(range(fresh, fresh + number))
            fresh += number
            submissions.append((items, submit(batcher, *items)))
        elif action == "cancel" and number < len(submissions):
            items, task = submissions[number]
            if not task.done() and task.cancel():
                left_while_queued.update(set(items) - set(worker.processed))
        elif action == "release" and worker.busy:
            worker.release()
        elif action == "settle":
            await settle()
    worker.open()
    await asyncio.gather(*(task for _, task in submissions), return_exceptions=True)
    await batcher.drain()

    for items, task in submissions:
        if task.cancelled():
            continue
        error = task.exception()
        if error is None:
            assert results(task.result()) == [2 * item for item in items]
            assert not poison.intersection(items)
        elif isinstance(error, ArithmeticError):
            assert poison.intersection(items)
        else:
            assert isinstance(error, QueueFullError)
            assert not set(items) & set(worker.processed)
    assert not left_while_queued & set(worker.processed)
    assert max(map(len, worker.batches), default=0) <= size
    assert worker.most_in_flight <= concurrency
    assert max(recorder.lengths, default=0) <= capacity
    tries = Counter(worker.processed)
    failed_batches = [batch for batch in worker.batches if poison.intersection(batch) and len(batch) > 1]
    retried = {item for batch in failed_batches for item in batch}
    assert all(count == 1 or (count == 2 and item in retried) for item, count in tries.items())
