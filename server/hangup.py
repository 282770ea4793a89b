"""Stops waiting for answers that nobody will read."""

from __future__ import annotations

import asyncio
from types import TracebackType

from starlette.types import Receive

from server.errors import ClientLeftError

TICK_S = 0.02
"""How often the clients that wait are looked at: much longer than most wait, much shorter than they would have to."""


class Hangups:
    """Watches the clients of an event loop: `with hangups.watch(receive): ...`.

    ASGI tells of a hang-up only who awaits `receive`, for which each client would need a task of its own. Where many
    wait, as they do when a server has too much to do, these tasks took as much time as their predictions. So what
    `receive` is a method of is asked: uvicorn's exchange, which has a flag. With another server nobody hangs up.
    """

    def __init__(self) -> None:
        self._watches: dict[_Watch, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, receive: Receive) -> _Watch:
        """Return a block that is cancelled when the client hangs up, and raises ClientLeftError then."""
        return _Watch(self, receive)

    def add(self, watch: _Watch) -> None:
        """Take note of a block that begins."""
        self._watches[watch] = None
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TICK_S, self._on_timer)

    def discard(self, watch: _Watch) -> None:
        """Forget a block that ended."""
        del self._watches[watch]

    def _on_timer(self) -> None:
        for watch in self._watches:
            watch.end_if_left()
        self._timer = asyncio.get_running_loop().call_later(TICK_S, self._on_timer) if self._watches else None


class _Watch:
    """One client's block."""

    __slots__ = ("_hangups", "_left", "_receive", "_task")

    def __init__(self, hangups: Hangups, receive: Receive) -> None:
        self._hangups = hangups
        self._receive = receive
        self._left = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  (a coroutine always runs in a task)
        self._task = task
        self._hangups.add(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, stack: TracebackType | None
    ) -> None:
        self._hangups.discard(self)
        if self._left and isinstance(error, asyncio.CancelledError):
            self._task.uncancel()
            raise ClientLeftError("The client closed the connection before the answer was ready.") from error

    def end_if_left(self) -> None:
        """Cancel the block of a client that hung up."""
        exchange = getattr(self._receive, "__self__", None)
        if getattr(exchange, "disconnected", False) and not self._left:
            self._left = True
            self._task.cancel()
