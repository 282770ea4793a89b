"""Ends connections whose clients are too slow, without a timer for each request."""

from __future__ import annotations

from collections.abc import Iterable

from astec.server.http.protocol import BoundedHttp

_Step = tuple[object | None, int]


class SlowClients:
    """Ends connections that have waited for the same step of their client at more than `max_checks` checks in a row.

    A request is one step, and so is each part of a streamed body or response: a stream may last, as long as it moves.

    Checks are counted instead of seconds: if this process was suspended, the clients are not late, because the server
    did not read what they sent.

    Args:
        max_checks: Number of checks for which a connection may wait for one step.
    """

    def __init__(self, max_checks: int) -> None:
        self._max_checks = max_checks
        self._waiting: dict[BoundedHttp, tuple[_Step, int]] = {}

    def check(self, connections: Iterable[BoundedHttp]) -> None:
        """Check all open connections once."""
        waiting: dict[BoundedHttp, tuple[_Step, int]] = {}
        for connection in connections:
            if not connection.waits_for_client():
                continue
            step = connection.client_step()
            last_step, checks = self._waiting.get(connection, (None, 0))
            checks = checks + 1 if step == last_step else 1
            if checks > self._max_checks:
                connection.give_up()
            waiting[connection] = step, checks
        self._waiting = waiting
