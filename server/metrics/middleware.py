"""ASGI middleware that records metrics of each request; it must cost far less time than a prediction."""

from __future__ import annotations

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from astec.server.metrics.board import Metrics


class RequestMetrics:
    """Middleware that counts requests by route and status, and measures their time."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, and record it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_s = time.perf_counter()
        status = 500  # The status that the client gets if the application raises an error.

        async def noting_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting_send)
        finally:
            # The router stores the matched route in the scope. For an unknown path there is none, so that a client
            # cannot create a new time series by asking for one.
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.request_answered(route, status, time.perf_counter() - started_s)
