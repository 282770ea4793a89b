"""The client for programs that wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

import httpx

from astec.server.client.answers import ModelInfo, Ranking, read_model, read_rankings
from astec.server.client.errors import StatusError, UnavailableError
from astec.server.client.exchange import DEFAULT_RETRY, KEEP_ALIVE_S, Connector, RetryPolicy
from astec.server.client.explanations import Explanation, read_explanation
from astec.server.client.queries import JSON_BODY, Asked, Conditions, Narrowing, Query, ask_many, ask_one, ask_why


class AstecClient:
    """Asks a server for rankings, over connections that stay open; threads may share it.

    `timeout_s` bounds every wait for the network, and so does what is left of `deadline_s`: a server that drips its
    answer can outlast the deadline. `AsyncAstecClient` cuts that off too.

    Args:
        base_url: Address of the server, `http://HOST:PORT`; a path is put before those of the API.
        api_key: Key that is shown with every request; None: that of the environment variable ASTEC_API_KEY, if any.
        timeout_s: Seconds that each wait for the network may take: to connect, to send, to get the next bytes.
        deadline_s: Seconds that a request with all its attempts and the waits between them may take.
        retry: When a request is sent again.
        max_queries_per_request: Most queries that `predict_many` puts into a request.
        sleep: Waits for seconds.
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
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._connector = Connector(base_url, api_key, timeout_s, deadline_s, retry, max_queries_per_request)
        self._sleep = sleep
        limits = httpx.Limits(keepalive_expiry=KEEP_ALIVE_S)
        self._http = httpx.Client(base_url=base_url, headers=self._connector.headers(), limits=limits)

    def predict(
        self,
        query: Query,
        *,
        top_k: int | None = None,
        min_score: float | None = None,
        probabilities: bool | None = None,
        filter: Conditions | None = None,  # noqa: A002  (as the API has it)
        exclude: Conditions | None = None,
    ) -> Ranking:
        """Return the labels of a query, best first.

        Args:
            query: A text, or `Features` or a `Vector` for models that take those.
            top_k: Most labels; None: the server's default.
            min_score: Labels with a score below it are left out; None: the server's default.
            probabilities: Whether predictions say how likely they are right; None: the server's default, which is not.
            filter: By column of the model's label metadata a value or several, of which a label must have one.
            exclude: Likewise; labels that have one of the values are left out.

        Raises:
            AstecError: It was not answered; the subclasses say why.
            ValueError: JSON cannot carry the query.
        """
        return self._ask(ask_one(query, Narrowing(top_k, min_score, probabilities, filter, exclude)))[0]

    def predict_many(
        self,
        queries: Sequence[Query],
        *,
        top_k: int | None = None,
        min_score: float | None = None,
        probabilities: bool | None = None,
        filter: Conditions | None = None,  # noqa: A002  (as the API has it)
        exclude: Conditions | None = None,
    ) -> list[Ranking]:
        """Return the ranking of each query, in order; asks in requests of `max_queries_per_request`, one by one.

        Raises:
            AstecError, ValueError: As `predict`, about the first request that failed.
        """
        rankings: list[Ranking] = []
        narrowing = Narrowing(top_k, min_score, probabilities, filter, exclude)
        for asked in ask_many(queries, narrowing, self._connector.max_queries_per_request):
            rankings += self._ask(asked)
        return rankings

    def explain(self, query: Query, *, top_k: int | None = None, min_score: float | None = None) -> Explanation:
        """Return the labels of a query, best first, and why; arguments and errors are those of `predict`."""
        asked = ask_why(query, Narrowing(top_k, min_score))
        return read_explanation(self._exchange(self._predict_request(asked)), asked)

    def model(self) -> ModelInfo:
        """Return what is served.

        Raises:
            AstecError: It was not answered.
        """
        return read_model(self._exchange(self._http.build_request("GET", "/v1/model")))

    def ready(self) -> bool:
        """Whether the server takes queries now, asked once; not where nobody answers in time.

        Raises:
            AstecError: Something answers, but not as this server does.
        """
        exchange = self._connector.exchange()
        try:
            exchange.read(self._http.get("/readyz", timeout=exchange.start_attempt()))
        except (httpx.TransportError, UnavailableError):
            return False
        return True

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, asked: Asked) -> list[Ranking]:
        return read_rankings(self._exchange(self._predict_request(asked)), asked)

    def _predict_request(self, asked: Asked) -> httpx.Request:
        return self._http.build_request("POST", "/predict", content=asked.body, headers=JSON_BODY)

    def _exchange(self, request: httpx.Request) -> dict[str, Any]:
        exchange = self._connector.exchange()
        while True:
            request.extensions["timeout"] = exchange.start_attempt().as_dict()
            try:
                return exchange.read(self._http.send(request))
            except (httpx.RequestError, StatusError) as error:
                wait_s = exchange.wait_s(error)
            self._sleep(wait_s)
