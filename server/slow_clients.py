"""Connections whose clients do not take their turn, found and ended without a timer for each request."""

from __future__ import annotations

from collections.abc import Iterable

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from server.http_protocol import BoundedHttp


class SlowClients:
    """Ends connections that were waiting for their client, in the same request, at `max_looks` looks in a row.

    Looks are counted, not seconds: after a pause of this process nobody is late who only was not listened to.

    Args:
        max_looks: Looks after which a connection has had its time.
    """

    def __init__(self, max_looks: int) -> None:
        self._max_looks = max_looks
        self._looks: dict[BoundedHttp, tuple[RequestResponseCycle | None, int]] = {}

    def look(self, connections: Iterable[BoundedHttp]) -> None:
        """Look at all open connections."""
        waiting: dict[BoundedHttp, tuple[RequestResponseCycle | None, int]] = {}
        for connection in connections:
            if not connection.waits_for_client():
                continue
            request, looks = self._looks.get(connection, (None, 0))
            looks = looks + 1 if request is connection.cycle else 1
            if looks > self._max_looks:
                connection.give_up()
            waiting[connection] = connection.cycle, looks
        self._looks = waiting
