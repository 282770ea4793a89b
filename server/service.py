"""The open model with its threads, its batcher and its cache: what the endpoints ask for rankings."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import orjson

from export.artifact.featurizer import Bag, Query, TextFeaturizer, fold
from export.artifact.store import Artifact
from server.batcher import Answer, Batcher, ClosedError, DeadlineError, QueueFullError
from server.cache import LruCache
from server.inference import Inference
from server.metrics import Metrics, ShedReason
from server.predictor import Ranking, StageTimes
from server.settings import Settings
from server.threads import InferenceThreads
from server.warmup import warm_predictor

logger = logging.getLogger(__name__)

SHED_REASONS: dict[type[BaseException], ShedReason] = {
    QueueFullError: "queue_full",
    DeadlineError: "deadline",
    ClosedError: "draining",
    asyncio.CancelledError: "client_left",
}
NO_PREDICTIONS = b"[]"

CacheKey = tuple[str, str | tuple[bytes, bytes], int, float]


class Ask(NamedTuple):
    """One query and how much of its ranking is wanted."""

    query: Query
    top_k: int
    min_score: float


class Ranked(NamedTuple):
    """The answer to one ask: the JSON array of its labels, best first, and the stage times of its batch."""

    predictions: bytes
    stages: StageTimes | None  # None: nothing was computed, the answer was in the cache.


class Service:
    """Ranks labels for queries, in batches, on threads of its own; loading, then ready, then draining."""

    def __init__(self, settings: Settings, artifact: Artifact, metrics: Metrics) -> None:
        self.artifact = artifact
        model = artifact.manifest.model
        self.model_name = {"name": model.name, "version": model.version}
        self.state: Literal["loading", "ready", "draining"] = "loading"
        self._settings = settings
        self._metrics = metrics
        self._cache = LruCache[CacheKey, bytes](settings.cache_entries) if settings.cache_entries else None

    async def start(self) -> None:
        """Return once real predictions have warmed the model up. Called after a fork: here threads begin."""
        self.threads = InferenceThreads(self._settings.threads_per_worker)
        self._predictor = await self.threads.run(warm_predictor, self.artifact)
        self._inference = Inference(self._rank_batch, self.threads, self._settings.max_inline_s)
        self._batcher = Batcher[Ask, Ranked](
            self._process,
            max_batch_size=self._settings.max_batch_size,
            queue_capacity=self._settings.queue_capacity,
            concurrency=self._settings.threads_per_worker,
            timeout_s=self._settings.request_timeout_ms / 1e3,
            batch_timeout_us=self._settings.batch_timeout_us,
            observer=self._metrics,
        )
        # What lives now lives until the end. Out of the collector's sight, a collection takes microseconds instead of
        # the tens of milliseconds for which it would otherwise stop every thread.
        gc.collect()
        gc.freeze()
        self._metrics.serving(self.model_name["name"], self.model_name["version"])
        self.state = "ready"
        logger.info("serving model %(name)s, version %(version)s", self.model_name)

    async def stop(self) -> None:
        """Finish accepted work, then give the threads back."""
        self.state = "draining"
        await self._batcher.drain()
        self.threads.close()
        gc.unfreeze()
        logger.info("drained")

    def check(self, query: Query) -> None:
        """Raise QueryKindError where the model cannot take this kind of query."""
        self._predictor.check(query)

    async def rank(self, asks: Sequence[Ask]) -> list[Answer[Ranked]]:
        """Return the rankings in order, each with the time it queued.

        Raises:
            QueueFullError, DeadlineError, ClosedError: As `Batcher.submit`.
        """
        answers = await (self._compute(asks) if self._cache is None else self._recall(asks, self._cache))
        empty = 0
        for answer in answers:
            empty += answer.result.predictions == NO_PREDICTIONS
        self._metrics.queries_ranked(len(answers), empty)
        return answers

    async def _compute(self, asks: Sequence[Ask]) -> list[Answer[Ranked]]:
        try:
            return await self._batcher.submit(asks)
        except tuple(SHED_REASONS) as error:
            self._metrics.queries_shed(SHED_REASONS[type(error)], len(asks))
            raise

    async def _recall(self, asks: Sequence[Ask], cache: LruCache[CacheKey, bytes]) -> list[Answer[Ranked]]:
        """Answer from the cache what it knows, and compute only the rest."""
        keys = [self._cache_key(ask) for ask in asks]
        known = {
            position: Answer(Ranked(predictions, None), 0.0)
            for position, key in enumerate(keys)
            if (predictions := cache.get(key)) is not None
        }
        unknown = [position for position in range(len(asks)) if position not in known]
        computed = await self._compute([asks[position] for position in unknown]) if unknown else []
        for position, answer in zip(unknown, computed, strict=True):
            cache.put(keys[position], answer.result.predictions)
        self._metrics.cache_asked(len(known), len(unknown), len(cache))
        known.update(zip(unknown, computed, strict=True))
        return [known[position] for position in range(len(asks))]

    def _cache_key(self, ask: Ask) -> CacheKey:
        query, featurizer = ask.query, self.artifact.featurizer
        if isinstance(query, Bag):
            name: str | tuple[bytes, bytes] = (query.ids.tobytes(), query.weights.tobytes())
        else:
            # Only a text featurizer takes texts. What it folds to the same words, it gives the same tokens.
            assert isinstance(featurizer, TextFeaturizer)  # noqa: S101
            name = " ".join(fold(query, featurizer.config.max_chars).split())
        return self.model_name["version"], name, ask.top_k, ask.min_score

    def _process(self, asks: list[Ask]) -> asyncio.Future[list[Ranked]]:
        batch = self._inference.run(asks)
        batch.add_done_callback(self._note_stages)
        return batch

    def _note_stages(self, batch: asyncio.Future[list[Ranked]]) -> None:
        if not batch.cancelled() and batch.exception() is None and (stages := batch.result()[0].stages) is not None:
            self._metrics.batch_computed(stages)

    def _rank_batch(self, asks: list[Ask]) -> list[Ranked]:
        """Run where `Inference` says; label texts are read here too, because a page fault blocks."""
        rankings, stages = self._predictor.predict([ask.query for ask in asks], max([ask.top_k for ask in asks]))
        return [Ranked(self._to_json(ranking, ask), stages) for ask, ranking in zip(asks, rankings, strict=True)]

    def _to_json(self, ranking: Ranking, ask: Ask) -> bytes:
        label_ids, scores = ranking.label_ids, ranking.scores
        kept = ask.top_k
        if ask.min_score > 0:
            kept = int(np.count_nonzero(scores[:kept] >= ask.min_score))  # Scores descend, so a count is a cut.
        if kept < len(scores):
            label_ids, scores = label_ids[:kept], scores[:kept]
        ids = label_ids.tolist()  # As many as scores; to have zip check it takes 0.65 us a query.
        predictions = [
            {"label_id": label_id, "label": label, "score": score}
            for label_id, label, score in zip(ids, self.artifact.labels.take(ids), scores)  # noqa: B905
        ]
        # numpy's float32 in its own shortest form: 0.7310586, not the 0.7310585975646973 of the nearest double.
        return orjson.dumps(predictions, option=orjson.OPT_SERIALIZE_NUMPY)
