"""An HTTP connection with the limits that uvicorn's lacks, and with errors as problem documents (RFC 9457)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Protocol

import httptools
from starlette.responses import Response

from astec.server.errors import (
    ExpectationFailedError,
    HeadTooLargeError,
    MalformedHttpError,
    RequestTimeoutError,
    ServerError,
    to_response,
)
from astec.server.http.cooldown import Readable
from astec.server.http.direct_exchange import DirectEndpoint, DirectExchange, Headers
from astec.server.http.known_heads import Head, KnownHeads
from astec.server.http.request_ids import echo_of
from astec.server.http.uvicorn_adapter import CONNECTION_CLOSE, UvicornConnection

MAX_HEAD_BYTES = 32_768
ADMISSION_POLICY = "admission_policy"
"""The key of an `AdmissionPolicy` in the state that an application yields when it starts up. It may yield none."""
DIRECT_ENDPOINT = "direct_endpoint"
"""The key of a `DirectEndpoint` in the same state. It may yield none."""

# A proxy may send the whole URL of a request, and leave its path out; the path is / then. uvicorn cannot read that.
_ABSOLUTE_WITHOUT_PATH = re.compile(rb"^(https?://[^/?#]*)(?=[?#]|$)", re.IGNORECASE)
_HEAD_TOO_LARGE = f"The head is larger than the limit of {MAX_HEAD_BYTES} bytes. Send shorter headers."
_UPGRADE_FIELDS = (b"upgrade", b"http2-settings")
# Of all connections of the process, as clients with the same library send the same heads.
_KNOWN_HEADS = KnownHeads()


class AdmissionPolicy(Protocol):
    """Decides about requests that are refused by their head, before the application is called."""

    def refusal(self, method: bytes, target: bytes, headers: Headers) -> Response | None:
        """Return the response that refuses a request, whatever its body, or None if the request is admitted."""

    def expect(self, method: bytes, target: bytes) -> None:
        """Note that an admitted request goes to the application, which will queue it later."""

    def has_room(self) -> bool:
        """Return whether a request that is limited would be admitted now."""

    def let_wait(self, connection: Readable) -> None:
        """Pause reading from a connection whose request was refused, for as long as the policy decides."""

    def request_refused(self, status: int) -> None:
        """Count a request that was refused before the application saw it."""


class BoundedHttp(UvicornConnection):
    """An HTTP connection whose client cannot make the server store or compute anything without limit.

    httptools joins the pieces of a header at each read, so that a header without an end would take memory without
    limit, and time that grows with the square of its length. The same is true of the trailers of a chunked body. The
    length of a body itself is limited by the application, which reads it.

    Starting a task, parsing a body and making a response object cost most of what an answer does. Therefore a request
    that the queue has no room for is refused as soon as its head is parsed: where two of three requests are refused,
    the cost of a refusal decides how much time is left for the third.

    A request that the `DirectEndpoint` takes is answered without a task and without ASGI (see `DirectExchange`). Where
    its head is that of an earlier one, it is not parsed again (see `KnownHeads`).
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  (uvicorn's)
        super().__init__(*args, **kwargs)
        self._admission: AdmissionPolicy | None = self.lifespan_state().get(ADMISSION_POLICY)
        self._direct: DirectEndpoint | None = self.lifespan_state().get(DIRECT_ENDPOINT)
        self._exchange: DirectExchange | None = None  # the request being received, if it is answered directly
        self._taken: Head | None = None  # the head of the request being received, if other requests may repeat it
        self._is_between_requests = True  # whether the parser has seen the end of all that it was given
        self._unfinished_bytes = 0
        self._made_progress = False  # whether the bytes being parsed end a head, or have a part of a body
        self._wants_upgrade = False  # whether the head being parsed asks for another protocol
        self._is_refused = False  # whether what is being received already has its response, a refusal
        self.stream_steps = 0
        """Number of times that the client sent a part of a body during the response, or took a part of a response."""

    def data_received(self, data: bytes) -> None:
        """Parse received bytes, in pieces that are not larger than the limit of a head."""
        if self._is_between_requests and self._begin_known(data):
            return
        if len(data) <= MAX_HEAD_BYTES:
            self._parse(data)
            return
        for begin in range(0, len(data), MAX_HEAD_BYTES):
            if self.transport.is_closing():
                return
            self._parse(data[begin : begin + MAX_HEAD_BYTES])

    def _begin_known(self, data: bytes) -> bool:
        """Begin to answer a request whose head is known, and return whether that was done."""
        known = _KNOWN_HEADS.split(data)
        if known is None or self._unfinished_bytes or self._is_refused or not self.is_idle():
            return False
        if self._direct is None or self.access_log or self.is_write_paused() or self.transport.is_closing():
            return False
        if self._admission is not None and not self._admission.has_room():
            return False  # It is refused by its head, which has to be parsed for that.
        head, body = known
        sender = self._direct.sender_of(head.method, head.target, head.headers)
        if sender is None:
            return False
        exchange = self.begin_exchange(self._direct, sender, keep_alive=True)
        exchange.add(body)
        exchange.begin()
        return True

    def _parse(self, data: bytes) -> None:
        self._made_progress = False
        was_between_requests = self._is_between_requests and not self._unfinished_bytes
        try:
            self.feed_parser(data)
            if self._taken is not None and was_between_requests and self._is_between_requests:
                _KNOWN_HEADS.keep(data, self._taken)
        except httptools.HttpParserUpgrade as upgrade:
            self._is_between_requests = False  # The parser is in another state until the end of the next request.
            if self._wants_upgrade:
                self._ignore_upgrade(data[upgrade.args[0] :])
                return
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
        if self._made_progress:
            self._unfinished_bytes = 0
            return
        self._unfinished_bytes += len(data)
        if self._unfinished_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.refuse(HeadTooLargeError(_HEAD_TOO_LARGE))

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Parse a request that asks for another protocol once more, without the headers that ask for it.

        A server may ignore such a request for an upgrade. httptools however ends the request at its head: the body
        would be lost, or parsed as further requests, which behind a proxy are taken for requests of another client.
        Some clients (Java's) ask for HTTP/2 in this way in every request.
        """
        self._wants_upgrade = False
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        fields = b"".join([b"%b: %b\r\n" % field for field in _without_upgrade(self.headers)])
        self.reset_parser()
        self._parse(b"%b %b HTTP/%b\r\n%b\r\n%b" % (method, self.url, version, fields, rest))

    def on_message_begin(self) -> None:
        """Note that a request has begun."""
        self._is_between_requests = False
        self._taken = None
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Refuse a request that there is no room for, or take it for a direct answer, else give it to the application.

        A request that arrives while another one of this connection is unanswered always goes to the application.
        """
        self._made_progress = True
        if self._is_refused:
            return  # The refusal of an earlier request closes the connection.
        # A head in one piece keeps the limit. The last piece of another has a part of the body, which does not count.
        if self._unfinished_bytes and self._head_bytes() > MAX_HEAD_BYTES:
            self._refuse_by_head(HeadTooLargeError(_HEAD_TOO_LARGE))
            return
        method = self.parser.get_method()
        if self.parser.should_upgrade() and method != b"CONNECT":
            self._wants_upgrade = True
            return
        # Only uvicorn's request cycle writes the access log, so with one every request goes to the application.
        if not self.access_log and self.is_idle():
            if self._is_refused_by_head(method) or self._is_taken(method):
                return
            if self._admission is not None:
                self._admission.expect(method, self.url)
        if not self.url.startswith(b"/"):
            self.url = _ABSOLUTE_WITHOUT_PATH.sub(rb"\1/", self.url, count=1)
        if not self._is_expectation_met():
            return
        super().on_headers_complete()
        self.headers = []  # For the trailers of a chunked body, which uvicorn would add to the headers of the request.
        if self.expect_100_continue:
            self.ask_for_body_or_close()

    def _head_bytes(self) -> int:
        """Return the least bytes that the head that was just parsed has."""
        return len(self.url) + sum(len(name) + len(value) + len(": \r\n") for name, value in self.headers)

    def _is_expectation_met(self) -> bool:
        """Note whether the client waits to be asked for the body; refuse a request that expects anything else."""
        values = [value for name, value in self.headers if name == b"expect"]
        if not values or self.parser.get_http_version() == "1.0":  # Of HTTP/1.0 it has to be ignored.
            self.expect_100_continue = False
            return True
        expected = {member.strip().lower() for member in b",".join(values).split(b",")} - {b""}
        self.expect_100_continue = bool(expected)
        if expected <= {b"100-continue"}:
            return True
        self._refuse_by_head(ExpectationFailedError("The server meets no expectation but 100-continue. Leave it out."))
        return False

    def _refuse_by_head(self, error: ServerError) -> None:
        """Refuse the request whose head was just parsed, drop its body, and close the connection."""
        self.refuse(error)
        self._is_refused = True

    def _is_refused_by_head(self, method: bytes) -> bool:
        """Refuse the request if there is no room for it, and return whether that was done."""
        refusal = None if self._admission is None else self._admission.refusal(method, self.url, self.headers)
        if refusal is None:
            return False
        self._is_refused = True
        echo = echo_of(self.headers)
        if self.expect_100_continue:  # The client need not send the body, which nobody has asked for.
            self.write_response(refusal, CONNECTION_CLOSE, *echo)
            self.transport.close()
        else:
            self.write_response(refusal, *echo)
        return True

    def _is_taken(self, method: bytes) -> bool:
        """Take the request for a direct answer if it can have one, and return whether that was done.

        To a client that does not take its responses only the application writes, because it can wait.
        """
        if self._direct is None or self.is_write_paused() or self.parser.get_http_version() != "1.1":
            return False
        sender = self._direct.sender_of(method, self.url, self.headers)
        if sender is None:
            return False
        keep_alive = self.parser.should_keep_alive()
        self._exchange = self.begin_exchange(self._direct, sender, keep_alive)
        # Heads with an id of the request are all different.
        if keep_alive and not sender.request_id and sender.span is None:
            self._taken = Head(method, self.url, self.headers, _body_bytes(self.headers))
        return True

    def on_body(self, body: bytes) -> None:
        """Store a part of a body, unless its request was refused."""
        self._made_progress = True
        if self._exchange is not None:
            self._exchange.add(body)
            return
        if self._is_refused:
            return
        if self.has_response_started():
            self.stream_steps += 1
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Handle the end of a request; after a refused request, wait for the next one or close the connection."""
        self._is_between_requests = True
        if self._exchange is not None:
            exchange, self._exchange = self._exchange, None
            exchange.begin()
            return
        if self._wants_upgrade:
            return
        if not self._is_refused:
            if self.expect_100_continue:
                self.note_whole_body()
            super().on_message_complete()
            return
        if self.transport.is_closing():
            return  # What follows on the connection is dropped like the rest of the refused request.
        self._is_refused = False
        if not self.is_idle():
            return  # The response to the request before it ends the connection.
        if self.parser.should_keep_alive() and not self.is_draining():
            self.start_keep_alive_timer()
            if self._admission is not None:
                self._admission.let_wait(self.flow)
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request whose body was being received, or whose answer is awaited, that its client has left."""
        super().connection_lost(exc)
        if self._exchange is not None:
            exchange, self._exchange = self._exchange, None
            exchange.abandon()

    def resume_writing(self) -> None:
        """Continue to write a response, after the client has taken what was written before."""
        self.stream_steps += 1
        super().resume_writing()

    def waits_for_client(self) -> bool:
        """Return whether the client has to act next: to send more of a request, or to take more of a response."""
        if self.is_write_paused() or self.transport.is_closing():
            return True
        if self.is_idle():
            return not self.has_keep_alive_timer()  # Connections between two requests have a timer of their own.
        # Reading is paused while enough of the body waits for the application; then the client cannot send.
        return self.is_awaiting_body() and not self.is_read_paused()

    def client_step(self) -> tuple[object | None, int]:
        """Return a value that changes whenever the client does what the server waits for."""
        return self.current_request(), self.stream_steps

    def give_up(self) -> None:
        """End a connection whose client is too slow, with a response where one is possible."""
        if self.is_write_paused() or self.transport.is_closing():
            self.transport.abort()
        elif self._is_refused or (self.current_request() is None and not self._unfinished_bytes):
            self.transport.close()  # There is no request that needs a response.
        else:
            self.refuse(RequestTimeoutError("The request did not come to its end in time. Send it faster, or shorter."))

    def refuse(self, error: ServerError) -> None:
        """Send an error as the response to the request being received, and close the connection.

        Nothing is sent if the client would take the error for the response to an earlier request. If responses to
        earlier requests are pending, they are sent before the connection is closed.
        """
        if self._is_next_to_be_answered():
            self.write_response(to_response(error), CONNECTION_CLOSE)
            if self._admission is not None:
                self._admission.request_refused(error.status)
        elif not self.is_idle() and not self.is_awaiting_body():
            self.stop_reading_and_close_after_response()
            return
        self.transport.close()

    def _is_next_to_be_answered(self) -> bool:
        """Return whether the client has the responses to all requests before the one that is being received."""
        if self._is_refused:
            return False
        if self.is_idle():
            return True
        return self.is_receiving_current_request() and not self.has_response_started()

    def send_400_response(self, msg: str) -> None:
        """Refuse bytes that are not HTTP."""
        self.refuse(MalformedHttpError(msg))


def _body_bytes(headers: list[tuple[bytes, bytes]]) -> int:
    """Return the length of the body of a request that says it; the parser refuses one that says it twice."""
    return next((int(value) for name, value in headers if name == b"content-length"), 0)


def _without_upgrade(headers: list[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    """Yield the headers of a request without those that ask for another protocol."""
    for name, value in headers:
        if name == b"connection":
            options = [option.strip() for option in value.split(b",")]
            yield name, b", ".join(option for option in options if option.lower() not in _UPGRADE_FIELDS)
        elif name not in _UPGRADE_FIELDS:
            yield name, value
