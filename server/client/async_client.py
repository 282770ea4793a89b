"""The client for programs with an asyncio event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any, Self

import httpx

from astec.server.client.answers import ModelInfo, Ranking, read_model, read_rankings
from astec.server.client.errors import StatusError, UnavailableError
from astec.server.client.exchange import DEFAULT_RETRY, KEEP_ALIVE_S, Connector, RetryPolicy
from astec.server.client.explanations import Explanation, read_explanation
from astec.server.client.queries import JSON_BODY, Asked, Conditions, Narrowing, Query, ask_many, ask_one, ask_why


class AsyncAstecClient:
    """Asks a server for rankings, over connections that stay open, in one asyncio event loop.

    Args:
        base_url: Address of the server, `http://HOST:PORT`; a path is put before those of the API.
        api_key: Key that is shown with every request; None: that of the environment variable ASTEC_API_KEY, if any.
        timeout_s: Seconds that each wait for the network may take: to connect, to send, to get the next bytes.
        deadline_s: Seconds that a request with all its attempts and the waits between them may take.
        retry: When a request is sent again.
        max_queries_per_request: Most queries that `predict_many` puts into a request.
        max_concurrency: Most requests of a `predict_many` that are under way at once.
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
        max_concurrency: int = 4,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._connector = Connector(base_url, api_key, timeout_s, deadline_s, retry, max_queries_per_request)
        if max_concurrency < 1:
            raise ValueError(f"max_concurrency is {max_concurrency}; give at least 1")
        self._max_concurrency = max_concurrency
        self._sleep = sleep
        limits = httpx.Limits(keepalive_expiry=KEEP_ALIVE_S)
        self._http = httpx.AsyncClient(base_url=base_url, headers=self._connector.headers(), limits=limits)

    async def predict(
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
        return (await self._ask(ask_one(query, Narrowing(top_k, min_score, probabilities, filter, exclude))))[0]

    async def predict_many(
        self,
        queries: Sequence[Query],
        *,
        top_k: int | None = None,
        min_score: float | None = None,
        probabilities: bool | None = None,
        filter: Conditions | None = None,  # noqa: A002  (as the API has it)
        exclude: Conditions | None = None,
    ) -> list[Ranking]:
        """Return the ranking of each query, in order; asks in requests of `max_queries_per_request`, some at once.

        Raises:
            AstecError, ValueError: As `predict`, about the first request that failed; those under way are cancelled.
        """
        narrowing = Narrowing(top_k, min_score, probabilities, filter, exclude)
        requests = enumerate(ask_many(queries, narrowing, self._connector.max_queries_per_request))
        answered: dict[int, list[Ranking]] = {}

        async def ask_on() -> None:
            for position, asked in requests:
                answered[position] = await self._ask(asked)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._max_concurrency):
                    group.create_task(ask_on())
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return [ranking for position in sorted(answered) for ranking in answered[position]]

    async def explain(self, query: Query, *, top_k: int | None = None, min_score: float | None = None) -> Explanation:
        """Return the labels of a query, best first, and why; arguments and errors are those of `predict`."""
        asked = ask_why(query, Narrowing(top_k, min_score))
        return read_explanation(await self._exchange(self._predict_request(asked)), asked)

    async def model(self) -> ModelInfo:
        """Return what is served.

        Raises:
            AstecError: It was not answered.
        """
        return read_model(await self._exchange(self._http.build_request("GET", "/v1/model")))

    async def ready(self) -> bool:
        """Whether the server takes queries now, asked once; not where nobody answers in time.

        Raises:
            AstecError: Something answers, but not as this server does.
        """
        exchange = self._connector.exchange()
        try:
            exchange.read(await self._http.get("/readyz", timeout=exchange.start_attempt()))
        except (httpx.TransportError, UnavailableError):
            return False
        return True

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _ask(self, asked: Asked) -> list[Ranking]:
        return read_rankings(await self._exchange(self._predict_request(asked)), asked)

    def _predict_request(self, asked: Asked) -> httpx.Request:
        return self._http.build_request("POST", "/predict", content=asked.body, headers=JSON_BODY)

    async def _exchange(self, request: httpx.Request) -> dict[str, Any]:
        exchange = self._connector.exchange()
        while True:
            request.extensions["timeout"] = exchange.start_attempt().as_dict()
            try:
                async with asyncio.timeout(exchange.left_s()):
                    response = await self._http.send(request)
                return exchange.read(response)
            except TimeoutError:
                raise exchange.deadline_error() from None
            except (httpx.RequestError, StatusError) as error:
                wait_s = exchange.wait_s(error)
            await self._sleep(wait_s)
