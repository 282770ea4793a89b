"""Reading the body of a request of the ASGI application: decoded, within its limit, or as it arrives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

from starlette import datastructures
from starlette.types import Receive, Scope

from astec.server.api.content_coding import Decoder, decoder_of
from astec.server.errors import BodyTooLargeError, ClientLeftError
from astec.server.http.direct_exchange import LEFT_EARLY

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""Some programs write it before JSON in UTF-8; RFC 8259 allows to ignore it."""


async def read_body(scope: Scope, receive: Receive, max_bytes: int) -> bytes:
    """Return the body of a request, decoded if it is compressed.

    A body that its header announces as too large is refused before it is asked for: a client that waits for that
    (`Expect: 100-continue`) would send it for nothing.

    Raises:
        BodyTooLargeError: The body is larger than `max_bytes`, as it was sent or decoded, or its header announces more.
        ClientLeftError: The client disconnected before the end of the body.
        DamagedContentError: The body is not what its content coding says.
        UnsupportedCodingError: The body has a coding that is not decoded.
    """
    decoder = decoder_of(scope["headers"])
    # What counts is the size of the body itself; the header only allows to refuse early.
    _check_size(int(datastructures.Headers(scope=scope).get("content-length", "0")), max_bytes)
    pieces: list[bytes] = []
    size = sent = 0
    more = True
    while more:
        content, more = await _receive_part(receive)
        sent += len(content)
        _check_size(sent, max_bytes)
        for piece in _decoded(content, decoder):
            size += len(piece)
            _check_size(size, max_bytes)
            pieces.append(piece)
    if decoder is not None:
        decoder.finish()
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def body_pieces(receive: Receive, decoder: Decoder | None) -> AsyncIterator[bytes]:
    """Yield the pieces of a body as they arrive, decoded.

    Raises:
        ClientLeftError: The client disconnected before the end of the body.
        DamagedContentError: The body is not what its content coding says.
    """
    more = True
    while more:
        content, more = await _receive_part(receive)
        for piece in _decoded(content, decoder):
            yield piece
            if decoder is not None:
                await asyncio.sleep(0)  # A few bytes may expand to many pieces; other clients must have their turn.
    if decoder is not None:
        decoder.finish()


async def _receive_part(receive: Receive) -> tuple[bytes, bool]:
    """Return the next part of a body, and whether there are more."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientLeftError(LEFT_EARLY)
    return message.get("body", b""), message.get("more_body", False)


def _decoded(content: bytes, decoder: Decoder | None) -> Iterable[bytes]:
    return (content,) if decoder is None else decoder.decode(content)


def _check_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise BodyTooLargeError(
            f"The body is larger than the limit of {max_bytes} bytes. Send fewer queries in one request."
        )
