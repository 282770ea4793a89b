"""Who is let in while the queue is full: decided by the head of a request, before it costs anything."""

from __future__ import annotations

import asyncio

from starlette.responses import Response

from astec.server.engine.batching.batcher import QueueFullError
from astec.server.engine.service import Service
from astec.server.errors import OverloadedError, to_response
from astec.server.http.cooldown import Cooldown, Readable
from astec.server.metrics.board import OTHER, Metrics

# A tenth of a CPU's time.
_REFUSALS_PER_S = 5_000
_MAX_WAIT_S = 1.0  # after which a client was told to try again


class AdmissionControl:
    """The server's `AdmissionPolicy`: counts who was let in and is on the way to the queue.

    A head is read in one turn of the event loop and its request queued in the next part of it, when many more heads
    have been read. All of them would find the same free places.

    Args:
        service: Whose queue it is.
        metrics: Where refusals are counted.
        target: The path of what is queued; None where all shall be let in.
    """

    def __init__(self, service: Service, metrics: Metrics, target: str | None) -> None:
        self._service = service
        self._metrics = metrics
        self._target = None if target is None else target.encode()
        self._route = target or OTHER
        self._coming = 0
        self._cooldown = Cooldown(_REFUSALS_PER_S, _MAX_WAIT_S)
        self._queue_full = to_response(QueueFullError("All places in the queue are taken."))

    def refusal(self, method: bytes, target: bytes) -> Response | None:
        """Return the answer to a request that the queue has no place for, whatever its body, or None."""
        if target != self._target or method != b"POST":
            return None
        if self._service.has_room(self._coming + 1):
            if self._coming == 0:
                # Before the requests of this turn go on, and after the last of their heads was read.
                asyncio.get_running_loop().call_soon(self._see_them_queue)
            self._coming += 1
            return None
        self._metrics.queries_shed("queue_full", 1)
        self._metrics.request_refused(self._route, OverloadedError.status)
        return self._queue_full

    def let_wait(self, connection: Readable) -> None:
        """Have a connection whose request was refused wait, if others were refused just before."""
        self._cooldown.note_refusal(connection)

    def request_refused(self, status: int) -> None:
        """Record what was refused before it was a request."""
        self._metrics.request_refused(OTHER, status)

    def _see_them_queue(self) -> None:
        self._coming = 0
