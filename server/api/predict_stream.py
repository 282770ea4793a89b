"""`POST /predict/stream`: lines of queries in, lines of labels out, for as long as the client sends.

A block of lines is computed at a time. While its answers wait for a client that does not read, nothing more is read
from it, so that a stream takes the memory of a few blocks however long it is.
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
# More lines wait for the answers to these. Two batches, behind which other clients' queries may have to wait.
_BLOCK_QUERIES = 64


class _Line(NamedTuple):
    """A line that is no blank one, and its number in the stream, counted from 1; or why it is not read."""

    number: int
    content: bytes | BodyTooLargeError


class _Parsed(NamedTuple):
    """What a line asks, and whether for one `query`; or what is wrong with it."""

    number: int
    requests: list[RankRequest]
    single: bool
    error: Exception | None = None


class PredictStreamEndpoint:
    """An ASGI application for this endpoint alone.

    Args:
        predict: What reads, checks, charges and answers a line, which is the body of a request to it.
        service: What ranks.
        settings: The server's.
    """

    def __init__(self, predict: PredictEndpoint, service: Service, settings: Settings) -> None:
        self._predict = predict
        self._service = service
        self._max_line_bytes = settings.max_body_bytes
        self._block_queries = min(_BLOCK_QUERIES, settings.queue_capacity)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one stream."""
        try:
            self._predict.client_of(scope)
        except Exception as error:
            await to_response(error)(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        try:
            async for lines in _read_lines(receive, self._max_line_bytes):
                for block in _blocks((self._parse(line, scope) for line in lines), self._block_queries):
                    body = await self._answer(block, caller_of(receive))
                    await send({"type": "http.response.body", "body": body, "more_body": True})
                    await asyncio.sleep(0)  # Lines that all fail wait for nothing, and others want their turn.
        except ClientLeftError:
            return
        await send({"type": "http.response.body", "body": b""})

    async def describe(self) -> None:
        """What FastAPI reads the documentation of this endpoint from: it has no parameters."""

    def _parse(self, line: _Line, scope: Scope) -> _Parsed:
        try:
            client = self._predict.client_of(scope)  # A key may have been withdrawn since the stream began.
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

    async def _answer(self, block: Sequence[_Parsed], caller: Caller | None) -> bytes:
        """The answers to a block of lines, a line each."""
        requests = [request for line in block for request in line.requests]
        try:
            results = (await self._service.rank(requests, caller)).results if requests else []
        except Exception as error:
            if len(block) == 1 or type(error) in SHED_REASONS:  # Too much load is the same for all of them.
                return b"".join([_problem(line.number, line.error or error) for line in block])
            # What the model cannot answer fails alone, as it would as a request.
            return b"".join([await self._answer([line], caller) for line in block])
        answers, begin = [], 0
        for line in block:
            if line.error is not None:
                answers.append(_problem(line.number, line.error))
                continue
            end = begin + len(line.requests)
            answers.append(self._predict.to_json(results[begin:end], single=line.single) + b"\n")
            begin = end
        return b"".join(answers)


def _to_request(content: bytes) -> PredictRequest:
    """A line as the body of a request; a bare JSON string is a query.

    Raises:
        MalformedJsonError: It is no JSON.
        ValidationError: It is no request.
    """
    if not content.lstrip().startswith(b'"'):
        return PredictRequest.model_validate_json(content)
    try:
        return PredictRequest(query=orjson.loads(content))
    except orjson.JSONDecodeError as error:
        raise MalformedJsonError(f"The line is not JSON in UTF-8: {error.msg}.") from None


async def _read_lines(receive: Receive, max_bytes: int) -> AsyncIterator[list[_Line]]:
    """The lines that each piece of the body completes; blank ones only count.

    Raises:
        ClientLeftError: The client hung up before the end of the body.
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
                skips = False  # The rest of a line that was too long.
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
    """The lines in runs of at most `size` queries, or single ones with more; one that fails counts as a query."""
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
    """A line with a problem document, and the number of the line that it is about."""
    server_error = to_server_error(error)
    if server_error.status == InternalError.status:
        logger.error("a prediction of a stream failed", exc_info=error)
    document = {"line": number, **server_error.problem().model_dump(exclude_none=True)}
    return orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)
