"""The synchronous client, whose methods block until the response is there."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

import httpx

from astec.server.client.answers import ModelInfo, Ranking, read_model, read_rankings
from astec.server.client.compression import DEFAULT_COMPRESS_OVER_BYTES, BodyCompressor, SentBody
from astec.server.client.errors import StatusError, UnavailableError
from astec.server.client.exchange import DEFAULT_RETRY, KEEP_ALIVE_S, ClientSettings, Exchange, RetryPolicy
from astec.server.client.explanations import Explanation, read_explanation
from astec.server.client.queries import (
    Conditions,
    PredictBody,
    PredictOptions,
    Query,
    batch_bodies,
    explain_body,
    single_body,
)


class AstecClient:
    """A synchronous client, which keeps its connections open. Threads may share it.

    `deadline_s` is checked between two waits for the network, so a server that sends its response byte by byte can
    exceed it. `AsyncAstecClient` has no such limitation.

    Args:
        base_url: Address of the server, `http://HOST:PORT`; a path in it is a prefix of the paths of the API.
        api_key: API key, sent with every request; None: the value of the environment variable ASTEC_API_KEY, if set.
        timeout_s: Longest wait for the network, in seconds: to connect, to send, or to receive the next bytes.
        deadline_s: Longest time for a request, in seconds, with all attempts and the waits between them.
        retry: The policy by which failed requests are sent again.
        max_queries_per_request: The most queries that `predict_many` puts into one request.
        compress_over_bytes: Bodies with more bytes are sent compressed by gzip, unless the server has refused one with
            415; None: never.
        sleep: Function that waits for a number of seconds.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        timeout_s: float = 5.0,
        deadline_s: float = 30.0,
        retry: RetryPolicy = DEFAULT_RETRY,
        max_queries_per_request: int = 256,
        compress_over_bytes: int | None = DEFAULT_COMPRESS_OVER_BYTES,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._settings = ClientSettings(
            base_url, api_key, timeout_s, deadline_s, retry, max_queries_per_request, compress_over_bytes
        )
        self._compressor = BodyCompressor(compress_over_bytes)
        self._sleep = sleep
        limits = httpx.Limits(keepalive_expiry=KEEP_ALIVE_S)
        self._http = httpx.Client(base_url=base_url, headers=self._settings.headers(), limits=limits)

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
        return self._rank(single_body(query, options))[0]

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
        for body in batch_bodies(queries, options, self._settings.max_queries_per_request):
            rankings += self._rank(body)
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
        body = explain_body(query, PredictOptions(top_k, min_score, probabilities, model=model))
        return read_explanation(self._ask(body), body)

    def model(self) -> ModelInfo:
        """Return the model that the server serves.

        Raises:
            AstecError: The request failed.
        """
        request = self._http.build_request("GET", "/v1/model")
        return read_model(self._exchange(request, self._settings.exchange()))

    def ready(self) -> bool:
        """Return whether the server answers queries now; False if it cannot be reached in time. Does not retry.

        Raises:
            AstecError: The response is not one of this server's.
        """
        exchange = self._settings.exchange()
        try:
            exchange.read(self._http.get("/readyz", timeout=exchange.start_attempt()))
        except (httpx.TransportError, UnavailableError):
            return False
        return True

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _rank(self, body: PredictBody) -> list[Ranking]:
        return read_rankings(self._ask(body), body)

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
