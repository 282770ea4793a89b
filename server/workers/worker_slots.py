"""Forked processes by slot: who works there and, while one replaces another, who comes and who leaves.

Workers are forked and nothing is loaded in them, so they share every page of what their parent holds until somebody
writes to it. A process may only be forked while it has no second thread.
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
"""Blocked in the parent, which fetches them when it has time; a worker has handlers of its own for some."""

_PLACES_PER_SLOT = 2
_THREADS_TICK_S = 0.1
# A thread that was joined may still be about to leave the kernel.
_THREAD_EXIT_S = 0.5

Beat = Callable[[], bool]
"""Says that a worker is ready and alive, once a second or so; False where it shall stop as its parent is no more."""


@dataclass(slots=True, eq=False)
class Worker:
    """A forked process. `place` is its slot, or its slot plus the number of slots: no two living ones have the same."""

    slot: int
    place: int
    process: BaseProcess
    beats: int = 0
    silent_ticks: int = 0
    kill_at_s: float = math.inf  # when one that was asked to leave has had its time

    @property
    def ended(self) -> bool:
        """Whether the process is no more."""
        return self.process.exitcode is not None

    def kill(self) -> None:
        """End the process at once."""
        self.process.kill()
        self.process.join()


class Crew:
    """The workers of all slots; each slot has room for two.

    Args:
        work: Runs in a forked process, given its place and what to call once a second from when it is ready. It stops
            well on SIGTERM.
        slots: Number of slots.
    """

    def __init__(self, work: Callable[[int, Beat], None], slots: int) -> None:
        self.slots = slots
        self.working: dict[int, Worker] = {}
        self.coming: Worker | None = None
        self.leaving: list[Worker] = []
        self._work = work
        # Shared with the workers, a counter each.
        self._beats = memoryview(mmap.mmap(-1, 8 * num_places(slots))).cast("Q")

    def everyone(self) -> list[Worker]:
        """Return all workers that may be alive."""
        return [*self.working.values(), *self.leaving, *([self.coming] if self.coming else [])]

    def beats(self, worker: Worker) -> int:
        """Return how often a worker has said that it is alive; 0 until it is ready."""
        return self._beats[worker.place]

    def is_complete(self) -> bool:
        """Return whether a worker is ready in every slot, and nobody is coming or leaving."""
        settled = len(self.working) == self.slots and self.coming is None and not self.leaving
        return settled and all(self.beats(worker) for worker in self.working.values())

    def has_room(self, slot: int) -> bool:
        """Return whether one more can be forked for a slot."""
        return len(self._free_places(slot)) > 0

    def fork(self, slot: int) -> Worker:
        """Fork a worker for a slot that has room.

        Raises:
            RuntimeError: This process has several threads.
        """
        place = self._free_places(slot)[0]
        self._beats[place] = 0
        process = fork(self._child, place, os.getpid())
        logger.info("started worker %d with process id %s", place, process.pid)
        return Worker(slot, place, process)

    def relieve(self, successor: Worker, stop_timeout_s: float) -> None:
        """Let a worker take its slot over, and ask whoever was there to leave within a time."""
        predecessor = self.working.get(successor.slot)
        self.working[successor.slot] = successor
        if predecessor is not None:
            predecessor.kill_at_s = time.monotonic() + stop_timeout_s
            predecessor.process.terminate()
            self.leaving.append(predecessor)

    def take_leave(self) -> list[Worker]:
        """Return those that have left since the last call; who is late is made to."""
        for worker in self.leaving:
            if time.monotonic() > worker.kill_at_s:
                logger.warning("worker %d did not stop in time and is killed", worker.place)
                worker.kill()
        gone = [worker for worker in self.leaving if worker.ended]
        self.leaving = [worker for worker in self.leaving if worker not in gone]
        return gone

    def _free_places(self, slot: int) -> list[int]:
        taken = {worker.place for worker in self.everyone()}
        return [place for place in range(slot, num_places(self.slots), self.slots) if place not in taken]

    def _child(self, place: int, parent: int) -> None:
        def beat() -> bool:
            self._beats[place] += 1
            return os.getppid() == parent

        self._work(place, beat)


def num_places(slots: int) -> int:
    """Return how many places there are for the workers of some slots."""
    return _PLACES_PER_SLOT * slots


def fork(target: Callable[..., None], *args: object) -> BaseProcess:
    """Run a function in a forked process, which ends well on SIGINT and SIGTERM.

    Raises:
        RuntimeError: This process has several threads.
    """
    require_single_thread()
    # The collector writes to the objects that it looks at, and each page written to is a page no longer shared.
    gc.collect()
    gc.freeze()
    process = get_context("fork").Process(target=_with_signals, args=(target, *args))
    process.start()
    return process


def _with_signals(target: Callable[..., None], *args: object) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _exit_cleanly)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # that one is for the parent
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    target(*args)


def require_single_thread() -> None:
    """Raise RuntimeError where a copy of this process would have locks held by threads that the copy lacks."""
    give_up_s = time.monotonic() + _THREAD_EXIT_S
    while (threads := len(list(Path("/proc/self/task").iterdir()))) > 1:
        if time.monotonic() > give_up_s:
            raise RuntimeError(
                f"a process with {threads} threads cannot be forked; load no library that starts threads"
            )
        time.sleep(_THREADS_TICK_S)


def _exit_cleanly(*_: object) -> None:
    """Handle a signal by which a process is asked to stop; that is no failure."""
    raise SystemExit(0)
