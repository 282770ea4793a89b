"""The replacement of all workers by new ones, slot by slot, and the way back where the new ones do not start."""

from __future__ import annotations

import logging
import os
import time
from typing import Literal, Protocol, get_args

from astec.server.workers.worker_slots import Crew, Worker, fork, require_single_thread

logger = logging.getLogger(__name__)

Outcome = Literal["done", "refused", "rolled_back"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)

RETRY_AFTER_S = 1.0
"""Seconds until a worker that could not start is tried again."""

_REHEARSAL_NICENESS = 19


class Releases(Protocol):
    """What workers are forked with, and the change from one release to the next."""

    def propose(self) -> None:
        """Find out which release is next."""

    def rehearse(self) -> None:
        """Do all that a worker needs of the next release, in a process made for that; raise where it is no good."""

    def adopt(self) -> None:
        """Load the next release into this process; raise where that fails. Workers are forked with it from now on."""

    def revert(self) -> None:
        """Go back to the release before, where one was adopted."""

    def settle(self) -> None:
        """Forget the release before: there is no way back any more."""


class SameRelease:
    """Nothing that changes: to replace the workers is to restart them."""

    def propose(self) -> None:
        """Do nothing; so do the others."""

    rehearse = adopt = revert = settle = propose


class Rollout:
    """One replacement, which begins when it is made. `advance` never waits.

    A release is tried in a process of its own first. So a file that crashes its reader harms nobody, and however long
    verification takes, somebody watches the workers.

    Args:
        crew: Whom to replace; complete.
        releases: What the new ones are forked with.
        stop_timeout_s: Seconds that a replaced worker gets to stop before it is killed.
    """

    def __init__(self, crew: Crew, releases: Releases, stop_timeout_s: float) -> None:
        self._crew = crew
        self._releases = releases
        self._stop_timeout_s = stop_timeout_s
        self._slots = list(range(crew.slots))  # yet to be replaced
        self._replaced: list[int] = []
        self._due_s = 0.0
        self._turned_back = False
        self._adopted = False
        releases.propose()
        self._rehearsal = fork(self._rehearse)

    def advance(self) -> Outcome | None:
        """Do what can be done now; return how it went, once it is over."""
        if not self._adopted:
            if self._rehearsal.exitcode is None:
                return None
            if self._rehearsal.exitcode != 0 or not self._adopt():
                return "refused"
        if (coming := self._crew.coming) is not None:
            self._receive(coming)
        elif self._slots and self._crew.has_room(self._slots[0]) and time.monotonic() >= self._due_s:
            self._crew.coming = self._crew.fork(self._slots[0])
        if self._slots:
            return None
        if self._turned_back:
            return "rolled_back"
        self._releases.settle()
        return "done"

    def abandon(self) -> None:
        """End the rehearsal, wherever it is; workers are the crew's."""
        self._rehearsal.kill()
        self._rehearsal.join()

    def _rehearse(self) -> None:
        os.nice(_REHEARSAL_NICENESS)  # Verification takes all CPUs; queries come first.
        try:
            self._releases.rehearse()
            require_single_thread()
        except Exception as error:  # of any library
            logger.error("the new release is refused: %s", error)
            raise SystemExit(1) from None

    def _adopt(self) -> bool:
        try:
            self._releases.adopt()
        except Exception as error:  # of any library
            logger.error("the new release cannot be loaded: %s", error)
            self._releases.revert()
            return False
        self._adopted = True
        return True

    def _receive(self, coming: Worker) -> None:
        """See whether the worker that is coming is ready, or will never be."""
        if coming.ended:
            self._crew.coming = None
            logger.error("worker %d ended with code %s before it was ready", coming.place, coming.process.exitcode)
            if self._turned_back:
                self._due_s = time.monotonic() + RETRY_AFTER_S
            else:
                self._turn_back()
        elif self._crew.beats(coming):
            self._crew.coming = None
            self._crew.relieve(coming, self._stop_timeout_s)
            self._slots.remove(coming.slot)
            self._replaced.append(coming.slot)

    def _turn_back(self) -> None:
        logger.error("going back to the release before in %d of %d workers", len(self._replaced), self._crew.slots)
        self._releases.revert()
        self._turned_back = True
        self._slots, self._replaced = self._replaced, []
