"""Queries in, ranked labels out: featurize, encode, shortlist, score."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from time import perf_counter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from export.artifact.featurizer import Bags, Query
from export.artifact.scorer import Classifiers, rank
from export.artifact.shortlist import Candidates
from export.artifact.store import Artifact
from export.artifact.weight_rows import NO_SCALES
from server.encoder import Encoder, Representations


class StageTimes(NamedTuple):
    """Seconds that a batch spent in each stage."""

    featurize_s: float
    encode_s: float
    shortlist_s: float
    score_s: float


class Ranking(NamedTuple):
    """The best labels of one query: `label_ids` int64 [K] and `scores` float32 [K], best first.

    Empty where no token of the query is known.
    """

    label_ids: NDArray[np.int64]
    scores: NDArray[np.float32]


class Predictor:
    """An opened artifact, ready to rank. Thread-safe; every call runs on its caller's thread alone."""

    def __init__(self, artifact: Artifact) -> None:
        self.artifact = artifact
        self._encoder = Encoder(artifact)
        self._shares = artifact.manifest.scoring.shares()

    def check(self, query: Query) -> None:
        """Raises QueryKindError for a query that this model cannot read."""
        self.artifact.featurizer.check(query)

    def predict(self, queries: Sequence[Query], top_k: int) -> tuple[list[Ranking], StageTimes]:
        """Rank the labels of B queries; at most `top_k` each.

        Raises:
            QueryKindError: for a query that `check` refuses.
        """
        artifact = self.artifact
        begun = perf_counter()
        bags = artifact.featurizer.transform(queries)
        featurized = perf_counter()
        representations = self._encoder.encode(bags)
        encoded = perf_counter()
        candidates = artifact.shortlister.search(representations.z, representations.v)
        shortlisted = perf_counter()
        labels_BK, scores_BK = self._rank(candidates, bags, representations, top_k)
        rankings = [
            Ranking(labels_K[: end - begin], scores_K[: end - begin])
            for labels_K, scores_K, (begin, end) in zip(
                labels_BK, scores_BK, pairwise(candidates.offsets.tolist()), strict=True
            )
        ]
        scored = perf_counter()
        return rankings, StageTimes(
            featurized - begun, encoded - featurized, shortlisted - encoded, scored - shortlisted
        )

    def shortlist(self, queries: Sequence[Query]) -> list[NDArray[np.int32]]:
        """The labels that `predict` would score for each query, unordered."""
        representations = self._encoder.encode(self.artifact.featurizer.transform(queries))
        candidates = self.artifact.shortlister.search(representations.z, representations.v)
        return np.split(candidates.labels, candidates.offsets[1:-1])

    def _rank(
        self, candidates: Candidates, bags: Bags, representations: Representations, top_k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        artifact = self.artifact
        reranker, sparse_logits_C = None, None
        if artifact.reranker is not None and artifact.reranker_bias is not None:
            reranker = Classifiers(representations.x_tilde, artifact.reranker, NO_SCALES, artifact.reranker_bias)
        if artifact.sparse is not None and self._shares.sparse > 0:
            sparse_logits_C = artifact.sparse.logits(candidates, bags)
        classifier = Classifiers(representations.x_hat, artifact.classifier, artifact.classifier_scales, artifact.bias)
        return rank(candidates, self._shares, top_k, classifier, reranker, sparse_logits_C)
