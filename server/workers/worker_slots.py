"""Forked worker processes by slot: in each slot one that serves and, during a replacement, one that starts or stops.

Workers are forked from a parent that has loaded the model, so that they share every memory page of it that no process
writes to. A process may only be forked while it has a single thread.
"""

from __future__ import annotations

import gc
import logging
import math
import mmap
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGCHLD, signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
"""Signals that are blocked in the parent, which fetches them in its loop; a worker has handlers of its own for some."""

_WORKERS_PER_SLOT = 2
_THREADS_TICK_S = 0.1
# The kernel may still list a thread for a moment after it was joined.
_THREAD_EXIT_S = 0.5

Heartbeat = Callable[[], bool]
"""Reports that a worker is ready and alive; call it about once a second. False: the parent has died, so stop."""


@dataclass(slots=True, eq=False)
class Worker:
    """A forked worker process.

    Attributes:
        slot: The slot that it serves, or will serve.
        worker_id: Its slot, or its slot plus the number of slots; no two workers that are alive have the same id.
        process: The process.
        heartbeats: The number of heartbeats at the supervisor's last check.
        silent_ticks: Consecutive checks of the supervisor without a new heartbeat.
        kill_at_s: Monotonic time at which it is killed, if it was asked to stop and has not stopped until then.
    """

    slot: int
    worker_id: int
    process: BaseProcess
    heartbeats: int = 0
    silent_ticks: int = 0
    kill_at_s: float = math.inf

    @property
    def ended(self) -> bool:
        """True if the process has ended."""
        return self.process.exitcode is not None

    def kill(self) -> None:
        """Kill the process and wait until it has ended."""
        self.process.kill()
        self.process.join()


class WorkerSlots:
    """The workers of all slots. Each slot has room for two workers, so that one can replace the other.

    Args:
        work: Runs in a forked process, with the worker's id and a function to call about once a second as soon as the
            worker is ready. It stops gracefully on SIGTERM.
        num_slots: Number of slots.

    Attributes:
        num_slots: Number of slots.
        serving: The worker of each slot that has one.
        starting: The worker that will replace another one as soon as it is ready; there is one at most.
        stopping: Workers that were replaced and asked to stop.
    """

    def __init__(self, work: Callable[[int, Heartbeat], None], num_slots: int) -> None:
        self.num_slots = num_slots
        self.serving: dict[int, Worker] = {}
        self.starting: Worker | None = None
        self.stopping: list[Worker] = []
        self._work = work
        # Shared with the workers; one counter for each worker id.
        self._heartbeats = memoryview(mmap.mmap(-1, 8 * max_workers(num_slots))).cast("Q")

    def all_workers(self) -> list[Worker]:
        """Return all workers that may be alive."""
        return [*self.serving.values(), *self.stopping, *([self.starting] if self.starting else [])]

    def heartbeats(self, worker: Worker) -> int:
        """Return the number of heartbeats of a worker; 0 until it is ready."""
        return self._heartbeats[worker.worker_id]

    def is_complete(self) -> bool:
        """Return whether a worker is ready in every slot, and no worker is starting or stopping."""
        settled = len(self.serving) == self.num_slots and self.starting is None and not self.stopping
        return settled and all(self.heartbeats(worker) for worker in self.serving.values())

    def has_room(self, slot: int) -> bool:
        """Return whether another worker can be forked for a slot."""
        return len(self._free_ids(slot)) > 0

    def fork(self, slot: int) -> Worker:
        """Fork a worker for a slot that has room.

        Raises:
            RuntimeError: This process has several threads.
        """
        worker_id = self._free_ids(slot)[0]
        self._heartbeats[worker_id] = 0
        process = fork(self._run_worker, worker_id, os.getpid())
        logger.info("started worker %d with process id %s", worker_id, process.pid)
        return Worker(slot, worker_id, process)

    def hand_over(self, successor: Worker, stop_timeout_s: float) -> None:
        """Let a worker take over its slot, and ask the worker that served the slot before to stop within a time."""
        predecessor = self.serving.get(successor.slot)
        self.serving[successor.slot] = successor
        if predecessor is not None:
            predecessor.kill_at_s = time.monotonic() + stop_timeout_s
            predecessor.process.terminate()
            self.stopping.append(predecessor)

    def reap_stopped(self) -> list[Worker]:
        """Return the replaced workers that have ended since the last call; kill those that took too long."""
        for worker in self.stopping:
            if time.monotonic() > worker.kill_at_s:
                logger.warning("worker %d did not stop in time and is killed", worker.worker_id)
                worker.kill()
        stopped = [worker for worker in self.stopping if worker.ended]
        self.stopping = [worker for worker in self.stopping if worker not in stopped]
        return stopped

    def _free_ids(self, slot: int) -> list[int]:
        taken = {worker.worker_id for worker in self.all_workers()}
        ids = range(slot, max_workers(self.num_slots), self.num_slots)
        return [worker_id for worker_id in ids if worker_id not in taken]

    def _run_worker(self, worker_id: int, parent_pid: int) -> None:
        """Do the work, in the forked process."""

        def heartbeat() -> bool:
            self._heartbeats[worker_id] += 1
            return os.getppid() == parent_pid

        self._work(worker_id, heartbeat)


def max_workers(num_slots: int) -> int:
    """Return the most workers that are alive at a time; the ids of workers are below it."""
    return _WORKERS_PER_SLOT * num_slots


def fork(target: Callable[..., None], *args: object) -> BaseProcess:
    """Run a function in a forked process, which exits with code 0 on SIGINT and SIGTERM.

    Raises:
        RuntimeError: This process has several threads.
    """
    require_single_thread()
    # The garbage collector writes to the objects that it examines, and a page that is written to is no longer shared.
    gc.collect()
    gc.freeze()
    process = get_context("fork").Process(target=_with_signals, args=(target, *args))
    process.start()
    return process


def _with_signals(target: Callable[..., None], *args: object) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _exit_cleanly)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # SIGHUP is for the parent.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    target(*args)


def require_single_thread() -> None:
    """Check that this process has a single thread, so that it can be forked.

    A fork copies the locks that other threads hold, but not the threads, which would never release them there.

    Raises:
        RuntimeError: This process has several threads.
    """
    give_up_s = time.monotonic() + _THREAD_EXIT_S
    while (threads := len(list(Path("/proc/self/task").iterdir()))) > 1:
        if time.monotonic() > give_up_s:
            raise RuntimeError(
                f"a process with {threads} threads cannot be forked; load no library that starts threads"
            )
        time.sleep(_THREADS_TICK_S)


def _exit_cleanly(*_: object) -> None:
    """Handle a signal that asks a process to stop: exit without an error."""
    raise SystemExit(0)
