"""The parent of the worker processes: it starts them, replaces those that die, hang or are outdated, and stops them."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from astec.server.workers.rollout import RETRY_AFTER_S, Outcome, Releases, Rollout
from astec.server.workers.worker_slots import SIGNALS, Heartbeat, Worker, WorkerSlots

logger = logging.getLogger(__name__)

EXIT_STARTUP_FAILED = 3

_TICK_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorCallbacks:
    """Functions that the supervisor calls, all in the parent process.

    Attributes:
        on_ready: Called once, when all workers are ready.
        on_worker_end: Called with the id of a worker that ended, before another worker gets that id, and with whether
            it ended without having been asked to.
        on_rollout: Called at the end of each replacement of the workers.
        on_stop: Called before the workers are asked to stop.
        on_tick: Called after each check of the workers, ten times a second; it must not take long.
    """

    on_ready: Callable[[], None] = lambda: None
    on_worker_end: Callable[[int, bool], None] = lambda worker_id, died: None
    on_rollout: Callable[[Outcome], None] = lambda outcome: None
    on_stop: Callable[[], None] = lambda: None
    on_tick: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerTimeouts:
    """Times after which workers are killed, in seconds.

    Attributes:
        stop_s: Time that workers get to stop.
        silence_s: Time that may pass between two heartbeats of a worker that is ready.
    """

    stop_s: float
    silence_s: float = 10.0


class Supervisor:
    """Keeps a worker in each slot; on SIGHUP it replaces them all, one after the other.

    Args:
        work: The work of a worker, as `WorkerSlots` calls it.
        num_slots: Number of workers.
        releases: The releases that workers are forked with.
        callbacks: Functions to call when something happens.
        timeouts: Times after which workers are killed.
    """

    def __init__(
        self,
        work: Callable[[int, Heartbeat], None],
        num_slots: int,
        *,
        releases: Releases,
        callbacks: SupervisorCallbacks,
        timeouts: WorkerTimeouts,
    ) -> None:
        self._slots = WorkerSlots(work, num_slots)
        self._releases = releases
        self._callbacks = callbacks
        self._stop_timeout_s = timeouts.stop_s
        # Checks are counted instead of seconds: after the machine was suspended, no worker is late, because workers and
        # parent wake together.
        self._max_silent_ticks = round(timeouts.silence_s / _TICK_S)
        self._start_at_s = dict.fromkeys(range(num_slots), 0.0)  # when a slot without a worker gets one
        self._all_were_ready = False
        self._rollout: Rollout | None = None
        self._rollout_requested = False

    def run(self) -> int:
        """Run the workers until all have ended; return the exit code.

        The code is 0 after SIGTERM or SIGINT, and `EXIT_STARTUP_FAILED` if a worker ends before all were ready once.

        Raises:
            RuntimeError: This process has several threads.
        """
        # Blocked signals stay pending until they are fetched: here by `sigtimedwait`, in a worker by its own handlers.
        blocked_before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            return self._run()
        finally:
            self._kill()
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked_before)

    def _run(self) -> int:
        while True:
            self._fill_slots()
            received = signal.sigtimedwait(SIGNALS, _TICK_S)
            if received is not None and received.si_signo in (signal.SIGINT, signal.SIGTERM):
                logger.info("stopping on %s", signal.Signals(received.si_signo).name)
                self._stop()
                return 0
            if received is not None and received.si_signo == signal.SIGHUP:
                self._rollout_requested = True
            for worker in list(self._slots.serving.values()):
                self._check(worker)
                if worker.ended and not self._all_were_ready:
                    logger.error("a worker ended with code %s before it was ready", worker.process.exitcode)
                    self._stop()
                    return EXIT_STARTUP_FAILED
            for worker in self._slots.reap_stopped():
                self._callbacks.on_worker_end(worker.worker_id, False)
            self._report_ready()
            self._advance_rollout()
            self._callbacks.on_tick()

    def _fill_slots(self) -> None:
        """Start a worker in each slot that has none, unless one is starting there or the slot has to wait."""
        for slot, start_at_s in self._start_at_s.items():
            is_starting = self._slots.starting is not None and self._slots.starting.slot == slot
            if slot not in self._slots.serving and not is_starting and time.monotonic() >= start_at_s:
                self._slots.serving[slot] = self._slots.fork(slot)

    def _check(self, worker: Worker) -> None:
        """Kill a worker that does not respond; free the slot of one that has ended."""
        heartbeats = self._slots.heartbeats(worker)
        # Before its first heartbeat a worker loads the model, for which there is no limit of time.
        worker.silent_ticks = worker.silent_ticks + 1 if heartbeats and heartbeats == worker.heartbeats else 0
        worker.heartbeats = heartbeats
        if worker.silent_ticks > self._max_silent_ticks:
            pid = worker.process.pid
            logger.error("worker %d (process id %s) does not respond and is killed", worker.worker_id, pid)
            worker.kill()
        if worker.ended:
            self._free_slot(worker)

    def _free_slot(self, worker: Worker) -> None:
        del self._slots.serving[worker.slot]
        self._callbacks.on_worker_end(worker.worker_id, True)
        if self._all_were_ready:
            logger.warning("worker %d ended with code %s and is replaced", worker.worker_id, worker.process.exitcode)
        # If a worker ended before it was ready, the next one would probably fail too: do not retry without a pause.
        self._start_at_s[worker.slot] = time.monotonic() + (0 if worker.heartbeats else RETRY_AFTER_S)

    def _report_ready(self) -> None:
        if not self._all_were_ready and self._slots.is_complete():
            self._all_were_ready = True
            self._callbacks.on_ready()

    def _advance_rollout(self) -> None:
        if self._rollout is None and self._rollout_requested and self._all_were_ready:
            logger.info("replacing the workers on SIGHUP")
            self._rollout_requested = False
            self._rollout = Rollout(self._slots, self._releases, self._stop_timeout_s)
        if self._rollout is not None and (outcome := self._rollout.advance()) is not None:
            logger.info("the replacement of the workers is over: %s", outcome)
            self._rollout = None
            self._callbacks.on_rollout(outcome)

    def _stop(self) -> None:
        """Ask all workers to stop, and wait until they have stopped or the timeout has passed."""
        self._callbacks.on_stop()
        for worker in self._slots.all_workers():
            worker.process.terminate()
        give_up_s = time.monotonic() + self._stop_timeout_s
        while not all(worker.ended for worker in self._slots.all_workers()):
            received = signal.sigtimedwait(SIGNALS, _TICK_S)
            if received is not None and received.si_signo == signal.SIGINT:
                logger.warning("interrupted again: workers are killed")
                return
            if time.monotonic() > give_up_s:
                logger.warning("workers that did not stop within %g s are killed", self._stop_timeout_s)
                return

    def _kill(self) -> None:
        if self._rollout is not None:
            self._rollout.abandon()
        for worker in self._slots.all_workers():
            worker.kill()
