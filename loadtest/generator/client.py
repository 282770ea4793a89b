"""The HTTP client of the load generator, with as many persistent connections as there are requests in flight."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import perf_counter
from urllib.parse import urlsplit

from astec.loadtest.generator.connection import CONNECTION, TIMEOUT, Answer, Connection, OnAnswer
from astec.loadtest.generator.load_plan import LoadPlan

# Servers commonly close an idle connection after 5 s; closing it before that avoids a request on a closing connection.
_KEEPALIVE_S = 4.0
_LONGEST_SWEEP_S = 0.05


class UnreachableError(Exception):
    """A server that cannot be put under load; the message says why and what to do."""


class Client:
    """Posts requests to one endpoint. It uses callbacks, because a task per request would cost more than the request.

    Requests use the connections in turn, as requests of many users do. If they reused the latest connection, a few
    connections would carry all the load, and all of these may belong to one worker of the server.

    Args:
        endpoint: URL to post to.
        timeout_s: seconds that a response may take.
        least_connections: number of connections to open, one with each request, before any is used again.
    """

    def __init__(self, endpoint: str, timeout_s: float, least_connections: int) -> None:
        self._endpoint = endpoint
        parts = urlsplit(endpoint)
        self._host, self._port = parts.hostname or "", parts.port or 80
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        self._head = (
            f"POST {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\nContent-Length: "
        ).encode()
        self._timeout_s = timeout_s
        self._least_connections = least_connections
        self._connections: set[Connection] = set()
        self._idle: dict[Connection, float] = {}
        self._connecting: dict[Connection, asyncio.Task[None]] = {}

    def post(self, body: bytes, on_answer: OnAnswer) -> None:
        """Post one query; `on_answer` is called later in any case, also after a failure."""
        now_s = perf_counter()
        enough = len(self._connections) >= self._least_connections
        connection = (self._idle_connection(now_s) if enough else None) or self._open()
        request = b"%b%d\r\n\r\n%b" % (self._head, len(body), body)
        connection.send(request, on_answer, now_s + self._timeout_s)

    async def ask(self, body: bytes) -> Answer:
        """Post one query and wait for the response."""
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.post(body, lambda answer: None if answered.done() else answered.set_result(answer))
        return await answered

    async def probe(self, body: bytes) -> None:
        """Post one query to check that a run makes sense. An overloaded server (429, 5xx) passes the check.

        Raises:
            UnreachableError: there is no server, or it refuses the query for a reason that will not go away.
        """
        kind, _, detail = await self.ask(body)
        text = detail.decode(errors="replace").strip()
        if kind == TIMEOUT:
            raise UnreachableError(f"{self._endpoint} did not answer in time. Is it ready? Raise --timeout.")
        if kind == CONNECTION:
            raise UnreachableError(f"Cannot reach {self._endpoint}: {text}. Is the server up?")
        if kind.startswith(("status_3", "status_4")) and kind != "status_429":
            raise UnreachableError(
                f"{self._endpoint} answered {kind.removeprefix('status_')} to a plain query: {text[:300]!r}. "
                "Give the URL of an astec server, and queries of the kind that its model serves."
            )

    async def end_late_requests(self) -> None:
        """End requests over their timeout, until cancelled. One periodic check costs less than a timer per request."""
        while True:
            await asyncio.sleep(min(_LONGEST_SWEEP_S, self._timeout_s / 10))
            now_s = perf_counter()
            for connection in [late for late in self._connections if late.deadline_s <= now_s]:
                connection.end(TIMEOUT)

    async def close(self) -> None:
        """Close all connections; pending requests end as `CONNECTION`."""
        connecting = list(self._connecting.values())
        for connection in list(self._connections):
            connection.end(CONNECTION)
        await asyncio.gather(*connecting, return_exceptions=True)
        await asyncio.sleep(0)  # lets the event loop close the sockets

    def _idle_connection(self, now_s: float) -> Connection | None:
        """Return the connection that has been idle longest, but not so long that the server may be closing it."""
        while self._idle:
            connection = next(iter(self._idle))
            since_s = self._idle.pop(connection)
            if now_s - since_s < _KEEPALIVE_S:
                return connection
            connection.end(CONNECTION)
        return None

    def _open(self) -> Connection:
        connection = Connection(self._set_free, self._forget)
        self._connections.add(connection)
        self._connecting[connection] = asyncio.get_running_loop().create_task(self._connect(connection))
        return connection

    async def _connect(self, connection: Connection) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: connection, self._host, self._port)
        except OSError as error:
            connection.end(CONNECTION, str(error))
        finally:
            self._connecting.pop(connection, None)

    def _set_free(self, connection: Connection) -> None:
        self._idle[connection] = perf_counter()

    def _forget(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._idle.pop(connection, None)
        task = self._connecting.pop(connection, None)
        if task is not None and task is not asyncio.current_task():
            task.cancel()


@asynccontextmanager
async def open_client(plan: LoadPlan) -> AsyncIterator[Client]:
    """Open a client for the endpoint of a plan."""
    client = Client(plan.endpoint, plan.timeout_s, plan.connections)
    sweeping = asyncio.get_running_loop().create_task(client.end_late_requests())
    try:
        yield client
    finally:
        sweeping.cancel()
        await client.close()
