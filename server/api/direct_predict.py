"""`POST /predict` without ASGI: the requests that the HTTP protocol has the endpoint answer itself."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from astec.server.api.predict import PredictEndpoint
from astec.server.errors import ServerError
from astec.server.http.direct_exchange import DirectExchange, Headers, Reply
from astec.server.metrics.board import Metrics

# A request with one of these goes to the ASGI application: its body has no length that is known before, or has to be
# asked for.
_UNUSUAL = frozenset((b"transfer-encoding", b"expect"))


class DirectPredict:
    """The `DirectEndpoint` of the server. It only chooses requests; `PredictEndpoint` answers them.

    Args:
        predict: The endpoint.
        metrics: Where requests are counted.
        targets: The paths of the endpoint; requests are counted under the first.
    """

    def __init__(self, predict: PredictEndpoint, metrics: Metrics, targets: Sequence[str]) -> None:
        self._predict = predict
        self._metrics = metrics
        self._route = targets[0]
        self._targets = tuple(target.encode() for target in targets)
        self.answer: Callable[[bytes, str, DirectExchange], Coroutine[Any, None, Reply]] = predict.answer
        self.failure = predict.refuse

    def client_of(self, method: bytes, target: bytes, headers: Headers) -> str | None:
        """Return the name of the client of a usual request that may be answered; None: ASGI answers or refuses it."""
        if target not in self._targets or method != b"POST":
            return None
        length = None
        for name, value in headers:
            if name == b"content-length":
                length = int(value)
            elif name in _UNUSUAL:
                return None
        if length is None or length > self._predict.max_body_bytes:
            return None
        try:
            return self._predict.client_of(headers)
        except ServerError:
            return None

    def answered(self, status: int, seconds: float) -> None:
        """Record a request that has ended."""
        self._metrics.request_answered(self._route, status, seconds)
