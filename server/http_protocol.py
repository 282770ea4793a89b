"""uvicorn's HTTP protocol with the limits that it lacks, and with its refusals as problem documents."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any, Protocol, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from server.errors import HeadTooLargeError, MalformedHttpError, RequestTimeoutError, ServerError, to_response

MAX_HEAD_BYTES = 32_768
METRICS = "metrics"
"""The place of a `RefusalCounter` in the state that an application yields when it starts up; it may yield none."""


class RefusalCounter(Protocol):
    """What counts refusals, of which the application does not hear."""

    def request_refused(self, status: int) -> None:
        """Record what was refused before it was a request."""


class BoundedHttp(HttpToolsProtocol):
    """A connection whose client cannot make the parser keep what belongs to no body and comes to no end.

    httptools joins the pieces of a header at each read, so that one without an end would take memory, and time by the
    square of it. The same is true of the trailers of a chunked body. Bodies themselves are counted by who reads them.
    """

    transport: asyncio.Transport

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  (uvicorn's)
        super().__init__(*args, **kwargs)
        self._unfinished_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Parse what came, in pieces that no limit is hidden in."""
        if len(data) <= MAX_HEAD_BYTES:
            self._parse(data)
            return
        for begin in range(0, len(data), MAX_HEAD_BYTES):
            if self.transport.is_closing():
                return
            self._parse(data[begin : begin + MAX_HEAD_BYTES])

    def _parse(self, data: bytes) -> None:
        before = self.cycle
        held_bytes = 0 if before is None else len(before.body)
        super().data_received(data)
        cycle = self.cycle
        if cycle is not before:
            self._unfinished_bytes = 0  # A head came to its end, as in most reads.
            return
        if self.transport.is_closing():
            return
        if cycle is not None and self.scope is cycle.scope:
            if not cycle.more_body or len(cycle.body) > held_bytes:
                self._unfinished_bytes = 0
                return
            if cycle.response_complete and not _is_chunked(self.headers):
                return  # The rest of a body that nobody wants any more is not kept.
        self._unfinished_bytes += len(data)
        if self._unfinished_bytes > MAX_HEAD_BYTES:
            self.refuse(HeadTooLargeError(f"The head is larger than the limit of {MAX_HEAD_BYTES} bytes."))

    def waits_for_client(self) -> bool:
        """Return whether the next step is the client's: to send more of a request, or to take more of an answer."""
        cycle = self.cycle
        if self.flow.write_paused or self.transport.is_closing():
            return True
        if cycle is None or cycle.response_complete:
            return self.timeout_keep_alive_task is None  # Connections between two requests have a timer.
        return cycle.more_body

    def give_up(self) -> None:
        """End a connection whose client does not take its turn."""
        cycle = cast(RequestResponseCycle | None, self.cycle)
        if self.flow.write_paused or self.transport.is_closing():
            self.transport.abort()
        elif cycle is None and not self._unfinished_bytes:  # Nothing came, and nothing is to be answered.
            self.transport.close()
        else:
            self.refuse(RequestTimeoutError("The request did not come to its end in time. Send it faster, or shorter."))

    def refuse(self, error: ServerError) -> None:
        """Answer what is coming in with an error, unless the answer would be taken for that of another, and close."""
        if self._is_next_to_be_answered():
            response = to_response(error)
            headers = [*self.server_state.default_headers, *response.raw_headers, (b"connection", b"close")]
            lines = [b"HTTP/1.1 %d %b" % (error.status, HTTPStatus(error.status).phrase.encode())]
            lines += [b"%b: %b" % header for header in headers]
            self.transport.write(b"\r\n".join([*lines, b"", bytes(response.body)]))
            metrics: RefusalCounter | None = self.app_state.get(METRICS)
            if metrics is not None:
                metrics.request_refused(error.status)
        self.transport.close()

    def _is_next_to_be_answered(self) -> bool:
        """Whether the client has its answers to all requests before the one that is coming in."""
        cycle = cast(RequestResponseCycle | None, self.cycle)
        if cycle is None:
            return True
        is_body = cycle.more_body and self.scope is cycle.scope
        return not cycle.response_started if is_body else cycle.response_complete

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP."""
        self.refuse(MalformedHttpError(msg))


def _is_chunked(headers: list[tuple[bytes, bytes]]) -> bool:
    return any(name == b"transfer-encoding" for name, _ in headers)
