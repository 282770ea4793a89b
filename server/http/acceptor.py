"""Accepts all pending connections of a listening socket in one turn of the event loop."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable

logger = logging.getLogger(__name__)

# Limits the time for which accepting keeps the loop from serving requests; further connections wait for the next turn.
_MAX_ACCEPTED_PER_TURN = 1024
_PAUSE_S = 1.0
# A worker that shares a socket takes a few connections, and leaves the next ones to the others for the shortest time
# that uvloop can wait. Of 32 connections at once, one of two workers took all before. It can still accept as many
# connections per second as it could answer requests.
_MAX_SHARED_PER_TURN = 4
_SHARED_PAUSE_S = 0.001


class ConnectionAcceptor:
    """Accepts the connections of a listening socket, as many as are pending in each turn of the event loop.

    uvloop's own server accepts one connection in each turn. Turns are long under load, so that clients, health checks
    among them, would wait for seconds to be accepted; and clients that time out and retry would make the backlog of
    pending connections grow without end.

    Args:
        listener: A bound socket. `close` closes it.
        protocol_factory: Makes the protocol of a connection.
        backlog: Most connections that the operating system keeps pending.
        is_shared: Whether other processes accept connections of the same socket, and should get their share.
    """

    def __init__(
        self,
        listener: socket.socket,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        backlog: int,
        *,
        is_shared: bool = False,
    ) -> None:
        self._listener = listener
        self._is_shared = is_shared
        self._protocol_factory = protocol_factory
        self._loop = asyncio.get_running_loop()
        self._handovers: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._closed = False
        listener.setblocking(False)
        listener.listen(backlog)
        self._watch_listener()

    def close(self) -> None:
        """Close the listening socket; connections that were accepted stay open. May be called again."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._listener)
            if self._pause is not None:
                self._pause.cancel()
            self._listener.close()

    async def wait_closed(self) -> None:
        """Return once all accepted connections have their protocol."""
        if self._handovers:
            await asyncio.wait(self._handovers)

    def _watch_listener(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        for _ in range(_MAX_SHARED_PER_TURN if self._is_shared else _MAX_ACCEPTED_PER_TURN):
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                break
            except OSError as error:  # The process has no file descriptor left, or the system no memory.
                logger.error("no connection is taken for %g s: %s", _PAUSE_S, error.strerror)
                self._stop_watching(_PAUSE_S)
                return
            handover = self._loop.create_task(self._hand_over(connection))
            self._handovers.add(handover)
            handover.add_done_callback(self._handovers.discard)
        if self._is_shared:
            self._stop_watching(_SHARED_PAUSE_S)

    def _stop_watching(self, pause_s: float) -> None:
        self._loop.remove_reader(self._listener)
        self._pause = self._loop.call_later(pause_s, self._watch_listener)

    async def _hand_over(self, connection: socket.socket) -> None:
        """Give an accepted connection to a new protocol."""
        try:
            await self._loop.connect_accepted_socket(self._protocol_factory, connection)
        except OSError:  # The client has closed it already.
            connection.close()
