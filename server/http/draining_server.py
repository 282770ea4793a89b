"""uvicorn's server with a graceful end: no client loses a request to the closing of its idle connection."""

from __future__ import annotations

import asyncio
import select
import socket
import time
from collections.abc import Callable
from typing import cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from astec.server.http.acceptor import Acceptor

_TICK_S = 0.1
_ACCEPT_TICK_S = 0.01
_MAX_ACCEPT_S = 1.0


class DrainingServer(uvicorn.Server):
    """Once asked to stop it takes no new connections, but answers on the open ones for a while.

    Each answer says `Connection: close`, so that the client opens another connection, elsewhere, for its next request.
    To close an idle connection instead is to race with the request that its client may be sending.

    Args:
        config: uvicorn's; `timeout_graceful_shutdown` begins after the drain.
        listener: The socket that it will be run on.
        drain_s: Seconds until connections that are idle are closed, if their clients do not close them before.
        on_drain: Called when the drain begins.
    """

    def __init__(
        self, config: uvicorn.Config, listener: socket.socket, drain_s: float, on_drain: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._listener = listener
        self._drain_s = drain_s
        self._on_drain = on_drain

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then let clients in."""
        await super().startup(sockets=[])
        acceptors = [Acceptor(listener, self._protocol, self.config.backlog) for listener in sockets or []]
        # They are servers as far as uvicorn uses one: to close it, and to wait until that is done.
        self.servers = cast(list[asyncio.Server], acceptors)

    def _protocol(self) -> asyncio.Protocol:
        protocol_class = cast(type[HttpToolsProtocol], self.config.http_protocol_class)
        return protocol_class(self.config, self.server_state, self.lifespan.state)

    async def main_loop(self) -> None:
        """Serve until asked to stop, then drain."""
        await super().main_loop()
        self._on_drain()
        self.config.encoded_headers.append((b"connection", b"close"))
        await self.on_tick(0)  # which puts it into every answer from now on
        await self._accept_who_waits()
        for server in self.servers:
            server.close()
        end_s = time.monotonic() + self._drain_s
        while True:
            await asyncio.sleep(_TICK_S)
            await self.on_tick(0)
            if not self.server_state.connections or time.monotonic() > end_s or self.force_exit:
                return

    async def _accept_who_waits(self) -> None:
        """Leave nobody behind in the queue, who would be reset if no other process has the listener."""
        waiting = select.poll()
        waiting.register(self._listener, select.POLLIN)
        end_s = time.monotonic() + _MAX_ACCEPT_S
        while waiting.poll(0) and time.monotonic() < end_s:
            await asyncio.sleep(_ACCEPT_TICK_S)
