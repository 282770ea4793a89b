"""The open model with its threads and its batcher: what the endpoints ask for rankings."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from export.artifact.featurizer import Bag, Query, QueryKindError
from export.artifact.store import Artifact, open_artifact
from server.batcher import Answer, Batcher, ClosedError, DeadlineError, QueueFullError
from server.metrics import Metrics, ShedReason
from server.predictor import Predictor, StageTimes
from server.settings import Settings

logger = logging.getLogger(__name__)

WARM_UP_QUERIES = 8

SHED_REASONS: dict[type[BaseException], ShedReason] = {
    QueueFullError: "queue_full",
    DeadlineError: "deadline",
    ClosedError: "draining",
    asyncio.CancelledError: "client_left",
}


@dataclass(frozen=True, slots=True)
class Ask:
    """One query and how much of its ranking is wanted."""

    query: Query
    top_k: int
    min_score: float


@dataclass(frozen=True, slots=True)
class Ranked:
    """The answer to one ask: K labels, best first, and the stage times of the batch it was computed in."""

    label_ids: NDArray[np.int64]  # [K]
    labels: list[str]  # [K]
    scores: NDArray[np.float32]  # [K]
    stages: StageTimes


class Service:
    """Ranks labels for queries, in batches, on threads of its own."""

    def __init__(
        self, predictor: Predictor, executor: ThreadPoolExecutor, settings: Settings, metrics: Metrics
    ) -> None:
        self.artifact: Artifact = predictor.artifact
        self.executor = executor
        model = self.artifact.manifest.model
        self.model_name = {"name": model.name, "version": model.version}
        self.draining = False
        self._predictor = predictor
        self._timeout_s = settings.request_timeout_ms / 1e3
        self._metrics = metrics
        self._batcher = Batcher[Ask, Ranked](
            self._process,
            max_batch_size=settings.max_batch_size,
            queue_capacity=settings.queue_capacity,
            concurrency=settings.threads_per_worker,
            batch_timeout_us=settings.batch_timeout_us,
            observer=metrics,
        )

    @classmethod
    async def start(cls, settings: Settings, metrics: Metrics) -> Service:
        """Open the artifact and return once real predictions have warmed it up.

        Raises:
            ArtifactError: The artifact does not verify.
        """
        executor = ThreadPoolExecutor(settings.threads_per_worker, thread_name_prefix="inference")
        predictor = await asyncio.get_running_loop().run_in_executor(executor, _open_warm, settings)
        model = predictor.artifact.manifest.model
        metrics.serving(model.name, model.version)
        logger.info(
            "serving model %s, version %s, %d labels", model.name, model.version, len(predictor.artifact.labels)
        )
        return cls(predictor, executor, settings, metrics)

    def check(self, query: Query) -> None:
        """Raise QueryKindError where the model cannot take this kind of query."""
        self._predictor.check(query)

    async def rank(self, asks: Sequence[Ask]) -> list[Answer[Ranked]]:
        """Return the rankings in order, each with the time it queued.

        Raises:
            QueueFullError, DeadlineError, ClosedError: As `Batcher.submit`.
        """
        try:
            answers = await self._batcher.submit(asks, self._timeout_s)
        except tuple(SHED_REASONS) as error:
            self._metrics.queries_shed(SHED_REASONS[type(error)], len(asks))
            raise
        self._metrics.queries_ranked(len(answers), sum(not answer.result.labels for answer in answers))
        return answers

    async def stop(self) -> None:
        """Finishes accepted work, then gives the threads back."""
        self.draining = True
        await self._batcher.drain()
        self.executor.shutdown()
        logger.info("drained")

    async def _process(self, asks: list[Ask]) -> list[Ranked]:
        ranked = await asyncio.get_running_loop().run_in_executor(self.executor, self._compute, asks)
        self._metrics.batch_computed(ranked[0].stages)
        return ranked

    def _compute(self, asks: list[Ask]) -> list[Ranked]:
        """Run on an inference thread; label texts are read here too, because a page fault blocks."""
        rankings, stages = self._predictor.predict([ask.query for ask in asks], max(ask.top_k for ask in asks))
        labels = self.artifact.labels
        batch = []
        for ask, ranking in zip(asks, rankings, strict=True):
            # Scores descend, so a count is a cut.
            kept = int(np.count_nonzero(ranking.scores[: ask.top_k] >= ask.min_score))
            label_ids = ranking.label_ids[:kept]
            texts = [labels[label_id] for label_id in label_ids.tolist()]
            batch.append(Ranked(label_ids, texts, ranking.scores[:kept], stages))
        return batch


def _open_warm(settings: Settings) -> Predictor:
    predictor = Predictor(open_artifact(settings.artifact))
    queries = _warm_up_queries(predictor)
    # Once as a batch and once alone: a first call compiles, allocates and touches pages.
    predictor.predict(queries, 5)
    predictor.predict(queries[:1], 5)
    return predictor


def _warm_up_queries(predictor: Predictor) -> list[Query]:
    """Return queries that reach every stage: label texts where the model takes text, else its first feature."""
    labels = predictor.artifact.labels
    texts: list[Query] = [labels[label_id] for label_id in range(min(WARM_UP_QUERIES, len(labels)))]
    try:
        predictor.check(texts[0])
    except QueryKindError:
        return [Bag(np.zeros(1, dtype=np.int32), np.ones(1, dtype=np.float32))]
    return texts
