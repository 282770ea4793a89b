"""Admission control: requests that the queue has no room for are refused by their head, before they cost anything."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from starlette.responses import Response

from astec.server.engine.batching.batcher import QueueFullError
from astec.server.engine.upstream.ranking_service import RankingService
from astec.server.errors import OverloadedError, to_response
from astec.server.http.cooldown import Cooldown, Readable
from astec.server.http.direct_exchange import Headers
from astec.server.http.request_ids import sent_id
from astec.server.metrics.board import OTHER, Metrics
from astec.server.tracing.tracer import Tracer

# Takes a tenth of the time of a CPU.
_REFUSALS_PER_S = 5_000
_MAX_WAIT_S = 1.0  # The refusal tells the client to try again after this time.


class AdmissionControl:
    """Admits requests while the queue has room for them; the `AdmissionPolicy` of the server.

    Requests that the application was given but has not queued yet are counted too: many heads are read in one turn of
    the event loop before the first of their requests is queued, and all of them would find the same free places.

    Args:
        service: The service whose queue limits the requests.
        metrics: Where refusals are counted.
        targets: The paths whose requests are limited, and counted under the first; none, if no requests are limited.
        tracer: Begins the spans of refused requests; None: there are no traces.
    """

    def __init__(
        self, service: RankingService, metrics: Metrics, targets: Sequence[str], tracer: Tracer | None = None
    ) -> None:
        self._service = service
        self._metrics = metrics
        self._tracer = tracer
        self._targets = tuple(target.encode() for target in targets)
        self._route = targets[0] if targets else OTHER
        self._coming = 0
        self._cooldown = Cooldown(_REFUSALS_PER_S, _MAX_WAIT_S)
        self._queue_full = to_response(QueueFullError("All places in the queue are taken."))

    def refusal(self, method: bytes, target: bytes, headers: Headers) -> Response | None:
        """Return the response to a request that the queue has no room for, whatever its body; None: it is admitted."""
        if target not in self._targets or method != b"POST":
            return None
        if self.has_room():
            return None
        self._metrics.queries_shed("queue_full", 1)
        self._metrics.request_refused(self._route, OverloadedError.status)
        if self._tracer is not None and (span := self._tracer.begin(method, target, headers)) is not None:
            span.error = OverloadedError.slug
            span.end(self._route, OverloadedError.status, 0.0, sent_id(headers))
        return self._queue_full

    def has_room(self) -> bool:
        """Return whether the queue has room for one more request."""
        return self._service.has_room(self._coming + 1)

    def expect(self, method: bytes, target: bytes) -> None:
        """Count an admitted request that the application will queue in the next turn of the event loop."""
        if target not in self._targets or method != b"POST":
            return
        if self._coming == 0:
            # Runs after the last head of this turn was read, and before their requests go on.
            asyncio.get_running_loop().call_soon(self._reset_coming)
        self._coming += 1

    def let_wait(self, connection: Readable) -> None:
        """Pause a connection whose request was refused, if many others were refused just before."""
        self._cooldown.note_refusal(connection)

    def request_refused(self, status: int) -> None:
        """Record the refusal of a request that never reached the application."""
        self._metrics.request_refused(OTHER, status)

    def _reset_coming(self) -> None:
        self._coming = 0
