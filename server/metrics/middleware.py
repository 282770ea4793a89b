"""Pure ASGI middleware: what wraps every request must cost less than a prediction."""

from __future__ import annotations

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from astec.server.metrics.board import Metrics


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
