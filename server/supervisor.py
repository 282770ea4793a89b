"""Several processes that do the same work: forked, watched, replaced when one dies or hangs, stopped together.

Workers are forked and nothing is loaded in them, so they share every page of what their parent holds until somebody
writes to it. A process may only be forked while it has no second thread.
"""

from __future__ import annotations

import logging
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

EXIT_STARTUP_FAILED = 3

_TICK_S = 0.1
_RETRY_AFTER_S = 1.0
# A thread that was joined may still be about to leave the kernel.
_THREAD_EXIT_S = 0.5
_SIGNALS = (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM)

Beat = Callable[[], bool]
"""Says that a worker is ready and alive, once a second or so; False where it shall stop as its parent is no more."""


@dataclass(slots=True)
class _Worker:
    slot: int
    process: BaseProcess
    beats: int = 0
    silent_ticks: int = 0


class Supervisor:
    """Keeps a worker in each of its slots.

    Args:
        work: Runs in a forked process, given its slot and what to call once a second from when it is ready. It stops
            well on SIGTERM.
        slots: Number of workers.
        on_ready: Called once, in the parent, when all workers are ready.
        on_death: Called in the parent with the slot of a worker that died, before another takes its place.
        on_stop: Called in the parent before the workers are asked to stop.
        stop_timeout_s: Seconds that workers get to stop before they are killed.
        silence_timeout_s: Seconds after which a worker that no longer says that it is alive is killed.
    """

    def __init__(
        self,
        work: Callable[[int, Beat], None],
        slots: int,
        *,
        on_ready: Callable[[], None],
        on_death: Callable[[int], None],
        on_stop: Callable[[], None],
        stop_timeout_s: float,
        silence_timeout_s: float = 10.0,
    ) -> None:
        self._work = work
        self._slots = slots
        self._on_ready = on_ready
        self._on_death = on_death
        self._on_stop = on_stop
        self._stop_timeout_s = stop_timeout_s
        # Counted in looks, not by a clock: after a suspension workers and parent wake together, and nobody is late.
        self._max_silent_ticks = round(silence_timeout_s / _TICK_S)
        self._workers: dict[int, _Worker] = {}
        self._due_s = dict.fromkeys(range(slots), 0.0)  # when a slot without worker gets one
        self._beats = memoryview(mmap.mmap(-1, 8 * slots)).cast("Q")  # shared with the workers, a counter each
        self._all_were_ready = False

    def run(self) -> int:
        """Return once all workers have ended: 0 after SIGTERM or SIGINT, `EXIT_STARTUP_FAILED` where one cannot start.

        Raises:
            RuntimeError: This process has several threads.
        """
        # Blocked signals wait to be fetched, here by `sigtimedwait`, in a worker until it has handlers of its own.
        blocked_before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            return self._run()
        finally:
            self._kill()
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked_before)

    def _run(self) -> int:
        while True:
            self._fill_slots()
            asked = signal.sigtimedwait(_SIGNALS, _TICK_S)
            if asked is not None and asked.si_signo != signal.SIGCHLD:
                logger.info("stopping on %s", signal.Signals(asked.si_signo).name)
                self._stop()
                return 0
            for worker in list(self._workers.values()):
                self._look_at(worker)
                if worker.process.exitcode is not None and not self._all_were_ready:
                    logger.error("a worker ended with code %s before it was ready", worker.process.exitcode)
                    self._stop()
                    return EXIT_STARTUP_FAILED
            self._announce()

    def _fill_slots(self) -> None:
        for slot in range(self._slots):
            if slot not in self._workers and time.monotonic() >= self._due_s[slot]:
                self._fork(slot)

    def _fork(self, slot: int) -> None:
        _require_single_thread()
        self._beats[slot] = 0
        process = get_context("fork").Process(target=self._child, args=(slot, os.getpid()), name=f"worker-{slot}")
        process.start()
        self._workers[slot] = _Worker(slot, process)
        logger.info("started worker %d with process id %s", slot, process.pid)

    def _child(self, slot: int, parent: int) -> None:
        def beat() -> bool:
            self._beats[slot] += 1
            return os.getppid() == parent

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, exit_cleanly)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        self._work(slot, beat)

    def _look_at(self, worker: _Worker) -> None:
        process, beats = worker.process, self._beats[worker.slot]
        # Before the first beat it loads what it needs, for as long as that takes.
        worker.silent_ticks = worker.silent_ticks + 1 if beats and beats == worker.beats else 0
        worker.beats = beats
        if worker.silent_ticks > self._max_silent_ticks:
            logger.error("worker %d (process id %s) does not respond and is killed", worker.slot, process.pid)
            process.kill()
            process.join()
        if process.exitcode is not None:
            self._bury(worker)

    def _bury(self, worker: _Worker) -> None:
        del self._workers[worker.slot]
        self._on_death(worker.slot)
        if self._all_were_ready:
            logger.warning("worker %d ended with code %s and is replaced", worker.slot, worker.process.exitcode)
        # One that cannot even start is tried again, but not all the time.
        self._due_s[worker.slot] = time.monotonic() + (0 if worker.beats else _RETRY_AFTER_S)

    def _announce(self) -> None:
        if not self._all_were_ready and len(self._workers) == self._slots and all(self._beats):
            self._all_were_ready = True
            self._on_ready()

    def _stop(self) -> None:
        self._on_stop()
        for worker in self._workers.values():
            worker.process.terminate()
        give_up_s = time.monotonic() + self._stop_timeout_s
        while any(worker.process.exitcode is None for worker in self._workers.values()):
            asked = signal.sigtimedwait(_SIGNALS, _TICK_S)
            if asked is not None and asked.si_signo == signal.SIGINT:
                logger.warning("interrupted again: workers are killed")
                return
            if time.monotonic() > give_up_s:
                logger.warning("workers that did not stop within %g s are killed", self._stop_timeout_s)
                return

    def _kill(self) -> None:
        for worker in self._workers.values():
            worker.process.kill()
            worker.process.join()


def _require_single_thread() -> None:
    """A copy of this process would have the locks that other threads hold, and nobody to release them."""
    give_up_s = time.monotonic() + _THREAD_EXIT_S
    while (threads := len(list(Path("/proc/self/task").iterdir()))) > 1:
        if time.monotonic() > give_up_s:
            raise RuntimeError(
                f"a process with {threads} threads cannot be forked; "
                "load no library that starts threads, or use one worker"
            )
        time.sleep(_TICK_S)


def exit_cleanly(*_: object) -> None:
    """Handle a signal by which a process is asked to stop; that is no failure."""
    raise SystemExit(0)
