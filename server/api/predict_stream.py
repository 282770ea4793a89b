"""The endpoint `POST /predict/stream`: a line of labels for each line of queries, for as long as the client sends.

One block of lines is computed at a time. While the client does not read its answers, nothing more is read from it, so
that a stream takes the memory of a few blocks, however long it is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import NamedTuple

import orjson
from starlette.types import Receive, Scope, Send

from astec.server.api.content_coding import decoder_of
from astec.server.api.predict import PredictEndpoint, caller_of
from astec.server.api.request_body import BYTE_ORDER_MARK, body_pieces
from astec.server.api.schema import PredictRequest
from astec.server.engine.batching.batcher import Caller
from astec.server.engine.rank_request import RankRequest
from astec.server.engine.service import SHED_REASONS
from astec.server.errors import (
    ERROR_KEY,
    BodyTooLargeError,
    ClientLeftError,
    DamagedContentError,
    FieldError,
    InternalError,
    InvalidFieldError,
    MalformedJsonError,
    ServerError,
    to_response,
    to_server_error,
)
from astec.server.settings import Settings
from astec.server.tracing.request_span import SPAN_KEY, RequestSpan

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/x-ndjson"
_HEADERS = [(b"content-type", MEDIA_TYPE.encode())]
# The most queries of a stream that are queued at a time: two batches, which other clients may have to wait for.
_BLOCK_QUERIES = 64


class _Line(NamedTuple):
    """A line that is not blank, or the error why it is not read; lines are numbered from 1."""

    number: int
    content: bytes | ServerError


class _Parsed(NamedTuple):
    """The rank requests of a line, `single` if it has one `query`; or the error of the line."""

    number: int
    requests: list[RankRequest]
    single: bool
    error: Exception | None = None


class PredictStreamEndpoint:
    """The ASGI application of this endpoint.

    Args:
        predict: The endpoint `/predict`, which checks, charges and answers each line as the body of a request.
        settings: The server's settings.
    """

    def __init__(self, predict: PredictEndpoint, settings: Settings) -> None:
        self._predict = predict
        self._max_line_bytes = settings.max_body_bytes
        self._block_queries = min(_BLOCK_QUERIES, settings.queue_capacity)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one stream."""
        try:
            self._predict.client_of(scope["headers"])
            pieces = body_pieces(receive, decoder_of(scope["headers"]))
        except Exception as error:
            server_error = to_server_error(error)
            scope[ERROR_KEY] = server_error.slug
            await to_response(server_error)(scope, receive, send)
            return
        groups = _read_lines(pieces, self._max_line_bytes)
        try:
            # Reading asks a client for the body that waits for that (Expect: 100-continue); a response would come too
            # early. Other clients get the head of the response before they send a line.
            lines = await anext(groups) if any(name == b"expect" for name, _ in scope["headers"]) else []
            await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
            await self._send_answers(lines, scope, receive, send)
            async for lines in groups:
                await self._send_answers(lines, scope, receive, send)
        except ClientLeftError:
            return
        await send({"type": "http.response.body", "body": b""})

    async def _send_answers(self, lines: Sequence[_Line], scope: Scope, receive: Receive, send: Send) -> None:
        for block in _blocks((self._parse(line, scope) for line in lines), self._block_queries):
            body = await self._answer(block, caller_of(receive), scope)
            await send({"type": "http.response.body", "body": body, "more_body": True})
            await asyncio.sleep(0)  # Invalid lines await nothing; other clients must have their turn.

    async def describe(self) -> None:
        """Declare the parameters of this endpoint, which FastAPI documents: none."""

    def _parse(self, line: _Line, scope: Scope) -> _Parsed:
        try:
            # The key may have been withdrawn since the stream began.
            client = self._predict.client_of(scope["headers"])
            if isinstance(line.content, ServerError):
                raise line.content
            request = _to_request(line.content)
            if request.explain:
                message = "A stream explains nothing; ask /predict"
                raise InvalidFieldError([FieldError(field="explain", message=message)])
            requests = self._predict.admit(request, client, share_key=self._predict.share_key_of(scope["headers"]))
        except Exception as error:
            return _Parsed(line.number, [], False, error)
        return _Parsed(line.number, requests, request.query is not None)

    async def _answer(self, block: Sequence[_Parsed], caller: Caller | None, scope: Scope) -> bytes:
        """Return the answers to a block of lines, one line each."""
        requests = [request for line in block for request in line.requests]
        try:
            span: RequestSpan | None = scope.get(SPAN_KEY)
            results = (await self._predict.rank(requests, caller, span)).results if requests else []
        except Exception as error:
            if len(block) == 1 or type(error) in SHED_REASONS:  # Overload concerns all lines of the block.
                return b"".join([_problem(line.number, line.error or error, scope) for line in block])
            # Otherwise only the faulty line fails, as a request of its own would.
            return b"".join([await self._answer([line], caller, scope) for line in block])
        answers, begin = [], 0
        for line in block:
            if line.error is not None:
                answers.append(_problem(line.number, line.error, scope))
                continue
            end = begin + len(line.requests)
            self._predict.log(scope, line.requests, results[begin:end], line.number)
            answers.append(self._predict.to_json(line.requests, results[begin:end], single=line.single) + b"\n")
            begin = end
        return b"".join(answers)


def _to_request(content: bytes) -> PredictRequest:
    """Parse a line as the body of a request; a bare JSON string is a query.

    Raises:
        MalformedJsonError: The line is not JSON.
        ValidationError: The line is not a valid request.
    """
    if not content.lstrip().startswith(b'"'):
        return PredictRequest.model_validate_json(content)
    try:
        return PredictRequest(query=orjson.loads(content))
    except orjson.JSONDecodeError as error:
        raise MalformedJsonError(f"The line is not JSON in UTF-8: {error.msg}.") from None


async def _read_lines(pieces: AsyncIterator[bytes], max_bytes: int) -> AsyncIterator[list[_Line]]:
    """Yield the lines that each piece of the body completes; the last line needs no end.

    If the body cannot be decoded any further, the last line is the error.

    Raises:
        ClientLeftError: The client disconnected before the end of the body.
    """
    splitter = _LineSplitter(max_bytes)
    try:
        async for piece in pieces:
            yield splitter.split(piece)
    except DamagedContentError as error:
        yield [_Line(splitter.number, error)]
        return
    yield splitter.split(b"\n")


class _LineSplitter:
    """Splits a body that comes in pieces into lines. Blank lines are counted, but left out.

    Attributes:
        number: The number of the line that the next piece continues.
    """

    def __init__(self, max_bytes: int) -> None:
        self.number = 1
        self._max_bytes = max_bytes
        self._tail = b""
        self._skips = False  # whether the rest of a line is skipped that was too long

    def split(self, piece: bytes) -> list[_Line]:
        """Return the lines that the next piece of the body completes."""
        contents = (self._tail + piece).split(b"\n")
        self._tail = contents.pop()
        lines = []
        for content in contents:
            if self.number == 1:
                content = content.removeprefix(BYTE_ORDER_MARK)
            if self._skips:
                self._skips = False
            elif len(content) > self._max_bytes:
                lines.append(_too_long(self.number, self._max_bytes))
            elif content.strip():
                lines.append(_Line(self.number, content))
            self.number += 1
        if not self._skips and len(self._tail) > self._max_bytes:
            lines.append(_too_long(self.number, self._max_bytes))
            self._skips = True
        if self._skips:
            self._tail = b""
        return lines


def _too_long(number: int, max_bytes: int) -> _Line:
    return _Line(number, BodyTooLargeError(f"The line is longer than the limit of {max_bytes} bytes. Split it."))


def _blocks(lines: Iterable[_Parsed], size: int) -> Iterator[list[_Parsed]]:
    """Yield the lines in blocks of at most `size` queries; a line with more is a block of its own.

    An invalid line counts as one query.
    """
    block: list[_Parsed] = []
    queries = 0
    for line in lines:
        weight = max(1, len(line.requests))
        if block and queries + weight > size:
            yield block
            block, queries = [], 0
        block.append(line)
        queries += weight
    if block:
        yield block


def _problem(number: int, error: Exception, scope: Scope) -> bytes:
    """Return a line with a problem document that has the number of the failed line, and count it in the span."""
    server_error = to_server_error(error)
    span: RequestSpan | None = scope.get(SPAN_KEY)
    if span is not None:
        span.failed_lines += 1
    if server_error.status == InternalError.status:
        logger.error("a prediction of a stream failed", exc_info=error)
    document = {"line": number, **server_error.problem().model_dump(exclude_none=True)}
    return orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)
