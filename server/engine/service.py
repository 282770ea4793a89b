"""The open model with its threads, its batcher and its cache: what the endpoints ask for rankings."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, NamedTuple

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
NO_PREDICTIONS = b"[]"
MAX_EXPLAINING = 16
"""Explanations at once; each takes a thread for milliseconds, beside the batches."""

MAX_FILTERED_BATCH = 8
"""Queries with a filter that are computed at once; each may need every label that its filter allows."""

CacheKey = tuple[str, str | tuple[bytes, bytes], int, float, bool, Selection | None]


class Ask(NamedTuple):
    """One query, how much of its ranking is wanted, and of which labels (None: of all)."""

    query: Query
    top_k: int
    min_score: float
    probabilities: bool
    selection: Selection | None = None


class Ranked(NamedTuple):
    """The answer to one ask: the JSON array of its labels, best first, and the stage times of its batch."""

    predictions: bytes
    stages: StageTimes | None  # None: nothing was computed, the answer was in the cache.


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
        self._filtered: Batcher[Ask, Ranked] | None = None
        self._cache = LruCache[CacheKey, bytes](settings.cache_entries) if settings.cache_entries else None

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

    async def rank(self, asks: Sequence[Ask], caller: Caller | None) -> Answers[Ranked]:
        """Return the rankings in order, and how long they queued.

        Raises:
            QueueFullError, DeadlineError, ClosedError, CallerLeftError: As `Batcher.submit`.
        """
        try:
            if self._cache is None:
                batcher = self._batcher if self._filtered is None else self._batcher_of(asks, self._filtered)
                answers = await batcher.submit(asks, caller)
            else:
                answers = await self._recall(asks, caller, self._cache)
        except tuple(SHED_REASONS) as error:
            self._metrics.queries_shed(SHED_REASONS[type(error)], len(asks))
            raise
        empty = 0
        for ranked in answers.results:
            empty += ranked.predictions == NO_PREDICTIONS
        self._metrics.queries_ranked(len(asks), empty)
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
        self, asks: Sequence[Ask], caller: Caller | None, cache: LruCache[CacheKey, bytes]
    ) -> Answers[Ranked]:
        """Answer from the cache what it knows, and compute only the rest."""
        keys = [self._cache_key(ask) for ask in asks]
        known = {
            position: Ranked(predictions, None)
            for position, key in enumerate(keys)
            if (predictions := cache.get(key)) is not None
        }
        unknown = [position for position in range(len(asks)) if position not in known]
        computed = Answers[Ranked]([], 0.0)
        if unknown:
            left = [asks[position] for position in unknown]
            batcher = self._batcher if self._filtered is None else self._batcher_of(left, self._filtered)
            computed = await batcher.submit(left, caller)
        for position, ranked in zip(unknown, computed.results, strict=True):
            cache.put(keys[position], ranked.predictions)
        self._metrics.cache_asked(len(known), len(unknown), len(cache))
        known.update(zip(unknown, computed.results, strict=True))
        return Answers([known[position] for position in range(len(asks))], computed.queue_s)

    def _cache_key(self, ask: Ask) -> CacheKey:
        query, featurizer = ask.query, self.artifact.featurizer
        if isinstance(query, Bag):
            name: str | tuple[bytes, bytes] = (query.ids.tobytes(), query.weights.tobytes())
        else:
            # Only a text featurizer takes texts. What it folds to the same words, it gives the same tokens.
            assert isinstance(featurizer, TextFeaturizer)  # noqa: S101
            name = " ".join(fold(query, featurizer.config.max_chars).split())
        return self.model_name["version"], name, ask.top_k, ask.min_score, ask.probabilities, ask.selection

    def _batcher_of(self, asks: Sequence[Ask], filtered: Batcher[Ask, Ranked]) -> Batcher[Ask, Ranked]:
        """Of what one client waits for together, some with a filter, all is computed as if it had one."""
        return filtered if any(ask.selection is not None for ask in asks) else self._batcher

    def _new_batcher(
        self,
        process: Callable[[list[Ask]], asyncio.Future[list[Ranked]]],
        max_batch_size: int,
        concurrency: int,
        observer: Observer,
    ) -> Batcher[Ask, Ranked]:
        return Batcher[Ask, Ranked](
            process,
            max_batch_size=max_batch_size,
            queue_capacity=self._settings.queue_capacity,
            concurrency=concurrency,
            timeout_s=self._settings.request_timeout_ms / 1e3,
            batch_timeout_us=self._settings.batch_timeout_us,
            observer=observer,
        )

    def _start_filtering(self, metadata: LabelMetadata) -> Batcher[Ask, Ranked]:
        """A queue and a thread for queries with a filter: one may take as long as a thousand others."""
        self._filter_threads = InferenceThreads(1)
        masks = LabelMasks(metadata)

        def process(asks: list[Ask]) -> asyncio.Future[list[Ranked]]:
            batch = self._filter_threads.run(partial(self._rank_filtered, masks), asks)
            batch.add_done_callback(self._note_stages)
            return batch

        size = min(MAX_FILTERED_BATCH, self._settings.max_batch_size)
        return self._new_batcher(process, size, 1, FilteredQueueMetrics(self._metrics))

    def _process(self, asks: list[Ask]) -> asyncio.Future[list[Ranked]]:
        batch = self._inference.run(asks)
        batch.add_done_callback(self._note_stages)  # In a later turn of the loop: clients come before metrics.
        return batch

    def _note_stages(self, batch: asyncio.Future[list[Ranked]]) -> None:
        if not batch.cancelled() and batch.exception() is None and (stages := batch.result()[0].stages) is not None:
            self._metrics.batch_computed(stages)

    def _rank_batch(self, asks: list[Ask]) -> list[Ranked]:
        """Run where `Inference` says."""
        most = [ask.top_k for ask in asks]
        return self._to_json(asks, most, *self._predictor.rank([ask.query for ask in asks], max(most)))

    def _rank_filtered(self, masks: LabelMasks, asks: list[Ask]) -> list[Ranked]:
        """Run on the thread for it, to which the masks belong."""
        most = [ask.top_k for ask in asks]
        allowed = [Allowed(masks.mask_of(ask.selection), ask.top_k) for ask in asks]
        return self._to_json(asks, most, *self._predictor.rank([ask.query for ask in asks], max(most), allowed))

    def _to_json(self, asks: list[Ask], most: list[int], rankings: Rankings, stages: StageTimes) -> list[Ranked]:
        """Run where the batch is computed: label texts are read here, and a page fault blocks."""
        least, probabilities_BK = [ask.min_score for ask in asks], self._probabilities(asks, rankings.scores)
        arrays = to_json(rankings, most, least, self.artifact.labels, probabilities_BK)
        return [Ranked(predictions, stages) for predictions in arrays]

    def _probabilities(self, asks: Sequence[Ask], scores_BK: NDArray[np.float32]) -> NDArray[np.float32]:
        """Those of the asks that want them, NaN for the others; [0, 0] where none does."""
        if self.calibrator is None or not any(wanted := [ask.probabilities for ask in asks]):
            return NO_PROBABILITIES
        probabilities_BK = self.calibrator.probabilities(scores_BK)
        probabilities_BK[np.logical_not(wanted)] = np.nan
        return probabilities_BK
