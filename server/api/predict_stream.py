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

from astec.server.api.predict import PredictEndpoint, caller_of
from astec.server.api.schema import PredictRequest
from astec.server.engine.batching.batcher import Caller
from astec.server.engine.rank_request import RankRequest
from astec.server.engine.service import SHED_REASONS, Service
from astec.server.errors import (
    BodyTooLargeError,
    ClientLeftError,
    FieldError,
    InternalError,
    InvalidFieldError,
    MalformedJsonError,
    to_response,
    to_server_error,
)
from astec.server.settings import Settings

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/x-ndjson"
_HEADERS = [(b"content-type", MEDIA_TYPE.encode())]
# The most queries of a stream that are queued at a time: two batches, which other clients may have to wait for.
_BLOCK_QUERIES = 64


class _Line(NamedTuple):
    """A line that is not blank, or the error why it is not read; lines are numbered from 1."""

    number: int
    content: bytes | BodyTooLargeError


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
        service: Ranks the labels.
        settings: The server's settings.
    """

    def __init__(self, predict: PredictEndpoint, service: Service, settings: Settings) -> None:
        self._predict = predict
        self._service = service
        self._max_line_bytes = settings.max_body_bytes
        self._block_queries = min(_BLOCK_QUERIES, settings.queue_capacity)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one stream."""
        try:
            self._predict.client_of(scope["headers"])
        except Exception as error:
            await to_response(error)(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        try:
            async for lines in _read_lines(receive, self._max_line_bytes):
                for block in _blocks((self._parse(line, scope) for line in lines), self._block_queries):
                    body = await self._answer(block, caller_of(receive), scope)
                    await send({"type": "http.response.body", "body": body, "more_body": True})
                    await asyncio.sleep(0)  # Invalid lines await nothing; other clients must have their turn.
        except ClientLeftError:
            return
        await send({"type": "http.response.body", "body": b""})

    async def describe(self) -> None:
        """Declare the parameters of this endpoint, which FastAPI documents: none."""

    def _parse(self, line: _Line, scope: Scope) -> _Parsed:
        try:
            client = self._predict.client_of(
                scope["headers"]
            )  # The key may have been withdrawn since the stream began.
            if isinstance(line.content, BodyTooLargeError):
                raise line.content
            request = _to_request(line.content)
            if request.explain:
                message = "A stream explains nothing; ask /predict"
                raise InvalidFieldError([FieldError(field="explain", message=message)])
            requests = self._predict.admit(request, client)
        except Exception as error:
            return _Parsed(line.number, [], False, error)
        return _Parsed(line.number, requests, request.query is not None)

    async def _answer(self, block: Sequence[_Parsed], caller: Caller | None, scope: Scope) -> bytes:
        """Return the answers to a block of lines, one line each."""
        requests = [request for line in block for request in line.requests]
        try:
            results = (await self._service.rank(requests, caller)).results if requests else []
        except Exception as error:
            if len(block) == 1 or type(error) in SHED_REASONS:  # Overload concerns all lines of the block.
                return b"".join([_problem(line.number, line.error or error) for line in block])
            # Otherwise only the faulty line fails, as a request of its own would.
            return b"".join([await self._answer([line], caller, scope) for line in block])
        answers, begin = [], 0
        for line in block:
            if line.error is not None:
                answers.append(_problem(line.number, line.error))
                continue
            end = begin + len(line.requests)
            self._predict.log(scope, line.requests, results[begin:end], line.number)
            answers.append(self._predict.to_json(results[begin:end], single=line.single) + b"\n")
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


async def _read_lines(receive: Receive, max_bytes: int) -> AsyncIterator[list[_Line]]:
    """Yield the lines that each piece of the body completes; blank lines are counted, but left out.

    Raises:
        ClientLeftError: The client disconnected before the end of the body.
    """
    number, tail, skips, more = 1, b"", False, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeftError("The client closed the connection before the end of its stream.")
        more = message.get("more_body", False)
        pieces = (tail + message.get("body", b"")).split(b"\n")
        tail = pieces.pop() if more else b""
        lines = []
        for content in pieces:
            if skips:
                skips = False  # This is the rest of a line that was too long.
            elif len(content) > max_bytes:
                lines.append(_too_long(number, max_bytes))
            elif content.strip():
                lines.append(_Line(number, content))
            number += 1
        if not skips and len(tail) > max_bytes:
            lines.append(_too_long(number, max_bytes))
            skips = True
        if skips:
            tail = b""
        yield lines


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


def _problem(number: int, error: Exception) -> bytes:
    """Return a line with a problem document that has the number of the failed line."""
    server_error = to_server_error(error)
    if server_error.status == InternalError.status:
        logger.error("a prediction of a stream failed", exc_info=error)
    document = {"line": number, **server_error.problem().model_dump(exclude_none=True)}
    return orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)
