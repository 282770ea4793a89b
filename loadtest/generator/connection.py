"""A persistent HTTP/1.1 connection, on which one request follows another.

It is a plain protocol of the event loop, because the generator often runs on the machine that is measured: with
streams, tasks and futures, a request cost several times what the server spends on it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import NamedTuple, cast

import httptools

OK = "ok"
TIMEOUT = "timeout"
CONNECTION = "connection"


class Answer(NamedTuple):
    """The outcome of a request.

    Attributes:
        kind: `OK`, `TIMEOUT`, `CONNECTION` or `status_NNN`.
        server_timing: the header `Server-Timing`.
        detail: the body of the response, or the error.
    """

    kind: str
    server_timing: bytes = b""
    detail: bytes = b""


OnAnswer = Callable[[Answer], None]
_KINDS = {status: f"status_{status}" for status in range(100, 600)} | {200: OK}


class Connection(asyncio.Protocol):
    """Sends one request at a time and calls back with its outcome.

    Args:
        on_free: called when a response leaves the connection usable, before the callback of the request.
        on_lost: called when the connection has ended.

    Attributes:
        deadline_s: time at which the current request times out, on the clock of its sender; infinite while idle.
    """

    def __init__(self, on_free: Callable[[Connection], None], on_lost: Callable[[Connection], None]) -> None:
        self.deadline_s = math.inf
        self._on_free, self._on_lost = on_free, on_lost
        self._on_answer: OnAnswer | None = None
        self._transport: asyncio.Transport | None = None
        self._unsent = b""
        self._parser = httptools.HttpResponseParser(self)
        self._server_timing = b""
        self._body: list[bytes] = []
        self._complete, self._reusable = False, False

    def send(self, request: bytes, on_answer: OnAnswer, deadline_s: float) -> None:
        """Send a whole request, at once or as soon as the connection is open."""
        self._on_answer = on_answer
        self.deadline_s = deadline_s
        if self._transport is None:
            self._unsent = request
        else:
            self._transport.write(request)

    def end(self, kind: str, detail: str = "") -> None:
        """End the connection; a pending request ends as `kind`."""
        if self._transport is not None:
            self._transport.abort()
        on_answer, self._on_answer = self._on_answer, None
        self.deadline_s = math.inf
        self._on_lost(self)
        if on_answer is not None:
            on_answer(Answer(kind, detail=detail.encode()))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the waiting request."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._unsent)

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived; call back once the response is complete."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.end(CONNECTION, f"no HTTP/1.1 answer: {error}")
            return
        if self._complete:
            self._finish_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """End a pending request as `CONNECTION`."""
        self.end(CONNECTION, str(exc or "the server closed the connection"))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep the header `Server-Timing`; called by the parser."""
        if name.lower() == b"server-timing":
            self._server_timing = value

    def on_body(self, body: bytes) -> None:
        """Keep the body; called by the parser."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Note that the response is complete; called by the parser, which knows only now if it stays open."""
        self._complete, self._reusable = True, self._parser.should_keep_alive()

    def _finish_request(self) -> None:
        kind = _KINDS.get(self._parser.get_status_code(), CONNECTION)
        answer = Answer(kind, self._server_timing, b"".join(self._body))
        on_answer, self._on_answer = self._on_answer, None
        self.deadline_s = math.inf
        self._complete, self._server_timing, self._body = False, b"", []
        if on_answer is not None and self._reusable:
            self._on_free(self)
        else:
            self.end(CONNECTION)
        if on_answer is not None:
            on_answer(answer)
