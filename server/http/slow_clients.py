"""Connections whose clients do not take their turn, found and ended without a timer for each request."""

from __future__ import annotations

from collections.abc import Iterable

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from astec.server.http.protocol import BoundedHttp

_Step = tuple[RequestResponseCycle | None, int]


class SlowClients:
    """Ends connections that were waiting for their client, for the same step, at `max_looks` looks in a row.

    A request is a step, and so is each part of a stream: that one may last, as long as it goes on.

    Looks are counted, not seconds: after a pause of this process nobody is late who only was not listened to.

    Args:
        max_looks: Looks after which a connection has had its time.
    """

    def __init__(self, max_looks: int) -> None:
        self._max_looks = max_looks
        self._looks: dict[BoundedHttp, tuple[_Step, int]] = {}

    def look(self, connections: Iterable[BoundedHttp]) -> None:
        """Look at all open connections."""
        waiting: dict[BoundedHttp, tuple[_Step, int]] = {}
        for connection in connections:
            if not connection.waits_for_client():
                continue
            step = connection.cycle, connection.streamed
            last, looks = self._looks.get(connection, (None, 0))
            looks = looks + 1 if step == last else 1
            if looks > self._max_looks:
                connection.give_up()
            waiting[connection] = step, looks
        self._looks = waiting
