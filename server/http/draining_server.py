"""A server with graceful shutdown: no client loses a request because its idle connection is closed."""

from __future__ import annotations

import asyncio
import select
import socket
import time
from collections.abc import Callable, Sequence

from astec.server.http.acceptor import ConnectionAcceptor
from astec.server.http.uvicorn_adapter import CONNECTION_CLOSE, Config, UvicornServer

_TICK_S = 0.1
_ACCEPT_TICK_S = 0.01
_MAX_ACCEPT_S = 1.0


class DrainingServer(UvicornServer):
    """uvicorn's server, which on shutdown accepts no new connections but keeps answering on the open ones for a while.

    Each response then has the header `Connection: close`, so that the client opens another connection, to another
    process, for its next request. If the server closed an idle connection instead, it could do so just when the client
    sends a request on it, and that request would be lost.

    Args:
        config: uvicorn's configuration; its `timeout_graceful_shutdown` begins after the drain.
        listeners: The sockets that the server will be run on.
        shared: Those of them that other processes accept connections of, too.
        drain_s: Seconds after which idle connections are closed, if their clients do not close them before.
        on_drain: Called when the drain begins.
    """

    def __init__(
        self,
        config: Config,
        listeners: Sequence[socket.socket],
        shared: Sequence[socket.socket],
        drain_s: float,
        on_drain: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._listeners = listeners
        self._shared = shared
        self._drain_s = drain_s
        self._on_drain = on_drain

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then accept connections."""
        await super().startup(sockets=[])
        self.set_listening_servers(
            [
                ConnectionAcceptor(
                    listener, self.new_connection, self.config.backlog, is_shared=listener in self._shared
                )
                for listener in sockets or []
            ]
        )

    async def main_loop(self) -> None:
        """Serve until asked to stop, then drain."""
        await super().main_loop()
        self._on_drain()
        await self.add_header_to_responses(CONNECTION_CLOSE)
        await self._accept_pending()
        self.close_listening_servers()
        end_s = time.monotonic() + self._drain_s
        while True:
            await asyncio.sleep(_TICK_S)
            await self.update_headers()
            if not self.open_connections() or time.monotonic() > end_s or self.force_exit:
                return

    async def _accept_pending(self) -> None:
        """Wait until all pending connections are accepted; closing the last copy of a socket would reset them."""
        pending = select.poll()
        for listener in self._listeners:
            pending.register(listener, select.POLLIN)
        end_s = time.monotonic() + _MAX_ACCEPT_S
        while pending.poll(0) and time.monotonic() < end_s:
            await asyncio.sleep(_ACCEPT_TICK_S)
