"""The open model and what surrounds it: the one object that the endpoints ask for rankings."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

from astec.export.artifact.labels.metadata import LabelMetadata
from astec.export.artifact.manifest import Manifest
from astec.export.artifact.scoring.calibrator import Calibrator
from astec.export.artifact.shortlist.hidden import Hidden
from astec.export.artifact.store import Artifact
from astec.export.artifact.text.bags import Query
from astec.server.engine.batch_ranker import MEASURED_EVERY, BatchRanker
from astec.server.engine.batching.batcher import (
    Answers,
    Caller,
    CallerLeftError,
    ClosedError,
    DeadlineError,
    QueueFullError,
    Waiting,
)
from astec.server.engine.batching.threads import InferenceThreads
from astec.server.engine.examples import example_queries
from astec.server.engine.explanations.explanation import Explanation
from astec.server.engine.garbage_collector import QuietCollector
from astec.server.engine.labels.block_list import BlockList
from astec.server.engine.rank_request import RankRequest, RankResult
from astec.server.engine.ranking_queues import RankingQueues
from astec.server.engine.result_cache import ResultCache
from astec.server.engine.upstream.ranking_service import PlainQueue, RankSpan, State
from astec.server.engine.warmup import warm_predictor
from astec.server.metrics.board import Metrics, ShedReason
from astec.server.settings import Settings

logger = logging.getLogger(__name__)

SHED_REASONS: dict[type[BaseException], ShedReason] = {
    QueueFullError: "queue_full",
    DeadlineError: "deadline",
    ClosedError: "draining",
    CallerLeftError: "client_left",
    asyncio.CancelledError: "draining",  # A server that stops cancels the requests that outlast its timeout.
}
_BLOCK_LIST_REFRESH_S = 0.5
MAX_EXPLAINING = 16
"""The most explanations at a time; each takes an inference thread for milliseconds, beside the batches."""


class Service:
    """Ranks labels for queries: the lifecycle of the model, and a facade of its queues, cache and explanations.

    May be made before a fork; threads and queues begin with `start`. Belongs to one event loop from then on.

    Args:
        settings: The server's settings.
        artifact: The open model.
        metrics: Where this worker's queries are recorded.
        block_list: Labels that no answer may name; None where no label can be blocked.
        name: The name under which the model is served; empty: the name in its manifest.

    Attributes:
        metrics: Where this worker's queries to this model are recorded.
        model_name: The name under which the model is served, and its version.
        is_named: Whether the name is not that of the manifest.
        state: `draining` still answers queries; `stopping` refuses new ones.
        examples: Queries to try the model with.
        calibrator: The map from scores to probabilities; None where the model has none.
    """

    merges = False

    def __init__(
        self,
        settings: Settings,
        artifact: Artifact,
        metrics: Metrics,
        block_list: BlockList | None = None,
        name: str = "",
    ) -> None:
        self.artifact = artifact
        model = artifact.manifest.model
        self.model_name = {"name": name or model.name, "version": model.version}
        self.is_named = bool(name)
        calibration = artifact.manifest.calibration
        self.calibrator = None if calibration is None else Calibrator.of(calibration)
        self._block_list = block_list
        self._watch: asyncio.Task[None] | None = None
        self.state: State = "loading"
        self._settings = settings
        self.metrics = metrics
        self._collector = QuietCollector()
        self._explaining = 0
        self._unrecorded = 0
        entries = settings.cache_entries
        self._cache = ResultCache(entries, artifact.featurizer, metrics) if entries else None
        self._use_block_list()

    @property
    def label_metadata(self) -> LabelMetadata | None:
        """The attributes by which requests filter labels; None: there are none."""
        return self.artifact.label_metadata

    @property
    def has_probabilities(self) -> bool:
        """Whether the model knows how likely a label is right."""
        return self.calibrator is not None

    @property
    def plain_queue(self) -> PlainQueue | None:
        """Where requests without a filter can be queued; None with a cache, which is asked first."""
        return self if self._cache is None else None

    @property
    def shard(self) -> Manifest | None:
        """The manifest, if the model is a shard of another one; else None."""
        return None if self.artifact.shard is None else self.artifact.manifest

    def describe(self) -> dict[str, Any]:
        """Return the public part of the manifest, and a few queries to try as `examples`."""
        return self.artifact.manifest.public() | {"examples": self.examples}

    def loading_reason(self) -> str:
        """Return why the state is "loading"."""
        return "The model is loading."

    def missing_shards(self) -> str:
        """Return nothing: the model is here."""
        return ""

    async def start(self) -> None:
        """Start the threads, and return once real predictions have warmed the model up. Called after the fork."""
        self.threads = InferenceThreads(self._settings.threads_per_worker)
        self._predictor = await self.threads.run(warm_predictor, self.artifact)
        if self._block_list is not None:
            await self._refresh_block_list(self._block_list)  # The parent may have read the file long ago.
            self._use_block_list()
            self._watch = asyncio.create_task(self._watch_block_list(self._block_list))
        # To record the signals of a cached result, they must have been measured when it was computed.
        measured_every = MEASURED_EVERY if self._cache is None else 1
        ranker = BatchRanker(self._predictor, self.calibrator, self._block_list, measured_every)
        self._queues = RankingQueues(self._settings, self.metrics, ranker, self.threads, self.artifact.label_metadata)
        self._collector.start()
        self.metrics.serving(self.model_name["name"], self.model_name["version"], self.artifact.signals)
        self.state = "ready"
        logger.info("serving model %(name)s, version %(version)s", self.model_name)

    def drain(self) -> None:
        """Go on answering, but report that new clients should ask another server."""
        self.state = "draining"

    async def stop(self) -> None:
        """Finish the accepted work, then end the threads."""
        self.state = "stopping"
        if self._watch is not None:
            self._watch.cancel()
        await self._queues.close()
        self.threads.close()
        self._collector.stop()
        logger.info("drained")

    def has_room(self, queries: int) -> bool:
        """Return whether the queue has room for so many queries; with a cache, always: a hit needs no place in it."""
        is_queueing = self._cache is None and self.state in ("ready", "draining")
        return not is_queueing or self._queues.has_room(queries)

    def check(self, query: Query) -> None:
        """Raise QueryKindError if the model cannot read this kind of query."""
        self.artifact.check(query)

    async def rank(
        self, requests: Sequence[RankRequest], caller: Caller | None, span: RankSpan | None = None
    ) -> Answers[RankResult]:
        """Return the results in order, and how long the requests queued; report both to the span, if there is one.

        Raises:
            QueueFullError, DeadlineError, ClosedError, CallerLeftError: As `Batcher.submit`.
        """
        number = 0 if span is None else span.submitted(len(requests))
        try:
            if self._cache is None:
                answers = await self._queues.submit(requests, caller)
            else:
                answers = await self._cache.rank(requests, partial(self._queues.submit, caller=caller))
        except tuple(SHED_REASONS) as error:
            self.not_ranked(requests, caller, error)
            raise
        if span is not None:
            span.ranked(number, answers)
        self.ranked(requests, answers)
        return answers

    def enqueue(self, requests: Sequence[RankRequest], caller: Caller | None, waiting: Waiting[RankResult]) -> None:
        """Queue requests without a label filter; who waits passes the outcome on to `ranked` or `not_ranked`.

        A coroutine, a future and their callbacks cost a few microseconds, more than everything else between a request
        and its batch.

        Raises:
            QueueFullError, ClosedError: As `Batcher.submit`.
        """
        self._queues.enqueue_plain(requests, caller, waiting)

    def ranked(self, requests: Sequence[RankRequest], answers: Answers[RankResult]) -> None:
        """Record the answers to queued requests."""
        self.metrics.queries_ranked(len(requests), sum([result.is_empty() for result in answers.results]))
        self._record_signals(answers.results)
        if self._block_list is not None:
            self.metrics.labels_taken_out(sum([result.without_blocked for result in answers.results]))

    def not_ranked(self, requests: Sequence[RankRequest], caller: Caller | None, error: BaseException) -> None:
        """Count requests that have no answers because they were shed."""
        if type(error) not in SHED_REASONS:
            return
        # gRPC cancels the calls of clients that leave.
        has_left = isinstance(error, asyncio.CancelledError) and caller is not None and caller.disconnected
        self.metrics.queries_shed("client_left" if has_left else SHED_REASONS[type(error)], len(requests))

    async def explanation_of(self, request: RankRequest, result: RankResult) -> bytes:
        """Return why the labels of a result are ranked as they are, as JSON. Raises as `explain`."""
        explanation = await self.explain(request.query, result.labels.label_ids.tolist())
        return explanation.model_dump_json().encode()

    async def explain(self, query: Query, label_ids: Sequence[int]) -> Explanation:
        """Return why the labels of a query are ranked as they are.

        Raises:
            QueueFullError: `MAX_EXPLAINING` explanations are under way.
        """
        if self._explaining >= MAX_EXPLAINING:
            raise QueueFullError(f"{MAX_EXPLAINING} explanations are under way; there is no room for more.")
        self._explaining += 1
        try:
            explain = partial(self._predictor.explainer.explain, query, hidden=self._hidden)
            return await self.threads.run(explain, label_ids)
        finally:
            self._explaining -= 1

    def _record_signals(self, results: Sequence[RankResult]) -> None:
        """Record the signals of one query in `MEASURED_EVERY`; without a cache, no others have been measured."""
        for result in results:
            if result.signals is None:
                continue
            self._unrecorded += 1
            if self._cache is None or self._unrecorded >= MEASURED_EVERY:
                self._unrecorded = 0
                self.metrics.query_measured(result.signals)

    @property
    def _hidden(self) -> Hidden | None:
        """The labels that no answer may name; None: there is none."""
        return self.artifact.removed if self._block_list is None else self._block_list.hidden

    async def _watch_block_list(self, block_list: BlockList) -> None:
        """Look at the file of blocked labels until cancelled, so often that a change is in force within a second."""
        while True:
            await asyncio.sleep(_BLOCK_LIST_REFRESH_S)
            try:
                if await self._refresh_block_list(block_list):
                    self._use_block_list()
            except Exception:
                logger.exception("the file of blocked labels was not looked at")

    async def _refresh_block_list(self, block_list: BlockList) -> bool:
        # On a thread, because to find many texts among the labels takes longer than requests should wait.
        return await asyncio.to_thread(block_list.refresh)

    def _use_block_list(self) -> None:
        """Forget what was made with an older list; batches use the new one already."""
        if self._cache is not None:
            self._cache.clear()
        self.examples = example_queries(self.artifact, self._hidden)
        if self._block_list is not None:
            self.metrics.labels_blocked(self._block_list.blocked)
