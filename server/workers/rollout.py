"""The rolling replacement of all workers, one slot after the other, with a rollback if new workers do not start."""

from __future__ import annotations

import logging
import os
import time
from typing import Literal, Protocol, get_args

from astec.server.workers.worker_slots import Worker, WorkerSlots, fork, require_single_thread

logger = logging.getLogger(__name__)

Outcome = Literal["done", "refused", "rolled_back"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)

RETRY_AFTER_S = 1.0
"""Seconds after which a slot whose worker could not start gets another one."""

_REHEARSAL_NICENESS = 19


class Releases(Protocol):
    """The release that workers are forked with, and the change to the next release."""

    def propose(self) -> None:
        """Determine the next release."""

    def rehearse(self) -> None:
        """Do all that a worker does with the next release, in a process made for that; raise if it is not usable."""

    def adopt(self) -> None:
        """Load the next release into this process, so that workers are forked with it; raise if that fails."""

    def revert(self) -> None:
        """Go back to the previous release, if another one was adopted."""

    def settle(self) -> None:
        """Discard the previous release; from now on `revert` cannot go back to it."""


class SameRelease:
    """A release that never changes: a replacement of the workers only restarts them."""

    def propose(self) -> None:
        """Do nothing; the other methods do nothing either."""

    rehearse = adopt = revert = settle = propose


class Rollout:
    """One replacement of all workers. It begins when the object is made, and `advance` never waits.

    A release is first rehearsed in a process of its own. So a file that crashes its reader harms no worker, and the
    supervisor keeps watching the workers, however long the verification takes.

    Args:
        slots: The workers to replace; every slot has one.
        releases: The releases that workers are forked with.
        stop_timeout_s: Seconds that a replaced worker gets to stop before it is killed.
    """

    def __init__(self, slots: WorkerSlots, releases: Releases, stop_timeout_s: float) -> None:
        self._slots = slots
        self._releases = releases
        self._stop_timeout_s = stop_timeout_s
        self._pending = list(range(slots.num_slots))  # slots whose worker is still to be replaced
        self._replaced: list[int] = []
        self._retry_at_s = 0.0
        self._is_rolling_back = False
        self._adopted = False
        releases.propose()
        self._rehearsal = fork(self._rehearse)

    def advance(self) -> Outcome | None:
        """Do what can be done without waiting; return the outcome once the replacement is over, else None."""
        if not self._adopted:
            if self._rehearsal.exitcode is None:
                return None
            if self._rehearsal.exitcode != 0 or not self._adopt():
                return "refused"
        if (starting := self._slots.starting) is not None:
            self._check_starting(starting)
        elif self._pending and self._slots.has_room(self._pending[0]) and time.monotonic() >= self._retry_at_s:
            self._slots.starting = self._slots.fork(self._pending[0])
        if self._pending:
            return None
        if self._is_rolling_back:
            return "rolled_back"
        self._releases.settle()
        return "done"

    def abandon(self) -> None:
        """Kill the rehearsal, if it still runs; the workers are left to the caller."""
        self._rehearsal.kill()
        self._rehearsal.join()

    def _rehearse(self) -> None:
        os.nice(_REHEARSAL_NICENESS)  # Verification uses all CPUs; the workers' queries have priority.
        try:
            self._releases.rehearse()
            require_single_thread()
        except Exception as error:  # of any library
            logger.error("the new release is refused: %s", error)
            raise SystemExit(1) from None

    def _adopt(self) -> bool:
        """Load the next release; return whether that succeeded."""
        try:
            self._releases.adopt()
        except Exception as error:  # of any library
            logger.error("the new release cannot be loaded: %s", error)
            self._releases.revert()
            return False
        self._adopted = True
        return True

    def _check_starting(self, starting: Worker) -> None:
        """Let the starting worker take over its slot if it is ready; roll back or retry if it has ended."""
        if starting.ended:
            self._slots.starting = None
            code = starting.process.exitcode
            logger.error("worker %d ended with code %s before it was ready", starting.worker_id, code)
            if self._is_rolling_back:
                self._retry_at_s = time.monotonic() + RETRY_AFTER_S
            else:
                self._roll_back()
        elif self._slots.heartbeats(starting):
            self._slots.starting = None
            self._slots.hand_over(starting, self._stop_timeout_s)
            self._pending.remove(starting.slot)
            self._replaced.append(starting.slot)

    def _roll_back(self) -> None:
        logger.error(
            "going back to the previous release in %d of %d workers", len(self._replaced), self._slots.num_slots
        )
        self._releases.revert()
        self._is_rolling_back = True
        self._pending, self._replaced = self._replaced, []
