"""`POST /predict` without ASGI: the requests that the HTTP protocol has the endpoint answer itself."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

from astec.server.api.predict import PredictEndpoint
from astec.server.engine.batching.batcher import Answers
from astec.server.engine.rank_request import RankRequest, RankResult
from astec.server.engine.upstream.ranking_service import PlainQueue
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

    def begin(self, content: bytes, sender: Sender, exchange: DirectExchange) -> Coroutine[Any, None, Reply] | None:
        """Queue a plain request; return the coroutine that answers any other one."""
        predict = self._predict
        request = predict.read_plain(content, sender.share_key)
        queue = None if request is None else predict.plain_queue_of(request)
        if request is None or queue is None:
            return predict.answer(content, sender, exchange)
        requests = [request]
        try:
            predict.charge(sender.client, requests)
            if sender.span is not None:
                sender.span.submitted(1)
            waiting = _WaitingClient(predict, queue, requests, sender, exchange)
            queue.enqueue(requests, exchange, waiting)
        except Exception as error:
            queue.not_ranked(requests, exchange, error)
            exchange.end(predict.refuse(error, sender))
        return None

    def answered(self, status: int, seconds: float, sender: Sender) -> None:
        """Record a request that has ended."""
        self._metrics.request_answered(self._route, status, seconds)
        if sender.span is not None:
            sender.span.end(self._route, status, seconds, sender.request_id)


class _WaitingClient:
    """A client that waits for the answer to a plain request: a future that needs no coroutine and no callback.

    Args:
        predict: Makes the reply.
        queue: Where the request is queued.
        requests: The request alone.
        sender: The client.
        exchange: Ends with the reply.
    """

    __slots__ = ("_exchange", "_predict", "_queue", "_requests", "_sender")

    def __init__(
        self,
        predict: PredictEndpoint,
        queue: PlainQueue,
        requests: list[RankRequest],
        sender: Sender,
        exchange: DirectExchange,
    ) -> None:
        self._predict, self._queue, self._requests, self._sender = predict, queue, requests, sender
        self._exchange: DirectExchange | None = exchange
        exchange.wait_for(self)

    def done(self) -> bool:
        """Return whether the client has its reply."""
        return self._exchange is None

    def set_result(self, answers: Answers[RankResult]) -> None:
        """Reply with the answer."""
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            return
        try:
            if self._sender.span is not None:
                self._sender.span.ranked(0, answers)  # the only ranking of a plain request
            self._queue.ranked(self._requests, answers)
            reply = self._predict.reply(self._requests, answers, self._sender, single=True)
        except Exception as error:  # It must not be raised among the other requests of the batch.
            reply = self._predict.refuse(error, self._sender)
        exchange.end(reply)

    def set_exception(self, error: BaseException) -> None:
        """Reply with an error."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            self._queue.not_ranked(self._requests, exchange, error)
            exchange.end(self._predict.refuse(error, self._sender))

    def exception(self) -> None:
        """Return nothing: the client has been told the error."""

    def cancel(self, msg: str | None = None) -> bool:
        """Reply soon that the server is shutting down."""
        if self._exchange is None:
            return False
        asyncio.get_running_loop().call_soon(self.set_exception, asyncio.CancelledError(msg))
        return True
