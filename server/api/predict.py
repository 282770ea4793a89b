"""`POST /predict`: the one endpoint that carries the load, from bytes to bytes."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import orjson
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from astec.export.artifact.text.bags import Bag, Query
from astec.server.access.access_control import AccessControl
from astec.server.api.label_filter import to_selection
from astec.server.api.schema import Features, PredictRequest, queries_of
from astec.server.engine.batching.batcher import Answers, Caller
from astec.server.engine.rank_request import Output, RankRequest, RankResult
from astec.server.engine.service import Service
from astec.server.errors import (
    BodyTooLargeError,
    ClientLeftError,
    FieldError,
    InternalError,
    InvalidFieldError,
    RateLimitedError,
    UnavailableError,
    to_response,
)
from astec.server.metrics.board import Metrics
from astec.server.settings import Settings

logger = logging.getLogger(__name__)

_SERVER_TIMING = b"queue;dur=%.3f, featurize;dur=%.3f, encode;dur=%.3f, shortlist;dur=%.3f, score;dur=%.3f"


class PredictEndpoint:
    """An ASGI application for this endpoint alone.

    A prediction takes about as long as a web framework's routing, request and response objects do, so it does without.
    """

    def __init__(
        self, service: Service, settings: Settings, metrics: Metrics, access_control: AccessControl | None
    ) -> None:
        self._service = service
        self._metrics = metrics
        self._access_control = access_control
        self._label_metadata = service.artifact.label_metadata
        # Attributes of settings take longer to read than all that is compared with them.
        self._max_body_bytes = settings.max_body_bytes
        self._max_queries = settings.max_queries
        self._max_query_chars = settings.max_query_chars
        self._max_query_features = settings.max_query_features
        self._answer_head = b'{"model":%b,' % orjson.dumps(service.model_name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        await self.serve(scope, receive, send)

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> int:
        """Serve one request and return the status of the answer."""
        try:
            client = self.client_of(scope)
            content = await read_body(scope, receive, self._max_body_bytes)
            request = PredictRequest.model_validate_json(content)
            requests = self.admit(request, client, "both" if request.explain else "json")
            answers = await self._service.rank(requests, caller_of(receive))
            explanation = await self._explain(requests[0], answers.results[0]) if request.explain else b""
        except Exception as error:
            response = to_response(error)
            if response.status_code == InternalError.status:
                logger.exception("a prediction failed")
            await response(scope, receive, send)
            return response.status_code
        body = self.to_json(answers.results, explanation, single=request.query is not None)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"server-timing", server_timing(answers)),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        return 200

    def client_of(self, scope: Scope) -> str:
        """Return the name of the client that sent a request, empty where everybody may ask.

        Raises:
            UnauthorizedError: It shows no key that the server knows.
            UnavailableError: The model is loading, or the server is shutting down.
        """
        client = "" if self._access_control is None else self._access_control.client_of(scope)
        require_ready(self._service)
        return client

    async def describe(self, request: PredictRequest) -> None:
        """Declare the parameters of this endpoint, which FastAPI documents."""

    def admit(self, request: PredictRequest, client: str, output: Output = "json") -> list[RankRequest]:
        """Check a request, charge it to the client, and return what to ask the service.

        Raises:
            InvalidFieldError: The request cannot be answered as it is.
            RateLimitedError: The client has asked for as much as it may.
        """
        requests = self._to_rank_requests(request, output)
        if self._access_control is not None:
            self._charge(self._access_control, client, len(requests))
        return requests

    def _charge(self, access_control: AccessControl, client: str, queries: int) -> None:
        try:
            access_control.charge(client, queries)
        except RateLimitedError:
            self._metrics.queries_shed("rate_limited", queries)
            raise

    async def _explain(self, request: RankRequest, result: RankResult) -> bytes:
        explanation = await self._service.explain(request.query, result.labels.label_ids.tolist())
        return b',"explanation":' + explanation.model_dump_json().encode()

    def to_json(self, results: Sequence[RankResult], explanation: bytes = b"", *, single: bool) -> bytes:
        """Return the answer to a `query`, or to `queries`; an explanation is a member of it, behind a comma."""
        if single:
            return b'%b"predictions":%b%b}' % (self._answer_head, results[0].json, explanation)
        lists = [b'{"predictions":%b}' % result.json for result in results]
        return b'%b"results":[%b]}' % (self._answer_head, b",".join(lists))

    def _to_rank_requests(self, request: PredictRequest, output: Output) -> list[RankRequest]:
        """Check what depends on the settings and the model, and name every field that fails.

        Raises:
            InvalidFieldError: The request cannot be answered as it is.
        """
        try:
            queries = queries_of(request)
        except ValueError as error:
            raise InvalidFieldError([FieldError(field="body", message=str(error))]) from error
        if request.explain and request.query is None:
            message = 'Only one query is explained at a time; send it as "query"'
            raise InvalidFieldError([FieldError(field="explain", message=message)])
        if request.probabilities and self._service.calibrator is None:
            message = (
                "The model does not know how likely a label is right; leave the field out, or export the model again "
                "with astec-export, from a run with held-out texts"
            )
            raise InvalidFieldError([FieldError(field="probabilities", message=message)])
        if len(queries) > self._max_queries:
            raise too_many_queries("queries", len(queries), self._max_queries)
        selection = None
        if request.filter is not None or request.exclude is not None:
            selection = to_selection(self._label_metadata, request.filter, request.exclude)
        requests: list[RankRequest] = []
        errors: list[FieldError] = []
        for position, query in enumerate(queries):
            try:
                wanted = request.top_k, request.min_score, request.probabilities, selection, output
                requests.append(RankRequest(self._to_query(query), *wanted))
            except ValueError as error:
                field = "query" if request.query is not None else f"queries.{position}"
                errors.append(FieldError(field=field, message=str(error)))
        if errors:
            raise InvalidFieldError(errors)
        return requests

    def _to_query(self, query: str | Features) -> Query:
        if isinstance(query, str):
            _check_length(len(query), self._max_query_chars, "characters")
            converted: Query = query
        else:
            converted = self._to_bag(query)
        self._service.check(converted)
        return converted

    def _to_bag(self, query: Features) -> Bag:
        if query.ids is None:
            weights = np.array(query.vector, dtype=np.float64)
            _check_length(len(weights), self._max_query_features, "numbers")
            ids = np.arange(len(weights), dtype=np.int32)
        else:
            _check_length(len(query.ids), self._max_query_features, "ids")
            ids = np.array(query.ids, dtype=np.int32)
            weights = np.ones(len(ids)) if query.weights is None else np.array(query.weights, dtype=np.float64)
        with np.errstate(over="ignore"):  # what becomes infinite is refused by `check`
            return Bag(ids, weights.astype(np.float32))


def too_many_queries(field: str, queries: int, limit: int) -> InvalidFieldError:
    """Return the error of a request with more queries than there may be."""
    message = f"{queries} queries are more than the limit of {limit}; split the request"
    return InvalidFieldError([FieldError(field=field, message=message)])


def require_ready(service: Service) -> None:
    """Raise UnavailableError unless the service answers queries, as it does while it drains."""
    if service.state == "loading":
        raise UnavailableError("The model is loading.")
    if service.state == "stopping":
        raise UnavailableError("The server is shutting down.")


def caller_of(receive: Receive) -> Caller | None:
    """Return who waits for the answer to a request, or None where the server does not let its applications see.

    ASGI tells of a hang-up only who awaits `receive`, for which every request that waits would need a task. uvicorn's
    exchange, of which `receive` is a method, has a flag.
    """
    exchange: Caller | None = getattr(receive, "__self__", None)
    return exchange if hasattr(exchange, "disconnected") else None


async def read_body(scope: Scope, receive: Receive, max_bytes: int) -> bytes:
    """Return the body of a request.

    Raises:
        BodyTooLargeError: It has, or its header says that it will have, more than `max_bytes` bytes.
        ClientLeftError: The client hung up before its end.
    """
    body: bytes = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeftError("The client closed the connection before the end of its request.")
        body += message.get("body", b"")
        more: bool = message.get("more_body", False)
        # A body that came in one piece shows its size; the header's word is enough to refuse early, not to accept.
        announced_bytes = int(Headers(scope=scope).get("content-length", "0")) if more else 0
        if max(len(body), announced_bytes) > max_bytes:
            raise BodyTooLargeError(
                f"The body is larger than the limit of {max_bytes} bytes. Send fewer queries in one request."
            )
        if not more:
            return body


def server_timing(answers: Answers[RankResult]) -> bytes:
    """Return the `Server-Timing` header in milliseconds: the longest queueing, and each stage over all batches.

    Where all was in the cache there are no times to tell.
    """
    batches = list({id(result.stages): result.stages for result in answers.results if result.stages}.values())
    if not batches:
        return b"cache;desc=hit"
    stages_s = batches[0] if len(batches) == 1 else [sum(stage_s) for stage_s in zip(*batches, strict=True)]
    return _SERVER_TIMING % (answers.queue_s * 1e3, *[stage_s * 1e3 for stage_s in stages_s])


def _check_length(length: int, limit: int, unit: str) -> None:
    if length > limit:
        raise ValueError(f"The query has {length} {unit}; the limit is {limit}")
