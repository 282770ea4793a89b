"""uvicorn's HTTP protocol with the limits that it lacks, and with its refusals as problem documents."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, Protocol, cast

import httptools
from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from astec.server.errors import HeadTooLargeError, MalformedHttpError, RequestTimeoutError, ServerError, to_response
from astec.server.http.cooldown import Readable

MAX_HEAD_BYTES = 32_768
ADMISSION_POLICY = "admission_policy"
"""The place of an `AdmissionPolicy` in the state that an application yields when it starts up; it may yield none."""

_CLOSE = (b"connection", b"close")
_UPGRADE_FIELDS = (b"upgrade", b"http2-settings")


class AdmissionPolicy(Protocol):
    """What is asked about requests of which the application does not hear."""

    def refusal(self, method: bytes, target: bytes) -> Response | None:
        """Return the answer to a request that there is no room for, whatever its body, or None."""

    def let_wait(self, connection: Readable) -> None:
        """Pause a connection whose request was refused, for as long as it shall be."""

    def request_refused(self, status: int) -> None:
        """Record what was refused before it was a request."""


class BoundedHttp(HttpToolsProtocol):
    """A connection whose client cannot make the server do or keep what nobody is going to use.

    httptools joins the pieces of a header at each read, so that one without an end would take memory, and time by the
    square of it. The same is true of the trailers of a chunked body. Bodies themselves are counted by who reads them.

    A task, a body that is parsed and a response of its own cost most of what an answer does, so what there is no room
    for is refused by its head: where two of three requests are refused, their price decides what is left for the third.
    """

    transport: asyncio.Transport

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  (uvicorn's)
        super().__init__(*args, **kwargs)
        self._admission: AdmissionPolicy | None = self.app_state.get(ADMISSION_POLICY)
        self._unfinished_bytes = 0
        self._moves = False  # whether this read ends a head, or holds a part of a body
        self._wants_upgrade = False  # whether the head at hand asks for another protocol
        self._refused = False  # whether what comes in belongs to a request that has its answer
        self.streamed = 0
        """Steps that a client has taken in a stream: it sent a part though its answer had begun, or took one."""

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
        self._moves = False
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._wants_upgrade:
                self._stay(data[upgrade.args[0] :])
                return
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
        if self._moves:
            self._unfinished_bytes = 0
            return
        self._unfinished_bytes += len(data)
        if self._unfinished_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.refuse(HeadTooLargeError(f"The head is larger than the limit of {MAX_HEAD_BYTES} bytes."))

    def _stay(self, rest: bytes) -> None:
        """Read a request that asks for another protocol once more, as if it did not: nobody has to grant the wish.

        httptools ends it with its head: its body would be lost, or read as requests of their own; behind a proxy, those
        of somebody else. Some clients (Java's) ask for HTTP/2 in this way all the time.
        """
        self._wants_upgrade = False
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        fields = b"".join([b"%b: %b\r\n" % field for field in _without_upgrade(self.headers)])
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self._parse(b"%b %b HTTP/%b\r\n%b\r\n%b" % (method, self.url, version, fields, rest))

    def on_headers_complete(self) -> None:
        """Refuse a request that there is no room for, unless it waits for the one before it; else begin with it."""
        self._moves = True
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            self._wants_upgrade = True
            return
        # A refusal leaves no line in an access log, so who wants one pays for it.
        if self._admission is not None and not self.access_log and self._is_idle():
            refusal = self._admission.refusal(self.parser.get_method(), self.url)
            if refusal is not None:
                self._refused = True
                self._write(refusal)
                return
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Keep a part of a body, unless its request was refused."""
        self._moves = True
        if self._refused:
            return
        if self.cycle.response_started:
            self.streamed += 1
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note the end of a request; after one that was refused the connection is ready for the next."""
        if self._wants_upgrade:
            return
        if not self._refused:
            super().on_message_complete()
            return
        self._refused = False
        is_draining = _CLOSE in self.server_state.default_headers
        if self.parser.should_keep_alive() and not is_draining and not self.transport.is_closing():
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
            if self._admission is not None:
                self._admission.let_wait(self.flow)
        else:
            self.transport.close()

    def resume_writing(self) -> None:
        """Go on with an answer, of which the client has taken what was written."""
        self.streamed += 1
        super().resume_writing()

    def waits_for_client(self) -> bool:
        """Return whether the next step is the client's: to send more of a request, or to take more of an answer."""
        if self.flow.write_paused or self.transport.is_closing():
            return True
        if self._is_idle():
            return self.timeout_keep_alive_task is None  # Connections between two requests have a timer.
        # Nobody can send what is not read, as it is not while there is enough to be answered.
        return self.cycle.more_body and not self.flow.read_paused

    def give_up(self) -> None:
        """End a connection whose client does not take its turn."""
        if self.flow.write_paused or self.transport.is_closing():
            self.transport.abort()
        elif self._refused or (not self._has_begun() and not self._unfinished_bytes):
            self.transport.close()  # Nothing is to be answered.
        else:
            self.refuse(RequestTimeoutError("The request did not come to its end in time. Send it faster, or shorter."))

    def refuse(self, error: ServerError) -> None:
        """Answer what is coming in with an error, unless the answer would be taken for that of another, and close.

        Whoever is still to be answered is, before.
        """
        if self._is_next_to_be_answered():
            self._write(to_response(error), _CLOSE)
            if self._admission is not None:
                self._admission.request_refused(error.status)
        elif not self._is_idle() and not self.cycle.more_body:
            self.cycle.keep_alive = False  # The last of the answers ends the connection.
            self.flow.pause_reading()
            return
        self.transport.close()

    def _write(self, response: Response, *headers: tuple[bytes, bytes]) -> None:
        fields = [*self.server_state.default_headers, *response.raw_headers, *headers]
        lines = b"".join([b"%b: %b\r\n" % field for field in fields])
        self.transport.write(b"%b%b\r\n%b" % (STATUS_LINE[response.status_code], lines, bytes(response.body)))

    def _has_begun(self) -> bool:
        """Whether any request has become one of the application's."""
        return cast(RequestResponseCycle | None, self.cycle) is not None

    def _is_idle(self) -> bool:
        """Whether the application has answered all that it was asked on this connection."""
        return not self._has_begun() or self.cycle.response_complete

    def _is_next_to_be_answered(self) -> bool:
        """Whether the client has its answers to all requests before the one that is coming in."""
        if self._refused:
            return False
        if self._is_idle():
            return True
        is_coming = self.cycle.more_body and self.scope is self.cycle.scope
        return is_coming and not self.cycle.response_started and not self.pipeline

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP."""
        self.refuse(MalformedHttpError(msg))


def _without_upgrade(headers: list[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    """The fields of a head, without what asks for another protocol."""
    for name, value in headers:
        if name == b"connection":
            options = [option.strip() for option in value.split(b",")]
            yield name, b", ".join(option for option in options if option.lower() not in _UPGRADE_FIELDS)
        elif name not in _UPGRADE_FIELDS:
            yield name, value
