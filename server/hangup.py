"""Stops waiting for an answer that nobody will read."""

from __future__ import annotations

import asyncio
from types import TracebackType

from starlette.types import Receive

from server.errors import ClientLeftError

# Most answers are there within a millisecond or two; only the waits beyond this are worth a task that listens.
GRACE_S = 0.005


class Hangup:
    """Cancels the block when the client hangs up, and raises ClientLeftError in its place.

    ASGI servers do not cancel a handler whose client left; they only say so to whoever calls `receive`.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._left = False
        self._listener: asyncio.Task[None] | None = None

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  (a coroutine always runs in a task)
        self._task = task
        self._timer = asyncio.get_running_loop().call_later(GRACE_S, self._start_listening)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, stack: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._listener is not None:
            self._listener.cancel()
        if self._left and isinstance(error, asyncio.CancelledError):
            self._task.uncancel()
            raise ClientLeftError("The client closed the connection before the answer was ready.") from error

    def _start_listening(self) -> None:
        self._listener = asyncio.get_running_loop().create_task(self._listen())

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._left = True
        self._task.cancel()
