"""The door of an event loop: lets in all connections that wait, not one in a turn."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable

logger = logging.getLogger(__name__)

# A bound on what may keep the loop from requests. Who is left waits for one turn.
_MAX_ACCEPTED_A_TURN = 1024
_PAUSE_S = 1.0


class Acceptor:
    """Takes the connections of a listener.

    uvloop's own server takes one in a turn of the loop. Turns are long under load, so that clients would wait for
    seconds to get in, health checks among them; and those that give up and try again would never come to an end.

    Args:
        listener: A bound socket, closed with the acceptor.
        protocol_factory: Makes the protocol of a connection.
        backlog: Connections that the system keeps waiting.
    """

    def __init__(
        self, listener: socket.socket, protocol_factory: Callable[[], asyncio.BaseProtocol], backlog: int
    ) -> None:
        self._listener = listener
        self._protocol_factory = protocol_factory
        self._loop = asyncio.get_running_loop()
        self._welcoming: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._closed = False
        listener.setblocking(False)
        listener.listen(backlog)
        self._open()

    def close(self) -> None:
        """Take no more connections, and close the listener; connections that were taken go on."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._listener)
            if self._pause is not None:
                self._pause.cancel()
            self._listener.close()

    async def wait_closed(self) -> None:
        """Return once all connections that were taken have their protocol."""
        if self._welcoming:
            await asyncio.wait(self._welcoming)

    def _open(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        for _ in range(_MAX_ACCEPTED_A_TURN):
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # No file or memory is left for one more.
                logger.error("no connection is taken for %g s: %s", _PAUSE_S, error.strerror)
                self._loop.remove_reader(self._listener)
                self._pause = self._loop.call_later(_PAUSE_S, self._open)
                return
            welcome = self._loop.create_task(self._welcome(connection))
            self._welcoming.add(welcome)
            welcome.add_done_callback(self._welcoming.discard)

    async def _welcome(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol_factory, connection)
        except OSError:  # It is gone already.
            connection.close()
