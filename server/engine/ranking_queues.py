"""The queues in which rank requests wait to be computed in batches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from astec.export.artifact.labels.metadata import LabelMetadata
from astec.server.engine.batch_ranker import BatchRanker
from astec.server.engine.batching.batch_runner import BatchRunner
from astec.server.engine.batching.batcher import Answers, Batcher, Caller, Observer
from astec.server.engine.batching.threads import InferenceThreads
from astec.server.engine.labels.label_masks import LabelMasks
from astec.server.engine.rank_request import RankRequest, RankResult
from astec.server.metrics.board import FilteredQueueMetrics, Metrics
from astec.server.settings import Settings

MAX_FILTERED_BATCH = 8
"""The most queries with a label filter in a batch; each may need every label that its filter allows."""

Queue = Batcher[RankRequest, RankResult]
StartBatch = Callable[[list[RankRequest]], "asyncio.Future[list[RankResult]]"]


class RankingQueues:
    """The queue of plain queries, and a second one for queries with a label filter.

    A query with a filter may take as long as a thousand plain ones, so these have a queue and a thread of their own.
    A model without label metadata takes no filters and has the first queue only. Belongs to the event loop that makes
    it.

    Args:
        settings: The server's settings: sizes of queues and batches, and timeouts.
        metrics: Where queues, batches and stage times are recorded.
        ranker: The computation of a batch.
        threads: The threads for plain queries.
        metadata: The label metadata of the model; None where it has none.
    """

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        ranker: BatchRanker,
        threads: InferenceThreads,
        metadata: LabelMetadata | None,
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        runner = BatchRunner(ranker.rank, threads, settings.max_inline_s)
        self._plain = self._queue(runner.run, settings.max_batch_size, settings.threads_per_worker, metrics)
        self.has_room = self._plain.has_room
        self.enqueue_plain = self._plain.enqueue
        self._filtered: Queue | None = None
        if metadata is not None:
            self._filter_thread = InferenceThreads(1)
            rank = partial(self._filter_thread.run, partial(ranker.rank_filtered, LabelMasks(metadata)))
            size = min(MAX_FILTERED_BATCH, settings.max_batch_size)
            self._filtered = self._queue(rank, size, 1, FilteredQueueMetrics(metrics))

    async def submit(self, requests: Sequence[RankRequest], caller: Caller | None) -> Answers[RankResult]:
        """Queue the requests of one client and return their results. Raises as `Batcher.submit`.

        If one of them has a filter, all are computed as requests with a filter.
        """
        queue = self._plain
        if self._filtered is not None and any(request.selection is not None for request in requests):
            queue = self._filtered
        return await queue.submit(requests, caller)

    async def close(self) -> None:
        """Refuse new requests, and return once all accepted requests are answered."""
        await self._plain.drain()
        if self._filtered is not None:
            await self._filtered.drain()
            self._filter_thread.close()

    def _queue(self, start: StartBatch, max_batch_size: int, concurrency: int, observer: Observer) -> Queue:
        def start_batch(requests: list[RankRequest]) -> asyncio.Future[list[RankResult]]:
            batch = start(requests)
            batch.add_done_callback(self._record_stages)  # In a later turn of the loop: clients come before metrics.
            return batch

        return Queue(
            start_batch,
            max_batch_size=max_batch_size,
            queue_capacity=self._settings.queue_capacity,
            concurrency=concurrency,
            timeout_s=self._settings.request_timeout_ms / 1e3,
            batch_timeout_us=self._settings.batch_timeout_us,
            observer=observer,
        )

    def _record_stages(self, batch: asyncio.Future[list[RankResult]]) -> None:
        if not batch.cancelled() and batch.exception() is None and (stages := batch.result()[0].stages) is not None:
            self._metrics.batch_computed(stages)
