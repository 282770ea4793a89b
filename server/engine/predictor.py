"""The prediction: queries to ranked labels, by featurize, encode, shortlist and score.

Shapes: B queries, K ranks, D dimensions (d of the indices), L labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.fused import Pipeline
from astec.export.artifact.scoring.ranker import Ranker
from astec.export.artifact.scoring.shares import Shares
from astec.export.artifact.shortlist.allowed import Allowed, shortlist_allowed
from astec.export.artifact.shortlist.hidden import VISIBLE, Hidden, drop_hidden, spare_ranks
from astec.export.artifact.signals.query_signals import NO_SIGNALS, measure
from astec.export.artifact.store import Artifact
from astec.export.artifact.text.bags import Query
from astec.server.engine.explanations.explainer import Explainer
from astec.server.engine.query_encoder import QueryEncoder
from astec.server.engine.sharding.candidate_finder import CandidateFinder
from astec.server.metrics.stage_times import StageTimes


class Rankings(NamedTuple):
    """The labels of B queries, best first: `label_ids` int64 [B, K], -1 after the last, and `scores` float32 [B, K]."""

    label_ids: NDArray[np.int64]
    scores: NDArray[np.float32]


class Ranking(NamedTuple):
    """The labels of one query, best first: `label_ids` int64 [K] and `scores` float32 [K].

    Empty if no token of the query is known.
    """

    label_ids: NDArray[np.int64]
    scores: NDArray[np.float32]


class VisibleRankings(NamedTuple):
    """Rankings without hidden labels, and whether each would have named a blocked one, bool [B]."""

    rankings: Rankings
    without_blocked: NDArray[np.bool_]


_FAR_QUERIES = 8
"""The most queries at a time that are ranked again without hidden labels; each may need every other label."""


class Predictor:
    """An opened artifact, ready to rank. Thread-safe; every call runs on its caller's thread alone."""

    def __init__(self, artifact: Artifact) -> None:
        self.artifact = artifact
        self._encoder = QueryEncoder(artifact)
        self.explainer = Explainer(artifact, self._encoder)
        self.candidate_finder = None
        if artifact.shard is not None:
            self.candidate_finder = CandidateFinder(artifact, artifact.shard, self._encoder)
        self._ranker = _ranker(artifact)
        self._pipeline = Pipeline.of(artifact, self._ranker)

    def check(self, query: Query) -> None:
        """Raise QueryKindError for a query that this model cannot read."""
        self.artifact.check(query)

    def predict(self, queries: Sequence[Query], top_k: int) -> tuple[list[Ranking], StageTimes]:
        """Rank the labels of B queries, at most `top_k` each.

        Raises:
            QueryKindError: A query that `check` refuses.
        """
        (labels_BK, scores_BK), times = self.rank(queries, top_k)
        found_B = np.count_nonzero(labels_BK >= 0, axis=1).tolist()
        return [Ranking(labels_BK[i, :found], scores_BK[i, :found]) for i, found in enumerate(found_B)], times

    def rank(
        self,
        queries: Sequence[Query],
        top_k: int,
        allowed: Sequence[Allowed] | None = None,
        signals_B3: NDArray[np.float64] = NO_SIGNALS,
    ) -> tuple[Rankings, StageTimes]:
        """Rank the labels of B queries, as `predict` does, and return the arrays of the whole batch.

        Args:
            queries: B texts or bags.
            top_k: K, the most labels of a query.
            allowed: The labels that each query may be answered with, and how many it needs; None: all labels.
            signals_B3: From `place_for_signals`, to write the signals into; `NO_SIGNALS`: measure none.
        """
        if self.artifact.removed is None:
            return self._rank(queries, top_k, allowed, signals_B3)
        top_ks, removed = [top_k] * len(queries), self.artifact.removed
        (rankings, _), times = self.rank_visible(queries, top_ks, allowed, removed, signals_B3)
        return rankings, times

    def rank_visible(
        self,
        queries: Sequence[Query],
        top_ks: Sequence[int],
        allowed: Sequence[Allowed] | None,
        hidden: Hidden,
        signals_B3: NDArray[np.float64] = NO_SIGNALS,
    ) -> tuple[VisibleRankings, StageTimes]:
        """Rank as `rank` does, without hidden labels, and without answering fewer labels because of them.

        Args:
            queries: B > 0 texts or bags.
            top_ks: The most labels of each query.
            allowed: As for `rank`.
            hidden: Which labels no answer may name, uint8 [L].
            signals_B3: As for `rank`; they are those of the model's own ranking, with the hidden labels in it.
        """
        most, top_k_B = max(top_ks), np.array(top_ks, np.int64)
        (labels_BR, scores_BR), times = self._rank(queries, int(spare_ranks(most)), allowed, signals_B3)
        labels_BK, scores_BK, lacking_B, blocked_B = drop_hidden(labels_BR, scores_BR, hidden, top_k_B)
        rows = np.flatnonzero(lacking_B).tolist()
        for begin in range(0, len(rows), _FAR_QUERIES):
            part, visible_L = rows[begin : begin + _FAR_QUERIES], hidden == VISIBLE
            asked = []
            for row in part:
                mask, top_k = (None, 0) if allowed is None else allowed[row][:2]
                if mask is None:
                    needed = int(np.count_nonzero(labels_BK[row] >= 0) + lacking_B[row])
                    asked.append(Allowed(visible_L, needed, compares_all=False))
                else:
                    asked.append(Allowed(mask & visible_L, top_k))
            (found_PK, found_scores_PK), more = self._rank([queries[row] for row in part], most, asked, NO_SIGNALS)
            found_PK[np.arange(most) >= top_k_B[part][:, None]] = -1
            labels_BK[part], scores_BK[part] = found_PK, found_scores_PK
            times = StageTimes(*map(sum, zip(times, more, strict=True)))
        return VisibleRankings(Rankings(labels_BK, scores_BK), blocked_B), times

    def _rank(
        self,
        queries: Sequence[Query],
        top_k: int,
        allowed: Sequence[Allowed] | None,
        signals_B3: NDArray[np.float64],
    ) -> tuple[Rankings, StageTimes]:
        if self._pipeline is not None and allowed is None:
            texts = [query for query in queries if isinstance(query, str)]
            if len(texts) == len(queries):
                return _rank_texts(self._pipeline, texts, top_k, signals_B3)
        artifact = self.artifact
        begun = perf_counter()
        bags, sequences = artifact.featurize(queries)
        featurized = perf_counter()
        v_BD, z_Bd, x_hat_BD, x_tilde_BD = self._encoder.encode(bags, sequences)
        encoded = perf_counter()
        if allowed is None:
            shortlist = artifact.shortlister.shortlist(z_Bd)
        else:
            shortlist = shortlist_allowed(artifact.shortlister, z_Bd, allowed)
        shortlisted = perf_counter()
        rankings = Rankings(*self._ranker.rank(shortlist, v_BD, x_hat_BD, x_tilde_BD, bags, top_k))
        scored = perf_counter()
        if len(signals_B3):
            measure(artifact.featurizer, queries, *rankings, signals_B3)
        return rankings, StageTimes(
            featurized - begun, encoded - featurized, shortlisted - encoded, scored - shortlisted
        )

    def shortlist(self, queries: Sequence[Query]) -> list[NDArray[np.int32]]:
        """Return the labels that `predict` would score for each query, int32, in no order."""
        representations = self._encoder.encode(*self.artifact.featurize(queries))
        labels, _, offsets = self.artifact.shortlister.shortlist(representations.z)
        return np.split(labels, offsets[1:-1])


def _rank_texts(
    pipeline: Pipeline, texts: Sequence[str], top_k: int, signals_B3: NDArray[np.float64]
) -> tuple[Rankings, StageTimes]:
    begun = perf_counter()
    labels_BK, scores_BK, times = pipeline.rank(texts, top_k, signals_B3)
    _, *later_s = times.tolist()
    # Time outside of the stages, most of it for folding texts, comes before the first stage and counts as part of it.
    return Rankings(labels_BK, scores_BK), StageTimes(perf_counter() - begun - sum(later_s), *later_s)


def _ranker(artifact: Artifact) -> Ranker:
    return Ranker(
        Shares.of(artifact.manifest.scoring).weights(),
        artifact.classifier.arrays(),
        artifact.shortlister.representatives,
        artifact.sparse,
        None if artifact.reranker is None else artifact.reranker.arrays(),
    )
