"""Pauses reading from connections whose requests were refused, so that refusals do not take too much CPU time."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

# A shorter pause is not worth the two system calls that it takes.
_MIN_WAIT_S = 0.01


class Readable(Protocol):
    """A connection from which reading can be paused."""

    def pause_reading(self) -> None:
        """Stop reading; the operating system's buffers fill, and the client has to wait."""

    def resume_reading(self) -> None:
        """Read again."""


class Cooldown:
    """Limits the rate of refused requests, by pausing connections after a refusal.

    A refusal costs a seventh of an answer. With clients that send several times as many requests as the server can
    answer, refusals without a pause take a third of its time, and so a third of the answers is lost. Refusals below
    the rate cause no pause.

    Args:
        rate_per_s: Refusals per second that cause no pause.
        max_wait_s: The longest pause in seconds, however many requests are refused.
    """

    def __init__(self, rate_per_s: float, max_wait_s: float) -> None:
        self._refusal_s = 1 / rate_per_s
        self._max_wait_s = max_wait_s
        self._loop = asyncio.get_running_loop()
        self._until_s = 0.0
        self._paused: deque[tuple[float, Readable]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Return the number of paused connections."""
        return len(self._paused)

    def note_refusal(self, connection: Readable) -> None:
        """Pause a connection whose request was refused, if the rate of refusals is above the limit."""
        now_s = self._loop.time()
        self._until_s = min(max(self._until_s, now_s) + self._refusal_s, now_s + self._max_wait_s)
        if self._until_s - now_s < _MIN_WAIT_S:
            return
        connection.pause_reading()
        self._paused.append((self._until_s, connection))
        if self._timer is None:
            self._timer = self._loop.call_at(self._paused[0][0], self._resume)

    def _resume(self) -> None:
        self._timer = None
        now_s = self._loop.time()
        while self._paused and self._paused[0][0] <= now_s:
            self._paused.popleft()[1].resume_reading()
        if self._paused:
            self._timer = self._loop.call_at(self._paused[0][0], self._resume)
