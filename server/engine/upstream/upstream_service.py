"""The service of a server without a model of its own: it asks the servers of all shards, and merges their answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from itertools import groupby
from time import perf_counter
from typing import Any, cast

import numpy as np
from pydantic import TypeAdapter

from astec.export.artifact.labels.label_sets import LabelSets
from astec.export.artifact.labels.metadata import LabelMetadata
from astec.export.artifact.labels.text_table import TextTable
from astec.export.artifact.manifest import LabelColumn
from astec.export.artifact.scoring.calibrator import Calibrator
from astec.export.artifact.text.bags import Query
from astec.server.client import (
    AstecError,
    AsyncAstecClient,
    DeadlinePassedError,
    InvalidFieldError,
    TimedOutError,
    TooManyRequestsError,
)
from astec.server.engine.batching.batcher import Answers, Caller, ClosedError, DeadlineError, QueueFullError
from astec.server.engine.rank_request import MergedExtras, RankRequest, RankResult
from astec.server.engine.upstream.conversion import to_asked, to_results
from astec.server.engine.upstream.errors import UpstreamError, UpstreamRefusedError
from astec.server.engine.upstream.ranking_service import RankSpan, State
from astec.server.metrics.board import Metrics
from astec.server.settings import Settings

logger = logging.getLogger(__name__)

_WATCH_S = 1.0
_COLUMNS = TypeAdapter(list[LabelColumn])


class UpstreamService:
    """Merges the answers of the shards at `settings.upstream`; a `RankingService`.

    Belongs to one event loop from `start` on. Once a second it asks the shards which model they serve.

    Args:
        settings: The server's settings.
        metrics: Where queries, and requests to the shards, are recorded.
    """

    merges = True
    plain_queue = None
    is_named = False
    shard = None
    calibrator: Calibrator | None = None

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.state: State = "loading"
        self.model_name = {"name": "", "version": ""}
        self.label_metadata: LabelMetadata | None = None
        self.has_probabilities = False
        self._settings = settings
        self.metrics = metrics
        self._description: dict[str, Any] = {}
        self._missing, self._all_are_missing = "The shards have not been asked yet.", True
        self._waiting = 0

    async def start(self) -> None:
        """Ask the shards for their model, and go on asking; until they answer, the state is "loading"."""
        settings, timeout_s = self._settings, self._settings.request_timeout_ms / 1e3
        self._client = AsyncAstecClient(
            settings.upstream,
            timeout_s=timeout_s,
            deadline_s=timeout_s,
            on_missing=settings.on_missing,
            hedge_after_ms=settings.hedge_after_ms or None,
            shard_observer=self.metrics,
        )
        # Its requests are not counted, and say what the shards are even if some are missing.
        self._watcher = AsyncAstecClient(settings.upstream, timeout_s=_WATCH_S, on_missing="partial")
        self.metrics.upstreams = self._client.addresses
        await self._look()
        self._watching = asyncio.create_task(self._watch())

    def drain(self) -> None:
        """Go on answering, but report that new clients should ask another server."""
        self.state = "draining"

    async def stop(self) -> None:
        """Finish the accepted work."""
        self.state = "stopping"
        self._watching.cancel()
        while self._waiting:  # The HTTP server cuts them off after its own timeout.
            await asyncio.sleep(0.01)
        await self._client.aclose()
        await self._watcher.aclose()

    def describe(self) -> dict[str, Any]:
        """Return what the first shard says of the model, with the labels of all, and the shards."""
        return self._description

    def loading_reason(self) -> str:
        """Return which shards do not say which model they serve."""
        return self._missing

    def missing_shards(self) -> str:
        """Return which shards did not answer a second ago, if answers need them all; empty: none."""
        return self._missing if self._settings.on_missing == "fail" or self._all_are_missing else ""

    def has_room(self, queries: int) -> bool:
        """Return whether so many queries can be asked now."""
        return self._waiting + queries <= self._settings.queue_capacity

    def check(self, query: Query) -> None:
        """Do nothing: the shards check whether their model can read a query."""

    async def rank(
        self, requests: Sequence[RankRequest], caller: Caller | None, span: RankSpan | None = None
    ) -> Answers[RankResult]:
        """Return the merged results in order, and the seconds that the shards and merging took; there are no spans.

        Raises:
            QueueFullError: As many queries are being asked as may be at a time.
            DeadlineError: The shards did not answer in time.
            ClosedError: The server stops.
            UpstreamError: A shard does not answer, or they are not shards of one model.
            UpstreamRefusedError: The shards do not take the request.
        """
        if self.state == "stopping":
            raise ClosedError("The server is shutting down.")
        if not self.has_room(len(requests)):
            self.metrics.queries_shed("queue_full", len(requests))
            raise QueueFullError(f"{self._waiting} queries wait for the shards; there is no room for {len(requests)}.")
        self._waiting += len(requests)
        begun_s = perf_counter()
        try:
            results = await self._rank(requests)
        except DeadlineError:
            self.metrics.queries_shed("deadline", len(requests))
            raise
        finally:
            self._waiting -= len(requests)
        self.metrics.queries_ranked(len(requests), sum([result.is_empty() for result in results]))
        partial = sum([result.merged is not None and bool(result.merged.missing) for result in results])
        self.metrics.partial_answers(partial)
        return Answers(results, perf_counter() - begun_s)

    async def explanation_of(self, request: RankRequest, result: RankResult) -> bytes:
        """Return the explanation of a result as JSON: the shards give it with their labels."""
        return cast(MergedExtras, result.merged).explanation  # All results of this service have it.

    async def _rank(self, requests: Sequence[RankRequest]) -> list[RankResult]:
        results: list[RankResult] = []
        # Lines of a stream may differ in more than their queries.
        for _, group in groupby(requests, lambda request: request[1:]):
            same = list(group)
            try:
                answer = await self._client.answer(to_asked(same, self.label_metadata))
            except InvalidFieldError as error:
                fields = [(problem.field, problem.message) for problem in error.problem.errors]
                raise UpstreamRefusedError(fields or [("query", error.problem.detail)]) from error
            except TooManyRequestsError as error:
                raise QueueFullError(f"All shards have a full queue ({error}).") from error
            except (DeadlinePassedError, TimedOutError) as error:
                raise DeadlineError(f"The shards did not answer in time ({error}).") from error
            except AstecError as error:
                raise UpstreamError(str(error)) from error
            results += to_results(answer, same)
        return results

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_WATCH_S)
            await self._look()

    async def _look(self) -> None:
        """Ask the shards which model they serve, and whether they are ready."""
        try:
            info = await self._watcher.model()
            ready = await self._watcher.shards_ready()
            missing = [
                address for address in ready if address in info.manifest.get("missing", ()) or not ready[address]
            ]
            self._missing = f"These shards are not ready: {', '.join(missing)}." if missing else ""
            self._all_are_missing = len(missing) == len(ready)
            self._use(dict(info.manifest), info.name, info.version)
        except Exception as error:  # Whatever it is, the next look may find the shards.
            if not self._all_are_missing or self.state == "loading":
                logger.warning("the shards cannot be asked: %s", error)
            self._missing, self._all_are_missing = str(error), True

    def _use(self, description: dict[str, Any], name: str, version: str) -> None:
        if (name, version) != (self.model_name["name"], self.model_name["version"]):
            logger.info("merging the shards of model %s, version %s", name, version)
        self._description = description
        self.model_name = {"name": name, "version": version}
        self.has_probabilities = description.get("calibration") is not None
        columns = tuple(_COLUMNS.validate_python(description.get("label_metadata", [])))
        nothing = LabelSets.one_each(np.empty(0, np.int32))
        self.label_metadata = LabelMetadata(columns, TextTable.from_texts([]), nothing, 0) if columns else None
        self.metrics.serving(name, version)
        if self.state == "loading":
            self.state = "ready"
