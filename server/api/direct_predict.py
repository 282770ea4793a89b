"""`POST /predict` without ASGI: the requests that the HTTP protocol has the endpoint answer itself."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from astec.server.api.predict import PredictEndpoint
from astec.server.errors import ServerError
from astec.server.http.direct_exchange import NOBODY, DirectExchange, Headers, Reply, Sender
from astec.server.http.request_ids import HEADER, kept_or_made, make_id
from astec.server.metrics.board import Metrics
from astec.server.tracing.tracer import Tracer

# A request with one of these goes to the ASGI application: its body has no length that is known before, has to be asked
# for, or has to be decoded.
_UNUSUAL = frozenset((b"transfer-encoding", b"expect", b"content-encoding"))
_LOOKED_AT = _UNUSUAL | {HEADER}


class DirectPredict:
    """The `DirectEndpoint` of the server. It only chooses requests; `PredictEndpoint` answers them.

    Args:
        predict: The endpoint.
        metrics: Where requests are counted.
        targets: The paths of the endpoint; requests are counted under the first.
        makes_ids: Whether a request whose client sent no id gets one.
        tracer: Begins the spans of requests; None: there are no traces.
    """

    def __init__(
        self,
        predict: PredictEndpoint,
        metrics: Metrics,
        targets: Sequence[str],
        makes_ids: bool,
        tracer: Tracer | None = None,
    ) -> None:
        self._predict = predict
        self._metrics = metrics
        self._route = targets[0]
        self._targets = tuple(target.encode() for target in targets)
        self._makes_ids = makes_ids
        self._tracer = tracer
        self._has_share_header = bool(predict.share_header)
        self.answer: Callable[[bytes, Sender, DirectExchange], Coroutine[Any, None, Reply]] = predict.answer
        self.failure = predict.refuse

    def sender_of(self, method: bytes, target: bytes, headers: Headers) -> Sender | None:
        """Return the sender of a usual request that may be answered; None: ASGI answers or refuses it."""
        if target not in self._targets or method != b"POST":
            return None
        length, request_id = None, b""
        for name, value in headers:
            if name == b"content-length":
                length = int(value)
            elif name in _LOOKED_AT:
                if name != HEADER:
                    return None
                request_id = kept_or_made(value)
        if length is None or length > self._predict.max_body_bytes:
            return None
        try:
            client = self._predict.client_of(headers)
        except ServerError:
            return None
        span = None if self._tracer is None else self._tracer.begin(method, target, headers)
        if client or request_id or self._makes_ids or self._has_share_header or span is not None:
            share_key = self._predict.share_key_of(headers)
            return Sender(client, request_id or (make_id() if self._makes_ids else b""), span, share_key)
        return NOBODY

    def answered(self, status: int, seconds: float, sender: Sender) -> None:
        """Record a request that has ended."""
        self._metrics.request_answered(self._route, status, seconds)
        if sender.span is not None:
            sender.span.end(self._route, status, seconds, sender.request_id)
