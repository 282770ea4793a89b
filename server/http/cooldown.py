"""The pause of connections whose requests were refused, where refusals would take too much of the time."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

# Shorter, a pause would only cost two system calls more.
_MIN_WAIT_S = 0.01


class Readable(Protocol):
    """A connection, as far as its reading goes."""

    def pause_reading(self) -> None:
        """Leave what the client sends to the system, which makes the client wait."""

    def resume_reading(self) -> None:
        """Read on."""


class Cooldown:
    """Lets connections wait after a refusal, so that not all that is offered has to be refused.

    A refusal takes a seventh of what an answer does. Clients that ask for several times what a server can give would
    have it refuse for a third of its time, and get as many fewer answers. A few refusals make nobody wait.

    Args:
        rate_per_s: Refusals that need no wait.
        max_wait_s: The longest wait, however many are refused.
    """

    def __init__(self, rate_per_s: float, max_wait_s: float) -> None:
        self._refusal_s = 1 / rate_per_s
        self._max_wait_s = max_wait_s
        self._loop = asyncio.get_running_loop()
        self._until_s = 0.0
        self._waiting: deque[tuple[float, Readable]] = deque()
        self._alarm: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """How many connections wait."""
        return len(self._waiting)

    def note_refusal(self, connection: Readable) -> None:
        """Pause a connection whose request was refused, if others were refused just before."""
        now_s = self._loop.time()
        self._until_s = min(max(self._until_s, now_s) + self._refusal_s, now_s + self._max_wait_s)
        if self._until_s - now_s < _MIN_WAIT_S:
            return
        connection.pause_reading()
        self._waiting.append((self._until_s, connection))
        if self._alarm is None:
            self._alarm = self._loop.call_at(self._waiting[0][0], self._resume)

    def _resume(self) -> None:
        self._alarm = None
        now_s = self._loop.time()
        while self._waiting and self._waiting[0][0] <= now_s:
            self._waiting.popleft()[1].resume_reading()
        if self._waiting:
            self._alarm = self._loop.call_at(self._waiting[0][0], self._resume)
