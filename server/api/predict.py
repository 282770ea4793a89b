"""The endpoint `POST /predict`, which takes nearly all requests."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import orjson
from starlette.types import Receive, Scope, Send

from astec.export.artifact.labels.metadata import Selection
from astec.export.artifact.text.bags import Bag, Query
from astec.server.access.access_control import AccessControl, Headers
from astec.server.answer_log.answer_log import AnswerLog
from astec.server.api.candidates import CandidateAnswers, candidate_output, require_shard
from astec.server.api.label_filter import to_selection
from astec.server.api.plain_body import read_plain
from astec.server.api.request_body import BYTE_ORDER_MARK, read_body
from astec.server.api.schema import Features, PredictRequest, queries_of
from astec.server.engine.batching.batcher import Answers, Caller
from astec.server.engine.models.served_models import ServedModels
from astec.server.engine.rank_request import CandidateOutput, Output, RankRequest, RankResult, batches_of
from astec.server.engine.upstream.ranking_service import PlainQueue, RankingService
from astec.server.errors import (
    FieldError,
    InternalError,
    InvalidFieldError,
    RateLimitedError,
    UnavailableError,
    to_response,
    to_server_error,
)
from astec.server.http.direct_exchange import NOBODY, Reply, Sender
from astec.server.http.request_ids import SCOPE_KEY
from astec.server.metrics.stage_times import StageTimes
from astec.server.settings import Settings
from astec.server.tracing.request_span import SPAN_KEY

logger = logging.getLogger(__name__)

WITHOUT_CALIBRATION = (
    "The model does not know how likely a label is right; leave it out, or export the model again with astec-export, "
    "from a run with held-out texts"
)
_QUEUE_TIMING = b"queue;dur=%.3f%b"
_STAGES_TIMING = b", featurize;dur=%.3f, encode;dur=%.3f, shortlist;dur=%.3f, score;dur=%.3f"


class PredictEndpoint:
    """The answers of this endpoint, and an ASGI application around them.

    `answer` makes every reply; the ASGI application and `DirectPredict` read the request and send the reply. Neither
    uses a web framework, whose routing, request and response objects take about as long as a prediction.

    Args:
        models: Rank the labels.
        settings: The server's settings.
        access_control: Checks keys and rate limits; None: everybody may ask.
        answer_log: Where answers are logged; None: nowhere.

    Attributes:
        max_body_bytes: The largest body that is read.
        rank: Has each rank request ranked by its model, as `Service.rank` does.
        share_header: The header whose value decides which model ranks, in lower case; empty: none does.
    """

    def __init__(
        self,
        models: ServedModels,
        settings: Settings,
        access_control: AccessControl | None,
        answer_log: AnswerLog | None,
    ) -> None:
        self._models = models
        self._services = models.services
        self._first = models.first
        self._split = models.split
        self._shadow = models.shadow
        self._access_control = access_control
        self._answer_log = answer_log
        self.rank = models.rank if len(models.services) > 1 else models.first.rank
        self.share_header = b"" if models.split is None else models.split.header
        # Copied, because attributes of settings take long to read.
        self.max_body_bytes = settings.max_body_bytes
        self._max_queries = settings.max_queries
        self._max_query_chars = settings.max_query_chars
        self._max_query_features = settings.max_query_features
        self._candidates = None if models.first.shard is None else CandidateAnswers(models.first.shard)
        self._merges = models.first.merges
        self._model_names = [b'"model":%b,' % orjson.dumps(service.model_name) for service in models.services]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request of the ASGI application."""
        await self.serve(scope, receive, send)

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> int:
        """Serve one request of the ASGI application, and return the status of the response."""
        sender = Sender("", scope.get(SCOPE_KEY, b""), scope.get(SPAN_KEY))
        try:
            client, share_key = self.client_of(scope["headers"]), self.share_key_of(scope["headers"])
            sender = sender._replace(client=client, share_key=share_key)
            content = await read_body(scope, receive, self.max_body_bytes)
        except Exception as error:
            reply = self.refuse(error, sender)
        else:
            reply = await self.answer(content, sender, caller_of(receive))
        await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers})
        await send({"type": "http.response.body", "body": reply.body})
        return reply.status

    async def answer(self, content: bytes, sender: Sender, caller: Caller | None) -> Reply:
        """Answer the body of a request of `sender`, also where it is not valid. `caller` waits for the reply."""
        request: PredictRequest | None = None
        try:
            plain = self.read_plain(content, sender.share_key)
            if plain is not None:
                requests, single, explain = [plain], True, False
                self.charge(sender.client, requests)
            else:
                request = PredictRequest.model_validate_json(content.removeprefix(BYTE_ORDER_MARK))
                single, explain = request.query is not None, request.explain
                output = candidate_output(request) or ("both" if explain else "json")
                requests = self.admit(request, sender.client, output, sender.share_key)
            answers = await self.rank(requests, caller, sender.span)
            explanation = await self._explain(requests[0], answers.results[0]) if explain else b""
        except Exception as error:
            return self.refuse(error, sender)
        if request is not None and request.candidates is not None:
            body = require_shard(self._candidates).to_json(request, answers.results, explanation, single=single)
            return _reply(body, answers)
        return self.reply(requests, answers, sender, explanation, single=single)

    def reply(
        self,
        requests: Sequence[RankRequest],
        answers: Answers[RankResult],
        sender: Sender,
        explanation: bytes = b"",
        *,
        single: bool,
    ) -> Reply:
        """Return the reply to ranked requests; give their results to the answer log and the shadow, if there are such.

        The arguments are those of `to_json`.
        """
        if self._answer_log is not None:
            self._answer_log.add(sender.request_id, requests, answers.results)
        if self._shadow is not None:
            self._shadow.add(requests, answers.results)
        return _reply(self.to_json(requests, answers.results, explanation, single=single), answers)

    def log(
        self, scope: Scope, requests: Sequence[RankRequest], results: Sequence[RankResult], line: int | None = None
    ) -> None:
        """Give the results of another endpoint's request to the answer log and the shadow, if there are such.

        The id of a line of a stream is the id of the stream and the number of the line, with a colon between.
        """
        if self._answer_log is not None:
            request_id: bytes = scope[SCOPE_KEY]
            self._answer_log.add(request_id if line is None else b"%b:%d" % (request_id, line), requests, results)
        if self._shadow is not None:
            self._shadow.add(requests, results)

    def refuse(self, error: BaseException, sender: Sender = NOBODY) -> Reply:
        """Return the reply to a request that fails with an error, and log a fault of the server."""
        server_error = to_server_error(error)
        response = to_response(server_error)
        if sender.span is not None:
            sender.span.error = server_error.slug
        if response.status_code == InternalError.status:
            logger.error("a prediction failed", exc_info=error, extra=_log_fields(sender))
        return Reply(response.status_code, response.raw_headers, bytes(response.body))

    def client_of(self, headers: Headers) -> str:
        """Return the name of the client that sent a request; empty if the server asks for no keys.

        Raises:
            UnauthorizedError: The request has no key that the server knows.
            UnavailableError: The model is loading, or the server is shutting down.
        """
        client = "" if self._access_control is None else self._access_control.client_of(headers)
        require_ready(self._first)
        return client

    def share_key_of(self, headers: Headers) -> bytes:
        """Return the value of the header that decides which model ranks; empty: there is none, or no header does."""
        if not self.share_header:
            return b""
        return next((value for name, value in headers if name == self.share_header), b"")

    async def describe(self, request: PredictRequest) -> None:
        """Declare the parameters of this endpoint, which FastAPI documents."""

    def admit(
        self,
        request: PredictRequest,
        client: str,
        output: Output | CandidateOutput = "json",
        share_key: bytes = b"",
    ) -> list[RankRequest]:
        """Check a request, charge it to the client, and return what to ask the models.

        Raises:
            InvalidFieldError: A field does not fit the settings or the model.
            RateLimitedError: The client has reached its rate limit.
        """
        requests = self._to_rank_requests(request, output, share_key)
        self.charge(client, requests)
        return requests

    def charge(self, client: str, requests: Sequence[RankRequest]) -> None:
        """Charge requests to the client that sent them, if there are rate limits.

        Raises:
            RateLimitedError: The client has reached its limit.
        """
        if self._access_control is None:
            return
        try:
            self._access_control.charge(client, len(requests))
        except RateLimitedError:
            self._models.shed("rate_limited", requests)
            raise

    def plain_queue_of(self, request: RankRequest) -> PlainQueue | None:
        """Return where a plain request can be queued; None: only `rank` answers it."""
        return self._services[request.model].plain_queue

    def read_plain(self, content: bytes, share_key: bytes) -> RankRequest | None:
        """Return the rank request of a plain body; None: the full validation reads it, or says what is wrong."""
        plain = read_plain(content)
        if plain is None or len(plain.query) > self._max_query_chars:
            return None
        model = 0 if self._split is None else self._split.model_of(plain.query, share_key)
        try:
            self._services[model].check(plain.query)
        except ValueError:  # The model does not read texts.
            return None
        return RankRequest(plain.query, plain.top_k, 0.0, False, None, "json", model)

    async def _explain(self, request: RankRequest, result: RankResult) -> bytes:
        return b',"explanation":' + await self._services[request.model].explanation_of(request, result)

    def to_json(
        self,
        requests: Sequence[RankRequest],
        results: Sequence[RankResult],
        explanation: bytes = b"",
        *,
        single: bool,
    ) -> bytes:
        """Return the response body for one `query` (`single`) or for `queries`; `explanation` begins with a comma.

        Where `queries` were ranked by several models, each result names its own.
        """
        model = requests[0].model
        # The model of shards is known only once they have answered.
        name = merged_name(self._first.model_name, results) if self._merges else self._model_names[model]
        if single:
            return b'{%b"predictions":%b%b}' % (name, results[0].json, explanation)
        if all(request.model == model for request in requests):
            lists = [b'{"predictions":%b}' % result.json for result in results]
            return b'{%b"results":[%b]}' % (name, b",".join(lists))
        lists = [
            b'{%b"predictions":%b}' % (self._model_names[request.model], result.json)
            for request, result in zip(requests, results, strict=True)
        ]
        return b'{"results":[%b]}' % b",".join(lists)

    def _to_rank_requests(
        self, request: PredictRequest, output: Output | CandidateOutput, share_key: bytes
    ) -> list[RankRequest]:
        """Check the fields against the settings and the models, and return a rank request for each query.

        Raises:
            InvalidFieldError: Fields do not fit; the error names all of them.
        """
        try:
            queries = queries_of(request)
        except ValueError as error:
            raise InvalidFieldError([FieldError(field="body", message=str(error))]) from error
        if request.candidates is not None:
            require_shard(self._candidates)
            if candidate_output(request) != output:
                message = "Only POST /predict answers with candidates; ask there"
                raise InvalidFieldError([FieldError(field="candidates", message=message)])
        if request.explain and request.query is None:
            message = 'Only one query is explained at a time; send it as "query"'
            raise InvalidFieldError([FieldError(field="explain", message=message)])
        if len(queries) > self._max_queries:
            raise too_many_queries("queries", len(queries), self._max_queries)
        named = None if request.model is None else self._named(request.model)
        if request.candidates is not None:  # A client of shards asks for those of the model that is a shard.
            named = 0
        requests: list[RankRequest] = []
        errors: list[FieldError] = []
        selections: dict[int, Selection | None] = {}
        for position, query in enumerate(queries):
            try:
                converted = self._to_query(query)
                model = self._model_of(converted, share_key) if named is None else named
                self._services[model].check(converted)
            except ValueError as error:
                field = "query" if request.query is not None else f"queries.{position}"
                errors.append(FieldError(field=field, message=str(error)))
                continue
            if model not in selections:
                selections[model] = self._select(request, self._services[model])
            wanted = request.top_k, request.min_score, request.probabilities, selections[model], output, model
            requests.append(RankRequest(converted, *wanted))
        if errors:
            raise InvalidFieldError(errors)
        return requests

    def _named(self, name: str) -> int:
        model = self._models.find(name)
        if model is None:
            names = ", ".join([service.model_name["name"] for service in self._services])
            message = f"No model of this name is served here; there is: {names}"
            raise InvalidFieldError([FieldError(field="model", message=message)])
        return model

    def _model_of(self, query: Query, share_key: bytes) -> int:
        return 0 if self._split is None else self._split.model_of(query, share_key)

    def _select(self, request: PredictRequest, service: RankingService) -> Selection | None:
        """Return the labels of a model that a request allows; None: all.

        Raises:
            InvalidFieldError: The model has no such columns, or no probabilities although they are asked for.
        """
        if request.probabilities and not service.has_probabilities:
            raise InvalidFieldError([FieldError(field="probabilities", message=WITHOUT_CALIBRATION)])
        if request.filter is None and request.exclude is None:
            return None
        return to_selection(service.label_metadata, request.filter, request.exclude)

    def _to_query(self, query: str | Features) -> Query:
        if not isinstance(query, str):
            return self._to_bag(query)
        _check_length(len(query), self._max_query_chars, "characters")
        return query

    def _to_bag(self, query: Features) -> Bag:
        if query.ids is None:
            weights = np.array(query.vector, dtype=np.float64)
            _check_length(len(weights), self._max_query_features, "numbers")
            ids = np.arange(len(weights), dtype=np.int32)
        else:
            _check_length(len(query.ids), self._max_query_features, "ids")
            ids = np.array(query.ids, dtype=np.int32)
            weights = np.ones(len(ids)) if query.weights is None else np.array(query.weights, dtype=np.float64)
        with np.errstate(over="ignore"):  # `check` refuses weights that become infinite.
            return Bag(ids, weights.astype(np.float32))


def _reply(body: bytes, answers: Answers[RankResult]) -> Reply:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"server-timing", server_timing(answers)),
    ]
    return Reply(200, headers, body)


def _log_fields(sender: Sender) -> dict[str, str]:
    """Return the fields of the log that tell which request a line is about."""
    fields = {"request_id": sender.request_id.decode()} if sender.request_id else {}
    return fields if sender.span is None else {**fields, "trace_id": sender.span.hex_id()}


def missing_shards(results: Sequence[RankResult]) -> set[str]:
    """Return the addresses of shards that did not answer, for results that are merged from those of shards."""
    return {address for result in results if result.merged is not None for address in result.merged.missing}


def merged_name(model_name: dict[str, str], results: Sequence[RankResult]) -> bytes:
    """Return the model's field of an answer that is merged from those of shards, and which shards did not answer."""
    missing = sorted(missing_shards(results))
    partial = {"partial": True, "missing": missing} if missing else {}
    return orjson.dumps({"model": model_name, **partial})[1:-1] + b","


def too_many_queries(field: str, queries: int, limit: int) -> InvalidFieldError:
    """Return the error for a request with too many queries."""
    message = f"{queries} queries are more than the limit of {limit}; split the request"
    return InvalidFieldError([FieldError(field=field, message=message)])


def require_ready(service: RankingService) -> None:
    """Raise UnavailableError unless the service answers queries; it still does while it drains."""
    if service.state == "loading":
        raise UnavailableError(service.loading_reason())
    if service.state == "stopping":
        raise UnavailableError("The server is shutting down.")


def caller_of(receive: Receive) -> Caller | None:
    """Return the client that waits for the response, or None if the HTTP server does not expose it.

    ASGI reports a disconnect only to code that awaits `receive`, which would take a task for every waiting request.
    uvicorn's request cycle, of which `receive` is a method, has a flag.
    """
    exchange: Caller | None = getattr(receive, "__self__", None)
    return exchange if hasattr(exchange, "disconnected") else None


def server_timing(answers: Answers[RankResult]) -> bytes:
    """Return the `Server-Timing` header in milliseconds: the longest queueing, and each stage summed over the batches.

    If all results came from the cache, it has no times. Of results that are merged from those of shards, it has the
    time that the shards and merging took.
    """
    if answers.results and answers.results[0].merged is not None:
        return b"upstream;dur=%.3f" % (answers.queue_s * 1e3)
    batches = batches_of(answers.results)
    if not batches:
        return b"cache;desc=hit"
    stages_s = batches[0] if len(batches) == 1 else StageTimes(*map(sum, zip(*batches, strict=True)))
    return _QUEUE_TIMING % (answers.queue_s * 1e3, _stages_timing(stages_s))


@lru_cache(maxsize=1)  # All requests of a batch have the same times, and are answered one after the other.
def _stages_timing(stages_s: StageTimes) -> bytes:
    return _STAGES_TIMING % tuple([stage_s * 1e3 for stage_s in stages_s])


def _check_length(length: int, limit: int, unit: str) -> None:
    if length > limit:
        raise ValueError(f"The query has {length} {unit}; the limit is {limit}")
