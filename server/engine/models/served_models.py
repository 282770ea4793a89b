"""The models that a worker serves: one, or several among which the traffic is divided."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

from astec.server.engine.batching.batcher import Answers, Caller
from astec.server.engine.models.traffic_split import TrafficSplit
from astec.server.engine.rank_request import RankRequest, RankResult
from astec.server.engine.shadow.shadow_sender import ShadowSender
from astec.server.engine.upstream.ranking_service import RankingService, RankSpan
from astec.server.metrics.board import ShedReason


class ServedModels:
    """The services of all models, in the order of the command line. Belongs to one event loop.

    The state of the first is that of the server: it is ready last, and stops first.

    Args:
        services: A service for each model.
        shares: The percent of the queries that each of them answers, where a request names no model.
        header: The header whose value decides, in lower case; empty: the query does.
        shadow: Where answers go that a model in the shadow is to be compared with; None: there is no such model.

    Attributes:
        split: Chooses the model for a query; None where the first one answers all that name no model.
        busiest: The service that most queries go to. Its queue decides whether requests are refused by their heads,
            which do not say where they would go; that of a small share must not make the server refuse the others.
    """

    def __init__(
        self,
        services: Sequence[RankingService],
        shares: Sequence[float] = (100.0,),
        header: str = "",
        shadow: ShadowSender | None = None,
    ) -> None:
        self.services = services
        self.shares = shares
        self.shadow = shadow
        self.split = TrafficSplit(shares[1:], header.encode()) if any(shares[1:]) else None
        self.busiest = max(zip(shares, services, strict=True), key=lambda pair: pair[0])[1]

    @property
    def shadow_model(self) -> int | None:
        """The place of the model in the shadow; None: there is none."""
        return None if self.shadow is None else self.shadow.model

    @property
    def first(self) -> RankingService:
        """The service of the first model."""
        return self.services[0]

    def find(self, name: str) -> int | None:
        """Return the index of the model of this name; None: there is none."""
        # That of shards is known only once they have answered.
        return next((index for index, one in enumerate(self.services) if one.model_name["name"] == name), None)

    async def start(self) -> None:
        """Start all services, and return once each has made real predictions. Called after the fork."""
        for service in reversed(self.services):
            await service.start()
        if self.shadow is not None:
            self.shadow.start()

    def drain(self) -> None:
        """Go on answering, but report that new clients should ask another server."""
        for service in self.services:
            service.drain()

    async def stop(self) -> None:
        """Finish the accepted work, then end all services."""
        for service in self.services:
            await service.stop()
        if self.shadow is not None:
            self.shadow.stop()

    def shed(self, reason: ShedReason, requests: Sequence[RankRequest]) -> None:
        """Count queries that were rejected, by the model that they were for."""
        for model, total in Counter([request.model for request in requests]).items():
            self.services[model].metrics.queries_shed(reason, total)

    async def rank(
        self, requests: Sequence[RankRequest], caller: Caller | None, span: RankSpan | None = None
    ) -> Answers[RankResult]:
        """Return the results in order, each from the model that its request names. Raises as `Service.rank`.

        If one of the models fails, so does all.
        """
        rows: dict[int, list[int]] = {}
        for row, request in enumerate(requests):
            rows.setdefault(request.model, []).append(row)
        if len(rows) == 1:
            return await self.services[requests[0].model].rank(requests, caller, span)
        parts = [
            asyncio.ensure_future(self.services[model].rank([requests[row] for row in mine], caller, span))
            for model, mine in rows.items()
        ]
        try:
            answers = await asyncio.gather(*parts)
        except Exception:
            for part in parts:
                part.cancel()
            await asyncio.wait(parts)  # Then their places in the queues are free.
            raise
        results: dict[int, RankResult] = {}
        for mine, answer in zip(rows.values(), answers, strict=True):
            results.update(zip(mine, answer.results, strict=True))
        return Answers([results[row] for row in range(len(requests))], max(answer.queue_s for answer in answers))
