"""The inference threads."""

import asyncio
import threading

import pytest

from astec.server.engine.batching.threads import InferenceThreads


async def test_results_and_errors_come_back_to_the_loop_that_asked() -> None:
    threads = InferenceThreads(2)
    assert await threads.run(lambda number: 2 * number, 21) == 42
    with pytest.raises(ZeroDivisionError):
        await threads.run(lambda number: 1 / number, 0)
    names = set(await asyncio.gather(*(threads.run(lambda _: threading.current_thread().name, None) for _ in range(9))))
    assert names <= {"inference-0", "inference-1"}
    threads.close()


async def test_as_many_jobs_run_at_once_as_there_are_threads() -> None:
    threads = InferenceThreads(3)
    everyone = threading.Barrier(3, timeout=30)
    await asyncio.gather(*(threads.run(lambda _: everyone.wait(), None) for _ in range(3)))
    threads.close()


async def test_a_cancelled_job_disturbs_nobody() -> None:
    threads = InferenceThreads(1)
    release = threading.Event()
    left = threads.run(lambda _: release.wait(), None)
    stayed = threads.run(lambda number: number + 1, 1)
    left.cancel()
    release.set()
    assert await stayed == 2
    assert left.cancelled()
    threads.close()


async def test_closing_finishes_what_was_accepted_and_refuses_more() -> None:
    threads = InferenceThreads(1)
    accepted = [threads.run(lambda number: number, number) for number in range(5)]
    threads.close()
    assert await asyncio.gather(*accepted) == list(range(5))
    with pytest.raises(RuntimeError, match="closed"):
        threads.run(lambda number: number, 1)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("inference-")]
