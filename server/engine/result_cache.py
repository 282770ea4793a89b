"""The cache of results: a query that was asked before is answered without computing it again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from astec.export.artifact.labels.metadata import Selection
from astec.export.artifact.text.bags import Bag
from astec.export.artifact.text.featurizer import Featurizer, TextFeaturizer
from astec.server.engine.batching.batcher import Answers
from astec.server.engine.lru_cache import LruCache
from astec.server.engine.rank_request import CandidateOutput, Output, RankRequest, RankResult
from astec.server.metrics.board import Metrics

Compute = Callable[[Sequence[RankRequest]], Awaitable[Answers[RankResult]]]
CacheKey = tuple[str | tuple[bytes, bytes], int, float, bool, Selection | None, Output | CandidateOutput]


class ResultCache:
    """The latest results of one model, by what the model sees of a query. Belongs to one thread.

    Args:
        capacity: The most results.
        featurizer: The model's featurizer: texts that it folds to the same words are the same query.
        metrics: Where hits, misses and the number of results are recorded.
    """

    def __init__(self, capacity: int, featurizer: Featurizer, metrics: Metrics) -> None:
        self._results = LruCache[CacheKey, RankResult](capacity)
        self._featurizer = featurizer
        self._metrics = metrics
        self._clearings = 0

    def clear(self) -> None:
        """Forget all results; those that are being computed are not kept either."""
        self._clearings += 1
        self._results.clear()

    async def rank(self, requests: Sequence[RankRequest], compute: Compute) -> Answers[RankResult]:
        """Return the results of all requests, in order; only those that the cache lacks are computed.

        Raises:
            Exception: Whatever `compute` raises.
        """
        keys, clearings = [self._key(request) for request in requests], self._clearings
        results = {row: result for row, key in enumerate(keys) if (result := self._results.get(key)) is not None}
        missing = [row for row in range(len(requests)) if row not in results]
        computed = Answers[RankResult]([], 0.0)
        if missing:
            computed = await compute([requests[row] for row in missing])
        for row, result in zip(missing, computed.results, strict=True) if clearings == self._clearings else ():
            self._results.put(keys[row], result._replace(stages=None))
        self._metrics.cache_asked(len(results), len(missing), len(self._results))
        results.update(zip(missing, computed.results, strict=True))
        return Answers([results[row] for row in range(len(requests))], computed.queue_s)

    def _key(self, request: RankRequest) -> CacheKey:
        query, top_k, min_score, probabilities, selection, output, _ = request
        if isinstance(query, Bag):
            seen: str | tuple[bytes, bytes] = (query.ids.tobytes(), query.weights.tobytes())
        else:
            assert isinstance(self._featurizer, TextFeaturizer)  # noqa: S101  (no other featurizer takes texts)
            seen = self._featurizer.seen(query)
        return seen, top_k, min_score, probabilities, selection, output
