"""Stops waiting for answers that nobody will read."""

from __future__ import annotations

import asyncio
import time
from types import TracebackType

from starlette.types import Receive

from server.errors import ClientLeftError

# Most answers are there within a millisecond or two; only the waits beyond this are worth a task that listens.
GRACE_S = 0.005


class Hangups:
    """Watches the clients of an event loop: `with hangups.watch(receive): ...`.

    One timer for all of them, not one each, finds those that have waited for longer than the grace period.
    """

    def __init__(self) -> None:
        self._fresh: dict[_Watch, None] = {}  # In the order of their beginning; nobody listens to them yet.
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, receive: Receive) -> _Watch:
        """Return a block that is cancelled when the client hangs up, and raises ClientLeftError then.

        ASGI servers do not cancel a handler whose client left; they only say so to whoever calls `receive`.
        """
        return _Watch(self, receive)

    def add(self, watch: _Watch) -> None:
        """Take note of a block that begins."""
        self._fresh[watch] = None
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GRACE_S, self._on_timer)

    def discard(self, watch: _Watch) -> None:
        """Forget a block that ended."""
        self._fresh.pop(watch, None)

    def _on_timer(self) -> None:
        now_s = time.monotonic()
        waited = [watch for watch in self._fresh if now_s - watch.begun_s >= GRACE_S]
        for watch in waited:
            del self._fresh[watch]
            watch.listen()
        self._timer = asyncio.get_running_loop().call_later(GRACE_S, self._on_timer) if self._fresh else None


class _Watch:
    """One client's block."""

    __slots__ = ("_hangups", "_left", "_listener", "_receive", "_task", "begun_s")

    def __init__(self, hangups: Hangups, receive: Receive) -> None:
        self._hangups = hangups
        self._receive = receive
        self._left = False
        self._listener: asyncio.Task[None] | None = None

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  (a coroutine always runs in a task)
        self._task = task
        self.begun_s = time.monotonic()
        self._hangups.add(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, stack: TracebackType | None
    ) -> None:
        self._hangups.discard(self)
        if self._listener is not None:
            self._listener.cancel()
        if self._left and isinstance(error, asyncio.CancelledError):
            self._task.uncancel()
            raise ClientLeftError("The client closed the connection before the answer was ready.") from error

    def listen(self) -> None:
        """Wait for the client to hang up."""
        self._listener = asyncio.get_running_loop().create_task(self._listen())

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._left = True
        self._task.cancel()
