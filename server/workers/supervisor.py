"""Several processes that do the same work: watched, replaced when they die, hang or are outdated, stopped together."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable

from astec.server.workers.rollout import RETRY_AFTER_S, Outcome, Releases, Rollout
from astec.server.workers.worker_slots import SIGNALS, Beat, Crew, Worker

logger = logging.getLogger(__name__)

EXIT_STARTUP_FAILED = 3

_TICK_S = 0.1


class Supervisor:
    """Keeps a worker in each of its slots; on SIGHUP it replaces them all, one after the other.

    Args:
        work: See `Crew`.
        slots: Number of workers.
        releases: What workers are forked with.
        on_ready: Called once, in the parent, when all workers are ready.
        on_end: Called in the parent with the place of a worker that ended, before another has that place, and whether
            nobody had asked it to.
        on_rollout: Called in the parent at the end of each replacement.
        on_stop: Called in the parent before the workers are asked to stop.
        stop_timeout_s: Seconds that workers get to stop before they are killed.
        silence_timeout_s: Seconds after which a worker that no longer says that it is alive is killed.
    """

    def __init__(
        self,
        work: Callable[[int, Beat], None],
        slots: int,
        *,
        releases: Releases,
        on_ready: Callable[[], None],
        on_end: Callable[[int, bool], None],
        on_rollout: Callable[[Outcome], None],
        on_stop: Callable[[], None],
        stop_timeout_s: float,
        silence_timeout_s: float = 10.0,
    ) -> None:
        self._crew = Crew(work, slots)
        self._releases = releases
        self._on_ready = on_ready
        self._on_end = on_end
        self._on_rollout = on_rollout
        self._on_stop = on_stop
        self._stop_timeout_s = stop_timeout_s
        # Counted in looks, not by a clock: after a suspension workers and parent wake together, and nobody is late.
        self._max_silent_ticks = round(silence_timeout_s / _TICK_S)
        self._due_s = dict.fromkeys(range(slots), 0.0)  # when a slot without worker gets one
        self._all_were_ready = False
        self._rollout: Rollout | None = None
        self._rollout_asked = False

    def run(self) -> int:
        """Return once all workers have ended: 0 after SIGTERM or SIGINT, `EXIT_STARTUP_FAILED` where one cannot start.

        Raises:
            RuntimeError: This process has several threads.
        """
        # Blocked signals wait to be fetched, here by `sigtimedwait`, in a worker until it has handlers of its own.
        blocked_before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            return self._run()
        finally:
            self._kill()
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked_before)

    def _run(self) -> int:
        while True:
            self._fill_slots()
            asked = signal.sigtimedwait(SIGNALS, _TICK_S)
            if asked is not None and asked.si_signo in (signal.SIGINT, signal.SIGTERM):
                logger.info("stopping on %s", signal.Signals(asked.si_signo).name)
                self._stop()
                return 0
            if asked is not None and asked.si_signo == signal.SIGHUP:
                self._rollout_asked = True
            for worker in list(self._crew.working.values()):
                self._look_at(worker)
                if worker.ended and not self._all_were_ready:
                    logger.error("a worker ended with code %s before it was ready", worker.process.exitcode)
                    self._stop()
                    return EXIT_STARTUP_FAILED
            for worker in self._crew.take_leave():
                self._on_end(worker.place, False)
            self._announce()
            self._roll()

    def _fill_slots(self) -> None:
        for slot, due_s in self._due_s.items():
            comes = self._crew.coming is not None and self._crew.coming.slot == slot
            if slot not in self._crew.working and not comes and time.monotonic() >= due_s:
                self._crew.working[slot] = self._crew.fork(slot)

    def _look_at(self, worker: Worker) -> None:
        beats = self._crew.beats(worker)
        # Before the first beat it loads what it needs, for as long as that takes.
        worker.silent_ticks = worker.silent_ticks + 1 if beats and beats == worker.beats else 0
        worker.beats = beats
        if worker.silent_ticks > self._max_silent_ticks:
            logger.error("worker %d (process id %s) does not respond and is killed", worker.place, worker.process.pid)
            worker.kill()
        if worker.ended:
            self._bury(worker)

    def _bury(self, worker: Worker) -> None:
        del self._crew.working[worker.slot]
        self._on_end(worker.place, True)
        if self._all_were_ready:
            logger.warning("worker %d ended with code %s and is replaced", worker.place, worker.process.exitcode)
        # One that cannot even start is tried again, but not all the time.
        self._due_s[worker.slot] = time.monotonic() + (0 if worker.beats else RETRY_AFTER_S)

    def _announce(self) -> None:
        if not self._all_were_ready and self._crew.is_complete():
            self._all_were_ready = True
            self._on_ready()

    def _roll(self) -> None:
        if self._rollout is None and self._rollout_asked and self._all_were_ready:
            logger.info("replacing the workers on SIGHUP")
            self._rollout_asked = False
            self._rollout = Rollout(self._crew, self._releases, self._stop_timeout_s)
        if self._rollout is not None and (outcome := self._rollout.advance()) is not None:
            logger.info("the replacement of the workers is over: %s", outcome)
            self._rollout = None
            self._on_rollout(outcome)

    def _stop(self) -> None:
        self._on_stop()
        for worker in self._crew.everyone():
            worker.process.terminate()
        give_up_s = time.monotonic() + self._stop_timeout_s
        while not all(worker.ended for worker in self._crew.everyone()):
            asked = signal.sigtimedwait(SIGNALS, _TICK_S)
            if asked is not None and asked.si_signo == signal.SIGINT:
                logger.warning("interrupted again: workers are killed")
                return
            if time.monotonic() > give_up_s:
                logger.warning("workers that did not stop within %g s are killed", self._stop_timeout_s)
                return

    def _kill(self) -> None:
        if self._rollout is not None:
            self._rollout.abandon()
        for worker in self._crew.everyone():
            worker.kill()
