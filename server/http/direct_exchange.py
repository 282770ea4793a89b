"""A request that is answered without ASGI: no task, no scope, and one write for the whole response."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from time import perf_counter
from typing import Any, NamedTuple, Protocol

from astec.server.errors import ClientLeftError
from astec.server.http.request_ids import HEADER
from astec.server.tracing.request_span import RequestSpan

Headers = Iterable[tuple[bytes, bytes]]
LEFT_EARLY = "The client closed the connection before the end of its request."


class Reply(NamedTuple):
    """A whole response. The headers have the length of the body, and names in lower case."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Sender(NamedTuple):
    """Who sent a request.

    Attributes:
        client: The name of the client; empty if there are no keys.
        request_id: The id of the request; empty if it has none.
        span: The span of the request; None if it belongs to no trace.
        share_key: What decides which model answers, of a header; empty if none does.
    """

    client: str
    request_id: bytes
    span: RequestSpan | None = None
    share_key: bytes = b""


NOBODY = Sender("", b"")
"""The usual sender, who is told apart by identity, which is faster than by fields."""


class Awaited(Protocol):
    """A future of the event loop, or another object that will call `DirectExchange.end`."""

    def cancel(self, msg: str | None = None) -> bool:
        """Have the exchange end soon, in a later turn of the event loop, with an error."""


class DirectEndpoint(Protocol):
    """Answers some of the requests of a server itself, in place of the ASGI application."""

    def sender_of(self, method: bytes, target: bytes, headers: Headers) -> Sender | None:
        """Return the sender of a request that is answered here; None: the application has to answer it.

        Only requests of HTTP/1.1 are asked about. Of those that are answered here the body has a known length.
        """

    def begin(self, content: bytes, sender: Sender, exchange: DirectExchange) -> Coroutine[Any, None, Reply] | None:
        """Begin to answer the request of `sender` with the body `content`.

        Either `exchange.end` is called, now or later, or a coroutine is returned that makes the reply. It may only
        await futures of the running event loop, and raise nothing but `asyncio.CancelledError`.
        """

    def failure(self, error: BaseException, sender: Sender) -> Reply:
        """Return the reply to a request of `sender` that fails with an error."""

    def answered(self, status: int, seconds: float, sender: Sender) -> None:
        """Record a request that has ended, by its status and the seconds since its head was complete."""


class Connection(Protocol):
    """The connection of an exchange."""

    def end_exchange(self, exchange: DirectExchange, reply: Reply) -> None:
        """Write the reply, and go on with the next request."""


class DirectExchange:
    """A request on its way to its reply, in the place of uvicorn's request cycle.

    asyncio would run the coroutine in a task, which has to be made, scheduled and kept in the set of all tasks. Here
    it runs at once until it awaits a future, and goes on when the future is done.

    Args:
        connection: The connection that the request came on.
        endpoint: Makes the reply.
        sender: Who sent the request; the reply repeats its id.
        scope: What identifies the request that is being parsed.
        keep_alive: Whether the connection stays open after the reply.

    Attributes:
        disconnected: Whether the client has closed the connection before the reply.
        keep_alive: Whether the connection stays open after the reply; uvicorn may forbid it.
        more_body: Whether more of the body is to come.
        response_started: Whether the reply was written; so is `response_complete`.
    """

    message_event = asyncio.Event()
    """uvicorn sets it when the connection is lost, for a task that reads the body; here nobody waits for it."""

    def __init__(
        self, connection: Connection, endpoint: DirectEndpoint, sender: Sender, scope: object, keep_alive: bool
    ) -> None:
        self.disconnected = False
        self.keep_alive = keep_alive
        self.more_body = True
        self.response_started = False
        self.response_complete = False
        self.scope = scope
        self._connection: Connection | None = connection
        self._endpoint = endpoint
        self._sender = sender
        self._begun_s = perf_counter()
        self._content: bytes | bytearray = b""
        self._awaited: Awaited | None = None
        self._coroutine: Coroutine[Any, None, Reply] | None = None

    def add(self, body: bytes) -> None:
        """Store a part of the body."""
        if not self._content:
            self._content = body  # The usual case: the body comes as a whole.
            return
        if isinstance(self._content, bytes):
            self._content = bytearray(self._content)
        self._content += body

    def begin(self) -> None:
        """Begin to answer: the body has come to its end."""
        self.more_body = False
        content, self._content = bytes(self._content), b""  # An idle connection must not keep a body.
        self._coroutine = self._endpoint.begin(content, self._sender, self)
        if self._coroutine is not None:
            self._go_on()

    def wait_for(self, awaited: Awaited) -> None:
        """Note what will end the exchange."""
        self._awaited = awaited

    def cancel(self, msg: str | None = None) -> None:
        """End the request soon, as `asyncio.Task.cancel` does; uvicorn cancels what outlasts the shutdown."""
        if self._awaited is not None:
            self._awaited.cancel(msg)
        elif self.more_body:
            failure = self._endpoint.failure(asyncio.CancelledError(msg), self._sender)
            asyncio.get_running_loop().call_soon(self.end, failure)

    def abandon(self) -> None:
        """End a request whose client left before the end of its body."""
        self.disconnected = True
        if self._connection is not None:
            self.end(self._endpoint.failure(ClientLeftError(LEFT_EARLY), self._sender))

    def _go_on(self, _: asyncio.Future[Any] | None = None) -> None:
        assert self._coroutine is not None  # noqa: S101  (only called between `begin` and the end)
        try:
            future: asyncio.Future[Any] = self._coroutine.send(None)
        except StopIteration as end:
            self.end(end.value)
        except (Exception, asyncio.CancelledError) as error:
            self.end(self._endpoint.failure(error, self._sender))
        else:
            self._awaited = future
            future.add_done_callback(self._go_on)

    def end(self, reply: Reply) -> None:
        """Send the reply, unless the client has left, and record the request."""
        connection, self._connection = self._connection, None  # Without this, both would be a reference cycle.
        self._coroutine = self._awaited = None
        if self._sender is not NOBODY and self._sender.request_id:
            reply.headers.append((HEADER, self._sender.request_id))
        self._endpoint.answered(reply.status, perf_counter() - self._begun_s, self._sender)
        if connection is not None:
            connection.end_exchange(self, reply)
