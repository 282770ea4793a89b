"""ASGI middleware that records metrics of each request; it must cost far less time than a prediction."""

from __future__ import annotations

import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from astec.server.metrics.board import OTHER

Answered = Callable[[Scope, str, int, float], None]
"""Records a request that has ended, by its scope, route, status and seconds."""


class RequestMetrics:
    """Middleware that finds the route and the status of requests, and measures their time.

    Args:
        app: The application.
        answered: Records a request.
    """

    def __init__(self, app: ASGIApp, answered: Answered) -> None:
        self._app = app
        self._answered = answered

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
            route = getattr(scope.get("route"), "path", OTHER)
            self._answered(scope, route, status, time.perf_counter() - started_s)
