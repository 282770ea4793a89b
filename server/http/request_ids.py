"""Request ids: the header `X-Request-Id` in requests and responses."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from starlette.types import Message, Scope, Send

HEADER = b"x-request-id"
MAX_CHARS = 128
SCOPE_KEY = "astec.request_id"
"""The key of the id in the ASGI scope of a request that has one."""

_is_valid = re.compile(rb"[A-Za-z0-9._~:/+=@-]{1,%d}" % MAX_CHARS).fullmatch
# 128 bits, which nobody can guess: who knows the id of another client's request could report clicks for it.
_RANDOM_BYTES = 16


def make_id() -> bytes:
    """Return a new id."""
    return os.urandom(_RANDOM_BYTES).hex().encode()


def kept_or_made(sent: bytes) -> bytes:
    """Return the id that a client sent; a new one if it is longer than the limit or has other characters."""
    return sent if _is_valid(sent) else make_id()


def sent_id(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the id of a request whose client sent one, see `kept_or_made`; empty if it sent none."""
    found = b""
    for name, value in headers:
        if name == HEADER:
            found = kept_or_made(value)
    return found


def echo_of(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the response headers that repeat the id of a request; none if its client sent none."""
    request_id = sent_id(headers)
    return [(HEADER, request_id)] if request_id else []


def identify(scope: Scope, send: Send, *, always: bool) -> Send:
    """Note the id of a request in its ASGI scope, and return a `send` that adds it to the response.

    Args:
        scope: The scope of the request.
        send: Sends the response.
        always: Whether a request whose client sent no id gets one.
    """
    request_id = sent_id(scope["headers"]) or (make_id() if always else b"")
    if not request_id:
        return send
    scope[SCOPE_KEY] = request_id

    async def send_with_id(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), (HEADER, request_id)]
        await send(message)

    return send_with_id
