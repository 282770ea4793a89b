"""The only module that imports uvicorn, and the place of all that this server relies on beyond uvicorn's public API.

uvicorn promises nothing about these parts, so its version is capped in pyproject.toml. Before the cap is raised, run
`tests/server/http/test_uvicorn_adapter.py`: it has a case, with the name of the part, for each part named here.

Parts of `HttpToolsProtocol` (one object per connection):

- attributes read: `access_log`, `app_state`, `flow`, `loop`, `pipeline`, `scope`, `server_state`, `timeout_keep_alive`,
  `timeout_keep_alive_handler`, `transport`; also written: `expect_100_continue`, `headers`, `parser`,
  `timeout_keep_alive_task`, `url`; replaced by uvicorn for each request, and by us for a request that is answered
  directly: `cycle`;
- methods called: `_unset_keepalive_if_required`;
- methods overridden: `connection_lost`, `data_received`, `on_message_begin`, `on_headers_complete`, `on_body`,
  `on_message_complete`, `on_response_complete`, `resume_writing`, `send_400_response`, `timeout_keep_alive_handler`.

Parts of `RequestResponseCycle` (one object per request): attributes `disconnected`, `keep_alive`, `more_body`,
`response_complete`, `response_started`, `scope` and `waiting_for_100_continue`, and the method `receive`.
`server/api/predict.py` reads `disconnected` of the object to which `receive` is bound. A `DirectExchange` takes the
place of a cycle: it has these attributes but for `receive` and `waiting_for_100_continue`, and `message_event`, which
uvicorn sets.

Parts of `FlowControl` (one object per connection): attributes `read_paused` and `write_paused`, methods `pause_reading`
and `resume_reading`.

Parts of `uvicorn.Server`: attributes `config`, `force_exit`, `lifespan`, `server_state`, `servers` and `should_exit`;
`startup` and `main_loop` are overridden, `on_tick` is called. Parts of its `server_state`: `connections`,
`default_headers`, `total_requests`, and `tasks`, which the server waits for, and cancels when it shuts down. Parts of
`uvicorn.Config`: `backlog`, `callback_notify`, `encoded_headers`, `http_protocol_class`.

`server/metrics/logs.py` relies on the arguments of a record of the access log: client, method, path with query string,
HTTP version and status.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol, cast

import httptools
import uvicorn
from starlette.responses import Response
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from astec.server.http.direct_exchange import DirectEndpoint, DirectExchange, Reply, Sender

__all__ = ["CONNECTION_CLOSE", "Config", "UvicornConnection", "UvicornServer"]

CONNECTION_CLOSE = (b"connection", b"close")
"""The response header that tells a client that this connection takes no further request."""


class Closable(Protocol):
    """A listening server, as far as uvicorn uses one."""

    def close(self) -> None:
        """Stop listening."""

    async def wait_closed(self) -> None:
        """Return once it has stopped."""


class UvicornConnection(HttpToolsProtocol):
    """uvicorn's HTTP connection, with methods for the private state that our own connection class needs.

    "The current request" is the last one whose head was handed to the application. The application answers requests
    that arrived behind it on the same connection (pipelined requests) one after the other.
    """

    transport: asyncio.Transport
    _idle_from_s = 0.0
    _default_fields: list[tuple[bytes, bytes]] | None = None  # the headers of every response, and how they are written
    _default_lines = b""

    def lifespan_state(self) -> dict[str, Any]:
        """Return the state that the application yielded when it started up."""
        return self.app_state

    def feed_parser(self, data: bytes) -> None:
        """Parse received bytes; the parser calls the `on_...` methods. Stops the timer of an idle connection.

        Raises:
            httptools.HttpParserUpgrade: A head asks for another protocol; its argument is the number of bytes parsed.
            httptools.HttpParserError: The bytes are not HTTP.
        """
        self._unset_keepalive_if_required()
        self.parser.feed_data(data)

    def reset_parser(self) -> None:
        """Replace the parser by a new one, with the same options as uvicorn's."""
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)

    def current_request(self) -> object | None:
        """Return an object that identifies the current request, or None before the first request."""
        return self.cycle

    def is_idle(self) -> bool:
        """Return whether the application has answered all requests that it was given on this connection."""
        return self.current_request() is None or self.cycle.response_complete

    def is_awaiting_body(self) -> bool:
        """Return whether more of the current request's body is to come."""
        return self.cycle.more_body

    def has_response_started(self) -> bool:
        """Return whether the head of the response to the current request has been sent."""
        return self.cycle.response_started

    def is_receiving_current_request(self) -> bool:
        """Return whether the request that is being parsed is the current one, and the only one without a response."""
        return self.cycle.more_body and self.scope is self.cycle.scope and not self.pipeline

    def is_read_paused(self) -> bool:
        """Return whether reading from the client is paused."""
        return self.flow.read_paused

    def is_write_paused(self) -> bool:
        """Return whether the client has not yet taken enough of what was written for more to be written."""
        return self.flow.write_paused

    def has_keep_alive_timer(self) -> bool:
        """Return whether the connection waits, with a timer running, for its client's next request."""
        return self.timeout_keep_alive_task is not None

    def start_keep_alive_timer(self) -> None:
        """Close the connection after uvicorn's keep-alive timeout, unless another request arrives before."""
        self._idle_from_s = self.loop.time()
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def on_response_complete(self) -> None:
        """Go on with the next request; where none waits, keep a timer that runs already, and only note the time.

        A new timer for each request would cost as much as reading it.
        """
        self._idle_from_s = self.loop.time()
        if self.timeout_keep_alive_task is None or self.pipeline or self.transport.is_closing():
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        self.flow.resume_reading()

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection, if it has been idle for all of the timeout; else wait for the rest of it."""
        self.timeout_keep_alive_task = None
        if not self.is_idle():
            return  # The response will start another timer.
        left_s = self._idle_from_s + self.timeout_keep_alive - self.loop.time()
        if left_s > 0:
            self.timeout_keep_alive_task = self.loop.call_later(left_s, self.timeout_keep_alive_handler)
        else:
            super().timeout_keep_alive_handler()

    def stop_reading_and_close_after_response(self) -> None:
        """Pause reading, and have the response to the current request end the connection."""
        self.cycle.keep_alive = False
        self.flow.pause_reading()

    def ask_for_body_or_close(self) -> None:
        """Have the response to the current request end the connection, if it comes before the whole body.

        uvicorn asks for the body (100 Continue) when the application reads it. The client of a response that comes
        instead need not send the body, so that nobody could tell what the next bytes on the connection are.
        """
        self.cycle.keep_alive = False

    def note_whole_body(self) -> None:
        """Keep the connection after all, and do not ask for the body, as all of it is there."""
        if not self.has_response_started():
            self.cycle.waiting_for_100_continue = False
            self.cycle.keep_alive = self.parser.should_keep_alive() and not self.is_draining()

    def is_draining(self) -> bool:
        """Return whether the server is shutting down, so that each response ends its connection."""
        return CONNECTION_CLOSE in self.server_state.default_headers

    def write_response(self, response: Response, *headers: tuple[bytes, bytes]) -> None:
        """Write a response, with additional headers, that does not come from the application."""
        reply = Reply(response.status_code, [*response.raw_headers, *headers], bytes(response.body))
        self._write(reply)

    def begin_exchange(self, endpoint: DirectEndpoint, sender: Sender, keep_alive: bool) -> DirectExchange:
        """Make the request whose head was just read the current one, to be answered without the application."""
        exchange = DirectExchange(self, endpoint, sender, self.scope, keep_alive)
        as_cycle_and_task: Any = exchange  # It has those of their attributes that uvicorn uses.
        self.cycle = as_cycle_and_task
        self.server_state.tasks.add(as_cycle_and_task)
        return exchange

    def end_exchange(self, exchange: DirectExchange, reply: Reply) -> None:
        """Write the reply to a request that began with `begin_exchange`, and go on with the next request."""
        as_task: Any = exchange
        self.server_state.tasks.discard(as_task)
        if exchange.disconnected:
            return
        exchange.response_started = exchange.response_complete = True
        if not exchange.keep_alive and not self.is_draining():
            reply.headers.append(CONNECTION_CLOSE)
        self._write(reply)
        if not exchange.keep_alive or self.is_draining():
            self.transport.close()
        self.on_response_complete()

    def _write(self, reply: Reply) -> None:
        if self.server_state.default_headers is not self._default_fields:  # uvicorn replaces them once a second.
            self._default_fields = self.server_state.default_headers
            self._default_lines = _lines(self._default_fields)
        self.transport.write(
            b"%b%b%b\r\n%b" % (STATUS_LINE[reply.status], self._default_lines, _lines(reply.headers), reply.body)
        )


def _lines(headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    return b"".join([b"%b: %b\r\n" % field for field in headers])


class UvicornServer(uvicorn.Server):
    """uvicorn's server, with methods for the private state that our own server class needs."""

    def new_connection(self) -> asyncio.Protocol:
        """Return the protocol of a new connection, as uvicorn makes one."""
        protocol_class = cast(type[HttpToolsProtocol], self.config.http_protocol_class)
        return protocol_class(self.config, self.server_state, self.lifespan.state)

    def set_listening_servers(self, servers: Sequence[Closable]) -> None:
        """Have uvicorn close these servers, and wait until they are closed, when it shuts down."""
        self.servers = cast(list[asyncio.Server], list(servers))

    def close_listening_servers(self) -> None:
        """Take no more connections."""
        for server in self.servers:
            server.close()

    def open_connections(self) -> set[UvicornConnection]:
        """Return uvicorn's own set of the open connections."""
        return cast(set[UvicornConnection], self.server_state.connections)

    async def update_headers(self) -> None:
        """Have uvicorn renew the headers of every response, as the date is one; it does so once a second by itself."""
        await self.on_tick(0)

    async def add_header_to_responses(self, header: tuple[bytes, bytes]) -> None:
        """Add a header to every response from now on."""
        self.config.encoded_headers.append(header)
        await self.update_headers()
