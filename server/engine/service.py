"""The open model with its threads, its batcher and its cache: what the endpoints ask for rankings."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.labels.metadata import LabelMetadata, Selection
from astec.export.artifact.scoring.calibrator import Calibrator
from astec.export.artifact.shortlist.allowed import Allowed
from astec.export.artifact.store import Artifact
from astec.export.artifact.text.bags import Bag, Query
from astec.export.artifact.text.featurizer import TextFeaturizer
from astec.export.artifact.text.folding import fold
from astec.server.engine.batch_runner import Inference
from astec.server.engine.batcher import (
    Answers,
    Batcher,
    Caller,
    CallerLeftError,
    ClosedError,
    DeadlineError,
    Observer,
    QueueFullError,
)
from astec.server.engine.cache import LruCache
from astec.server.engine.examples import example_queries
from astec.server.engine.explanation import Explanation
from astec.server.engine.label_masks import LabelMasks
from astec.server.engine.predictor import Rankings
from astec.server.engine.rank_request import NO_LABELS, Output, RankedLabels, RankRequest, RankResult
from astec.server.engine.ranking_json import NO_PROBABILITIES, to_json
from astec.server.engine.threads import InferenceThreads
from astec.server.engine.warmup import warm_predictor
from astec.server.metrics.board import FilteredQueueMetrics, Metrics, ShedReason
from astec.server.metrics.stage_times import StageTimes
from astec.server.settings import Settings

logger = logging.getLogger(__name__)

SHED_REASONS: dict[type[BaseException], ShedReason] = {
    QueueFullError: "queue_full",
    DeadlineError: "deadline",
    ClosedError: "draining",
    CallerLeftError: "client_left",
    asyncio.CancelledError: "draining",  # A server that stops cancels what outlasts its patience.
}
MAX_EXPLAINING = 16
"""Explanations at once; each takes a thread for milliseconds, beside the batches."""

MAX_FILTERED_BATCH = 8
"""Queries with a filter that are computed at once; each may need every label that its filter allows."""

CacheKey = tuple[str, str | tuple[bytes, bytes], int, float, bool, Selection | None, Output]


class Service:
    """Ranks labels for queries, in batches, on threads of its own; loading, ready, draining, then stopping."""

    def __init__(self, settings: Settings, artifact: Artifact, metrics: Metrics) -> None:
        self.artifact = artifact
        model = artifact.manifest.model
        self.model_name = {"name": model.name, "version": model.version}
        calibration = artifact.manifest.calibration
        self.calibrator = None if calibration is None else Calibrator.of(calibration)
        self.state: Literal["loading", "ready", "draining", "stopping"] = "loading"
        self._settings = settings
        self._metrics = metrics
        self._explaining = 0
        self.examples = example_queries(artifact)
        self._filtered: Batcher[RankRequest, RankResult] | None = None
        self._cache = LruCache[CacheKey, RankResult](settings.cache_entries) if settings.cache_entries else None

    async def start(self) -> None:
        """Return once real predictions have warmed the model up. Called after a fork: here threads begin."""
        self.threads = InferenceThreads(self._settings.threads_per_worker)
        self._predictor = await self.threads.run(warm_predictor, self.artifact)
        self._inference = Inference(self._rank_batch, self.threads, self._settings.max_inline_s)
        threads = self._settings.threads_per_worker
        self._batcher = self._new_batcher(self._process, self._settings.max_batch_size, threads, self._metrics)
        if self.artifact.label_metadata is not None:
            self._filtered = self._start_filtering(self.artifact.label_metadata)
        # What lives now lives until the end. Out of the collector's sight, a collection takes microseconds instead of
        # the tens of milliseconds for which it would otherwise stop every thread.
        gc.collect()
        gc.freeze()
        # Answering leaves no circles, but a queue that fills looks like a heap that grows, over and over.
        self._gc_thresholds = gc.get_threshold()
        gc.set_threshold(50_000, 20, 20)
        self._metrics.serving(self.model_name["name"], self.model_name["version"])
        self.state = "ready"
        logger.info("serving model %(name)s, version %(version)s", self.model_name)

    def drain(self) -> None:
        """Answer on, but say to who asks that others should be asked."""
        self.state = "draining"

    async def stop(self) -> None:
        """Finish accepted work, then give the threads back."""
        self.state = "stopping"
        await self._batcher.drain()
        if self._filtered is not None:
            await self._filtered.drain()
            self._filter_threads.close()
        self.threads.close()
        gc.unfreeze()
        gc.set_threshold(*self._gc_thresholds)
        logger.info("drained")

    def has_room(self, queries: int) -> bool:
        """Whether the queue has places for so many queries; what the cache knows, or what fails, takes none."""
        is_queueing = self._cache is None and self.state in ("ready", "draining")
        return not is_queueing or self._batcher.has_room(queries)

    def check(self, query: Query) -> None:
        """Raise QueryKindError where the model cannot take this kind of query."""
        self._predictor.check(query)

    async def rank(self, requests: Sequence[RankRequest], caller: Caller | None) -> Answers[RankResult]:
        """Return the rankings in order, and how long they queued.

        Raises:
            QueueFullError, DeadlineError, ClosedError, CallerLeftError: As `Batcher.submit`.
        """
        try:
            if self._cache is None:
                batcher = self._batcher if self._filtered is None else self._batcher_of(requests, self._filtered)
                answers = await batcher.submit(requests, caller)
            else:
                answers = await self._recall(requests, caller, self._cache)
        except tuple(SHED_REASONS) as error:
            self._metrics.queries_shed(SHED_REASONS[type(error)], len(requests))
            raise
        empty = 0
        for result in answers.results:
            empty += result.is_empty()
        self._metrics.queries_ranked(len(requests), empty)
        return answers

    async def explain(self, query: Query, label_ids: Sequence[int]) -> Explanation:
        """Return why a query's labels were ranked as they are.

        Raises:
            QueueFullError: Others wait for that already, as many as there may be.
        """
        if self._explaining >= MAX_EXPLAINING:
            raise QueueFullError(f"{MAX_EXPLAINING} explanations are under way; there is no room for more.")
        self._explaining += 1
        try:
            return await self.threads.run(lambda labels: self._predictor.explainer.explain(query, labels), label_ids)
        finally:
            self._explaining -= 1

    async def _recall(
        self, requests: Sequence[RankRequest], caller: Caller | None, cache: LruCache[CacheKey, RankResult]
    ) -> Answers[RankResult]:
        """Answer from the cache what it knows, and compute only the rest."""
        keys = [self._cache_key(request) for request in requests]
        known = {position: result for position, key in enumerate(keys) if (result := cache.get(key)) is not None}
        unknown = [position for position in range(len(requests)) if position not in known]
        computed = Answers[RankResult]([], 0.0)
        if unknown:
            left = [requests[position] for position in unknown]
            batcher = self._batcher if self._filtered is None else self._batcher_of(left, self._filtered)
            computed = await batcher.submit(left, caller)
        for position, result in zip(unknown, computed.results, strict=True):
            cache.put(keys[position], result._replace(stages=None))
        self._metrics.cache_asked(len(known), len(unknown), len(cache))
        known.update(zip(unknown, computed.results, strict=True))
        return Answers([known[position] for position in range(len(requests))], computed.queue_s)

    def _cache_key(self, request: RankRequest) -> CacheKey:
        query, featurizer = request.query, self.artifact.featurizer
        if isinstance(query, Bag):
            name: str | tuple[bytes, bytes] = (query.ids.tobytes(), query.weights.tobytes())
        else:
            # Only a text featurizer takes texts. What it folds to the same words, it gives the same tokens.
            assert isinstance(featurizer, TextFeaturizer)  # noqa: S101
            name = " ".join(fold(query, featurizer.config.max_chars).split())
        return (
            self.model_name["version"],
            name,
            request.top_k,
            request.min_score,
            request.probabilities,
            request.selection,
            request.output,
        )

    def _batcher_of(
        self, requests: Sequence[RankRequest], filtered: Batcher[RankRequest, RankResult]
    ) -> Batcher[RankRequest, RankResult]:
        """Of what one client waits for together, some with a filter, all is computed as if it had one."""
        return filtered if any(request.selection is not None for request in requests) else self._batcher

    def _new_batcher(
        self,
        process: Callable[[list[RankRequest]], asyncio.Future[list[RankResult]]],
        max_batch_size: int,
        concurrency: int,
        observer: Observer,
    ) -> Batcher[RankRequest, RankResult]:
        return Batcher[RankRequest, RankResult](
            process,
            max_batch_size=max_batch_size,
            queue_capacity=self._settings.queue_capacity,
            concurrency=concurrency,
            timeout_s=self._settings.request_timeout_ms / 1e3,
            batch_timeout_us=self._settings.batch_timeout_us,
            observer=observer,
        )

    def _start_filtering(self, metadata: LabelMetadata) -> Batcher[RankRequest, RankResult]:
        """A queue and a thread for queries with a filter: one may take as long as a thousand others."""
        self._filter_threads = InferenceThreads(1)
        masks = LabelMasks(metadata)

        def process(requests: list[RankRequest]) -> asyncio.Future[list[RankResult]]:
            batch = self._filter_threads.run(partial(self._rank_filtered, masks), requests)
            batch.add_done_callback(self._note_stages)
            return batch

        size = min(MAX_FILTERED_BATCH, self._settings.max_batch_size)
        return self._new_batcher(process, size, 1, FilteredQueueMetrics(self._metrics))

    def _process(self, requests: list[RankRequest]) -> asyncio.Future[list[RankResult]]:
        batch = self._inference.run(requests)
        batch.add_done_callback(self._note_stages)  # In a later turn of the loop: clients come before metrics.
        return batch

    def _note_stages(self, batch: asyncio.Future[list[RankResult]]) -> None:
        if not batch.cancelled() and batch.exception() is None and (stages := batch.result()[0].stages) is not None:
            self._metrics.batch_computed(stages)

    def _rank_batch(self, requests: list[RankRequest]) -> list[RankResult]:
        """Run where `Inference` says."""
        most = [request.top_k for request in requests]
        return self._to_results(
            requests, most, *self._predictor.rank([request.query for request in requests], max(most))
        )

    def _rank_filtered(self, masks: LabelMasks, requests: list[RankRequest]) -> list[RankResult]:
        """Run on the thread for it, to which the masks belong."""
        most = [request.top_k for request in requests]
        allowed = [Allowed(masks.mask_of(request.selection), request.top_k) for request in requests]
        return self._to_results(
            requests, most, *self._predictor.rank([request.query for request in requests], max(most), allowed)
        )

    def _to_results(
        self, requests: list[RankRequest], most: list[int], rankings: Rankings, stages: StageTimes
    ) -> list[RankResult]:
        """Run where the batch is computed: label texts are read here, and a page fault blocks."""
        arrays = [b""] * len(requests)
        if any(request.output != "arrays" for request in requests):
            wanted = [0 if request.output == "arrays" else request.top_k for request in requests]
            least, probabilities_BK = (
                [request.min_score for request in requests],
                self._probabilities(requests, rankings.scores),
            )
            arrays = to_json(rankings, wanted, least, self.artifact.labels, probabilities_BK)
        return [
            RankResult(arrays[row], NO_LABELS, stages)
            if request.output == "json"
            else RankResult(
                b"" if request.output == "arrays" else arrays[row], self._labels(request, rankings, row), stages
            )
            for row, request in enumerate(requests)
        ]

    def _labels(self, request: RankRequest, rankings: Rankings, row: int) -> RankedLabels:
        """Return the labels of one query that its request asks for; copied, so that a cache does not keep the batch."""
        label_ids_K, scores_K = rankings.label_ids[row, : request.top_k], rankings.scores[row, : request.top_k]
        kept = np.count_nonzero((label_ids_K >= 0) & ~(scores_K < np.float32(request.min_score)))
        label_ids_K = label_ids_K[:kept].copy()
        texts = [self.artifact.labels[label_id] for label_id in label_ids_K.tolist()]
        return RankedLabels(label_ids_K, texts, scores_K[:kept].copy())

    def _probabilities(self, requests: Sequence[RankRequest], scores_BK: NDArray[np.float32]) -> NDArray[np.float32]:
        """Those of the requests that want them, NaN for the others; [0, 0] where none does."""
        if self.calibrator is None or not any(wanted := [request.probabilities for request in requests]):
            return NO_PROBABILITIES
        probabilities_BK = self.calibrator.probabilities(scores_BK)
        probabilities_BK[np.logical_not(wanted)] = np.nan
        return probabilities_BK
