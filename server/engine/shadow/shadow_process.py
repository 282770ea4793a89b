"""The process of a model in the shadow: it ranks what other models answered, and counts how far they agree."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Sequence

from astec.export.artifact.store import Artifact
from astec.server.engine.batch_ranker import BatchRanker
from astec.server.engine.labels.block_list import BlockList
from astec.server.engine.rank_request import RankRequest, RankResult
from astec.server.engine.shadow.overlap import overlap_at
from astec.server.engine.shadow.shadow_channel import Answered, ShadowChannel
from astec.server.engine.warmup import warm_predictor
from astec.server.metrics.board import OVERLAP_RANKS, Metrics

logger = logging.getLogger(__name__)

_WAIT_S = 0.25
_REFRESH_S = 0.5
_HEARTBEAT_S = 1.0
_MAX_BATCH = 8


class ShadowRanker:
    """Ranks with the model in the shadow, and compares with what was answered.

    Args:
        artifact: The model in the shadow.
        block_list: Labels that no answer may name; None where no label can be blocked.
        metrics: The metrics of this model in this process.
        name: The name under which it is served.
    """

    def __init__(self, artifact: Artifact, block_list: BlockList | None, metrics: Metrics, name: str) -> None:
        self._predictor = warm_predictor(artifact)
        self._ranker = BatchRanker(self._predictor, None, block_list)
        self._metrics = metrics
        self._has_failed = False
        metrics.serving(name, artifact.manifest.model.version, artifact.signals)

    def compare(self, answered: Sequence[Answered]) -> None:
        """Rank the queries of some answers, and record how far the rankings agree with the answers."""
        requests = [RankRequest(one.query, one.top_k, one.min_score, False, output="arrays") for one in answered]
        try:
            for request in requests:
                self._predictor.check(request.query)
            results = self._ranker.rank(requests)
        except Exception as error:  # of any library
            if len(answered) > 1:  # Only the faulty query is left out.
                for one in answered:
                    self.compare([one])
            else:
                self._fail(error)
            return
        self._metrics.batch_formed([0.0] * len(results))
        self._record(answered, results)

    def _record(self, answered: Sequence[Answered], results: Sequence[RankResult]) -> None:
        self._metrics.queries_ranked(len(results), sum([result.is_empty() for result in results]))
        if results[0].stages is not None:
            self._metrics.batch_computed(results[0].stages)
        for one, result in zip(answered, results, strict=True):
            if result.signals is not None:
                self._metrics.query_measured(result.signals)
            # Fewer labels were asked for than some overlaps are of.
            asked = [ranks for ranks in OVERLAP_RANKS if ranks <= one.top_k]
            self._metrics.compared({ranks: overlap_at(ranks, one.labels, result.labels.texts) for ranks in asked})

    def _fail(self, error: Exception) -> None:
        self._metrics.not_compared("failed", 1)
        if not self._has_failed:  # Others would only repeat it.
            self._has_failed = True
            logger.error("the model in the shadow does not rank a query that was answered", exc_info=error)


class StopSignal:
    """Notes that this process is asked to stop, which would be an error in the midst of a kernel.

    Attributes:
        came: Whether it was asked.
    """

    def __init__(self) -> None:
        self.came = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)

    def _note(self, *_: object) -> None:
        self.came = True


def run_shadow(
    ranker: ShadowRanker,
    block_list: BlockList | None,
    channel: ShadowChannel,
    heartbeat: Callable[[], bool],
    stop: StopSignal,
) -> None:
    """Compare whatever comes through the channel, until the parent has died or this process is asked to stop.

    It runs in a process of its own, and not on a thread of a worker: answers would have to wait for Python's global
    lock while such a thread holds it, the longer the lower its priority.
    """
    next_heartbeat_s = next_refresh_s = 0.0
    while not stop.came:
        now_s = time.monotonic()
        if now_s >= next_heartbeat_s:
            next_heartbeat_s = now_s + _HEARTBEAT_S
            if not heartbeat():
                return
        if block_list is not None and now_s >= next_refresh_s:
            next_refresh_s = now_s + _REFRESH_S
            block_list.refresh()
        answered = channel.receive(_WAIT_S)
        for begin in range(0, len(answered), _MAX_BATCH):
            ranker.compare(answered[begin : begin + _MAX_BATCH])
