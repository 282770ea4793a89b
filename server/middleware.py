"""Pure ASGI middleware: what wraps every request must cost less than a prediction."""

from __future__ import annotations

import time

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.errors import BodyTooLargeError
from server.metrics import Metrics


class BodyLimit:
    """Raise BodyTooLargeError in whoever reads more than `max_bytes` of a body, by header or by count."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        received = 0

        async def counted_receive() -> Message:
            nonlocal received
            if received == 0:
                # The client's own word is enough to refuse early, but not to accept.
                self._check(int(Headers(scope=scope).get("content-length", "0")))
            message = await receive()
            received += len(message.get("body", b""))
            self._check(received)
            return message

        await self._app(scope, counted_receive, send)

    def _check(self, size_bytes: int) -> None:
        if size_bytes > self._max_bytes:
            raise BodyTooLargeError(
                f"The body is larger than the limit of {self._max_bytes} bytes. Send fewer queries in one request."
            )


class RequestMetrics:
    """Counts and times requests by route and status."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_s = time.perf_counter()
        status = 500  # What the client gets if the application raises.

        async def noting_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting_send)
        finally:
            # The router notes the route it matched. An unknown path has none, so it cannot make a new time series.
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.request_answered(route, status, time.perf_counter() - started_s)
