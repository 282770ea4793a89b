"""Batches are computed on the event loop or on an inference thread, depending on how long they take."""

import threading
import time
from collections.abc import Iterator

import pytest

from astec.server.engine.batching.batch_runner import BatchRunner
from astec.server.engine.batching.threads import InferenceThreads

LOOP_THREAD = threading.current_thread().name


@pytest.fixture
def threads() -> Iterator[InferenceThreads]:
    threads = InferenceThreads(1)
    yield threads
    threads.close()


def where(items: list[float]) -> list[str]:
    """A model that computes for as long as its items say, and answers where it ran."""
    end_s = time.thread_time() + sum(items)
    while time.thread_time() < end_s:
        pass
    return [threading.current_thread().name for _ in items]


async def test_a_batch_goes_to_a_thread_until_short_ones_were_seen(threads: InferenceThreads) -> None:
    inference = BatchRunner(where, threads, max_inline_s=0.5)
    assert [(await inference.run([0.0]))[0] for _ in range(2)] == ["inference-0", LOOP_THREAD]


async def test_a_batch_too_long_for_the_event_loop_goes_to_a_thread(threads: InferenceThreads) -> None:
    inference = BatchRunner(where, threads, max_inline_s=0.5)
    for _ in range(30):
        await inference.run([0.005])
    assert set(await inference.run([0.005])) == {LOOP_THREAD}
    assert set(await inference.run([0.005] * 100)) == {"inference-0"}


async def test_a_model_that_became_slow_leaves_the_event_loop(threads: InferenceThreads) -> None:
    inference = BatchRunner(where, threads, max_inline_s=0.03)
    for _ in range(20):
        await inference.run([0.0])
    places = [(await inference.run([0.06]))[0] for _ in range(12)]
    assert places[0] == LOOP_THREAD
    assert places[-1] == "inference-0"


async def test_what_a_thread_waits_for_the_interpreter_does_not_keep_it_from_the_event_loop(
    threads: InferenceThreads,
) -> None:
    def wait(items: list[None]) -> list[str]:
        name = threading.current_thread().name
        if name != LOOP_THREAD:
            time.sleep(0.2)
        return [name for _ in items]

    inference = BatchRunner(wait, threads, max_inline_s=0.1)
    assert [(await inference.run([None]))[0] for _ in range(2)] == ["inference-0", LOOP_THREAD]


async def test_without_time_of_the_event_loop_all_batches_go_to_threads(threads: InferenceThreads) -> None:
    inference = BatchRunner(where, threads, max_inline_s=0)
    assert {(await inference.run([0.0]))[0] for _ in range(20)} == {"inference-0"}


async def test_an_error_on_the_event_loop_is_the_error_of_the_batch_alone(threads: InferenceThreads) -> None:
    def inverse(items: list[int]) -> list[int]:
        return [1 // item for item in items]

    inference = BatchRunner(inverse, threads, max_inline_s=10)
    for _ in range(20):
        await inference.run([1])
    failed = inference.run([0])
    assert failed.done()
    with pytest.raises(ZeroDivisionError):
        await failed
    assert await inference.run([1]) == [1]
