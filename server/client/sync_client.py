"""The synchronous client, whose methods block until the response is there."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Self, Unpack

import httpx

from astec.server.client.answers import ModelInfo, Ranking, read_model, read_rankings
from astec.server.client.compression import DEFAULT_COMPRESS_OVER_BYTES, BodyCompressor, SentBody
from astec.server.client.errors import StatusError, UnavailableError
from astec.server.client.exchange import DEFAULT_RETRY, KEEP_ALIVE_S, ClientSettings, Exchange, RetryPolicy
from astec.server.client.explanations import Explanation, read_explanation
from astec.server.client.queries import Asked, Conditions, PredictBody, PredictOptions, Query, in_batches
from astec.server.client.sharding.description import describe_model
from astec.server.client.sharding.fan_out import ShardThreads
from astec.server.client.sharding.policy import ShardOptions, ShardPolicy


class AstecClient:
    """A synchronous client, which keeps its connections open. Threads may share it.

    `deadline_s` is checked between two waits for the network, so a server that sends its response byte by byte can
    exceed it. `AsyncAstecClient` has no such limitation.

    Args:
        base_url: Address of the server, `http://HOST:PORT`; a path in it is a prefix of the paths of the API. Several
            addresses: those of all shards of a model, whose answers are merged.
        api_key: API key, sent with every request; None: the value of the environment variable ASTEC_API_KEY, if set.
        timeout_s: Longest wait for the network, in seconds: to connect, to send, or to receive the next bytes.
        deadline_s: Longest time for a request, in seconds, with all attempts and the waits between them.
        retry: The policy by which failed requests are sent again.
        max_queries_per_request: The most queries that `predict_many` puts into one request.
        compress_over_bytes: Bodies with more bytes are sent compressed by gzip, unless the server has refused one with
            415; None: never.
        sleep: Function that waits for a number of seconds.
        sharding: For several addresses. `on_missing`: what to do about a shard that does not answer: "fail", an error
            that names it, or "partial", the answer of the others, whose `missing` names it; then a request is sent to
            a shard once, unless `retry` is given. `hedge_after_ms`: milliseconds after which a shard without an answer
            is asked a second time; None: never. `shard_observer`: is told how shards answer.
    """

    def __init__(
        self,
        base_url: str | Sequence[str],
        *,
        api_key: str | None = None,
        timeout_s: float = 5.0,
        deadline_s: float = 30.0,
        retry: RetryPolicy = DEFAULT_RETRY,
        max_queries_per_request: int = 256,
        compress_over_bytes: int | None = DEFAULT_COMPRESS_OVER_BYTES,
        sleep: Callable[[float], None] = time.sleep,
        **sharding: Unpack[ShardOptions],
    ) -> None:
        urls = [base_url] if isinstance(base_url, str) else list(base_url)
        policy = ShardPolicy.of(urls, **sharding)
        if policy.on_missing == "partial" and retry is DEFAULT_RETRY:
            retry = RetryPolicy(max_attempts=1)
        self._settings = ClientSettings(
            urls[0], api_key, timeout_s, deadline_s, retry, max_queries_per_request, compress_over_bytes
        )
        self._compressor = BodyCompressor(compress_over_bytes)
        self._sleep = sleep
        self._shards: ShardThreads[AstecClient] | None = None
        if not isinstance(base_url, str):
            settings = [replace(self._settings, base_url=url) for url in urls]
            self._shards = ShardThreads(policy, [AstecClient._of(one, sleep) for one in settings])
        limits = httpx.Limits(keepalive_expiry=KEEP_ALIVE_S)
        self._http = httpx.Client(base_url=urls[0], headers=self._settings.headers(), limits=limits)

    @classmethod
    def _of(cls, settings: ClientSettings, sleep: Callable[[float], None]) -> Self:
        """Return the client of one shard."""
        return cls(
            settings.base_url,
            api_key=settings.api_key,
            timeout_s=settings.timeout_s,
            deadline_s=settings.deadline_s,
            retry=settings.retry,
            sleep=sleep,
        )

    def predict(
        self,
        query: Query,
        *,
        top_k: int | None = None,
        min_score: float | None = None,
        probabilities: bool | None = None,
        filter: Conditions | None = None,  # noqa: A002  (the name in the API)
        exclude: Conditions | None = None,
        model: str | None = None,
    ) -> Ranking:
        """Return the labels of a query, best first.

        Args:
            query: A text; `Features` or a `Vector` for models that take those.
            top_k: The most labels to return; None: the server's default.
            min_score: Labels with a lower score are left out; None: the server's default.
            probabilities: Whether predictions have the probability that they are right; None: the default, False.
            filter: Values for columns of the label metadata; a returned label has one of them in each column.
            exclude: Values for columns, as in `filter`; labels that have one of the values are left out.
            model: The model to ask where the server has several; None: the one that the server chooses.

        Raises:
            AstecError: The request failed; each subclass stands for one reason.
            ValueError: The query cannot be encoded as JSON.
        """
        options = PredictOptions(top_k, min_score, probabilities, filter, exclude, model)
        return self._rank(Asked([query], options, single=True))[0]

    def predict_many(
        self,
        queries: Sequence[Query],
        *,
        top_k: int | None = None,
        min_score: float | None = None,
        probabilities: bool | None = None,
        filter: Conditions | None = None,  # noqa: A002  (the name in the API)
        exclude: Conditions | None = None,
        model: str | None = None,
    ) -> list[Ranking]:
        """Return the ranking of each query, in order. Sends requests of `max_queries_per_request` queries, one by one.

        Raises:
            AstecError, ValueError: The first request that failed; errors are the same as in `predict`.
        """
        rankings: list[Ranking] = []
        options = PredictOptions(top_k, min_score, probabilities, filter, exclude, model)
        for asked in in_batches(queries, options, self._settings.max_queries_per_request):
            rankings += self._rank(asked)
        return rankings

    def explain(
        self,
        query: Query,
        *,
        top_k: int | None = None,
        min_score: float | None = None,
        probabilities: bool | None = None,
        model: str | None = None,
    ) -> Explanation:
        """Return the labels of a query, best first, with an explanation.

        Arguments and errors are the same as in `predict`.
        """
        asked = Asked([query], PredictOptions(top_k, min_score, probabilities, model=model), single=True, explain=True)
        return read_explanation(self.answer(asked), asked.body())

    def answer(self, asked: Asked) -> dict[str, Any]:
        """Return the answer to one request as JSON, as `/predict` gives it. Errors are the same as in `predict`."""
        if self._shards is not None:
            return self._shards.predict(AstecClient._send, asked)
        return self._send(asked.body())

    def model(self) -> ModelInfo:
        """Return the model that the server serves.

        Raises:
            AstecError: The request failed.
        """
        if self._shards is not None:
            return read_model(describe_model(self._shards.policy, self._shards.ask_all(AstecClient._model)))
        return read_model(self._model())

    def ready(self) -> bool:
        """Return whether the server answers queries now; False if it cannot be reached in time. Does not retry.

        With several addresses: whether all of them do.

        Raises:
            AstecError: The response is not one of this server's.
        """
        if self._shards is not None:
            return all((self.shards_ready()).values())
        exchange = self._settings.exchange()
        try:
            exchange.read(self._http.get("/readyz", timeout=exchange.start_attempt()))
        except (httpx.TransportError, UnavailableError):
            return False
        return True

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses of the shards, without passwords, by which errors name them; empty for one address."""
        return () if self._shards is None else self._shards.policy.addresses

    def shards_ready(self) -> dict[str, bool]:
        """Return for each of several addresses whether its server answers queries now; empty for one address."""
        if self._shards is None:
            return {}
        ready = self._shards.each(AstecClient.ready)
        return dict(zip(self.addresses, ready, strict=True))

    def close(self) -> None:
        """Close all connections."""
        if self._shards is not None:
            self._shards.close(AstecClient.close)
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _rank(self, asked: Asked) -> list[Ranking]:
        return read_rankings(self.answer(asked), asked.body())

    def _send(self, body: PredictBody) -> dict[str, Any]:
        return self._ask(body)

    def _model(self) -> dict[str, Any]:
        request = self._http.build_request("GET", "/v1/model")
        return self._exchange(request, self._settings.exchange())

    def _ask(self, body: PredictBody) -> dict[str, Any]:
        exchange = self._settings.exchange()
        sent = self._compressor.prepare(body.content)
        try:
            return self._exchange(self._predict_request(sent), exchange)
        except StatusError as error:
            if not self._compressor.is_refused(sent, error):
                raise
        return self._exchange(self._predict_request(self._compressor.prepare(body.content)), exchange)

    def _predict_request(self, sent: SentBody) -> httpx.Request:
        return self._http.build_request("POST", "/predict", content=sent.content, headers=sent.headers)

    def _exchange(self, request: httpx.Request, exchange: Exchange) -> dict[str, Any]:
        while True:
            request.extensions["timeout"] = exchange.start_attempt().as_dict()
            try:
                return exchange.read(self._http.send(request))
            except (httpx.RequestError, StatusError) as error:
                wait_s = exchange.wait_s(error)
            self._sleep(wait_s)
