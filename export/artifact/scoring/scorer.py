"""Scores of the shortlisted labels and the best of them (paper, section 4, log-time prediction).

Shapes: B queries, D dimensions (the re-ranker may have another D), L labels, C candidates of all queries together,
K ranks.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from astec.export.artifact.kernels.weight_rows import NO_SCALES, ROWS_AHEAD, Weights, dot, prefetch_row, read_only
from astec.export.artifact.scoring.formula import sigmoid, sparse_value_of, value_of, weighted
from astec.export.artifact.scoring.shares import PartWeights
from astec.export.artifact.shortlist.candidates import Candidates


class Classifiers(NamedTuple):
    """The 1-vs-all classifiers of a part, and the representations of the queries that they score.

    Shapes: `representations` float32 [B, D]; `weights` [L, D] in float32, or in int8 times `scales` float32 [L] (else
    [0]); `bias` float32 [L].
    """

    representations: NDArray[np.float32]
    weights: Weights
    scales: NDArray[np.float32]
    bias: NDArray[np.float32]


_NOTHING_LD = np.empty((0, 0), np.float32)
_NO_CLASSIFIERS = Classifiers(_NOTHING_LD, read_only(_NOTHING_LD), NO_SCALES, read_only(np.empty(0, np.float32)))
_NO_LOGITS = np.empty(0, np.float32)


def rank(
    candidates: Candidates,
    weights: PartWeights,
    top_k: int,
    classifier: Classifiers,
    reranker: Classifiers | None = None,
    sparse_logits_C: NDArray[np.float32] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Rank the candidates of each query by their scores.

    `astec.export.artifact.scoring.formula` says what a score is. The kernel does not read a part whose weight is 0.

    Returns:
        Labels int64 [B, K], best first, -1 where a query has fewer candidates, and their scores float32 [B, K].

    Raises:
        ValueError: a part has a weight and is not given.
    """
    require_parts(weights, sparse=sparse_logits_C is not None, reranker=reranker is not None)
    labels_BK, sums_BK = rank_by_sum(candidates, weights, top_k, classifier, reranker, sparse_logits_C)
    if weights.as_logits:
        to_scores(labels_BK, sums_BK, weights.bias)
    return labels_BK, sums_BK


def rank_by_sum(
    candidates: Candidates,
    weights: PartWeights,
    top_k: int,
    classifier: Classifiers,
    reranker: Classifiers | None = None,
    sparse_logits_C: NDArray[np.float32] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Rank as `rank` does, and return the sums of the parts: with weights of logits, those before bias and sigmoid."""
    return best_labels(
        candidates.labels,
        candidates.similarities,
        candidates.votes,
        candidates.offsets,
        *classifier,
        *(_NO_CLASSIFIERS if reranker is None else reranker),
        _NO_LOGITS if sparse_logits_C is None else sparse_logits_C,
        weights.classifier,
        weights.similarity,
        weights.sparse,
        weights.votes,
        weights.reranker,
        weights.as_logits,
        top_k,
    )


def require_parts(weights: PartWeights, *, sparse: bool, reranker: bool) -> None:
    """Raise ValueError where a part has a weight and is not given."""
    for name, weight, given in (("reranker", weights.reranker, reranker), ("sparse", weights.sparse, sparse)):
        if weight > 0 and not given:
            raise ValueError(f"the share of {name} is {weight}, but it is not given")


@njit(cache=True, nogil=True, fastmath=True)
def best_labels(
    labels_C: NDArray[np.int32],
    similarities_C: NDArray[np.float32],
    votes_C: NDArray[np.float32],
    offsets: NDArray[np.int64],
    x_hat_BD: NDArray[np.float32],
    classifier_LD: Weights,
    classifier_scales: NDArray[np.float32],
    classifier_bias_L: NDArray[np.float32],
    x_tilde_BD: NDArray[np.float32],
    reranker_LD: Weights,
    reranker_scales: NDArray[np.float32],
    reranker_bias_L: NDArray[np.float32],
    sparse_logits_C: NDArray[np.float32],
    classifier_weight: float,
    similarity_weight: float,
    sparse_weight: float,
    votes_weight: float,
    reranker_weight: float,
    as_logits: bool,
    top_k: int,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Score the candidates of each query and keep the best, as `rank_by_sum` describes."""
    num_queries = len(offsets) - 1
    best = np.full((num_queries, top_k), -1, np.int64)
    scores = np.zeros((num_queries, top_k), np.float32)
    for query in range(num_queries):
        found = 0
        for candidate in range(offsets[query], offsets[query + 1]):
            label = labels_C[candidate]
            ahead = labels_C[min(candidate + ROWS_AHEAD, len(labels_C) - 1)]
            score = weighted(votes_weight, votes_C[candidate])
            if classifier_weight > 0:
                prefetch_row(classifier_LD, ahead)
                prefetch_row(classifier_bias_L, ahead)
                if len(classifier_scales):
                    prefetch_row(classifier_scales, ahead)
                logit = dot(classifier_LD, classifier_scales, label, x_hat_BD, query) + classifier_bias_L[label]
                score += weighted(classifier_weight, value_of(logit, as_logits))
            if similarity_weight > 0:
                score += weighted(similarity_weight, value_of(similarities_C[candidate], as_logits))
            if sparse_weight > 0:
                score += weighted(sparse_weight, sparse_value_of(sparse_logits_C[candidate], as_logits))
            if reranker_weight > 0:
                prefetch_row(reranker_LD, ahead)
                prefetch_row(reranker_bias_L, ahead)
                logit = dot(reranker_LD, reranker_scales, label, x_tilde_BD, query) + reranker_bias_L[label]
                score += weighted(reranker_weight, value_of(logit, as_logits))
            if found < top_k:
                rank_ = found
                found += 1
            elif score > scores[query, top_k - 1]:
                rank_ = top_k - 1
            else:
                continue
            # Most candidates are not among the best so far and end above; the few that are get sorted in by insertion.
            while rank_ > 0 and scores[query, rank_ - 1] < score:
                scores[query, rank_] = scores[query, rank_ - 1]
                best[query, rank_] = best[query, rank_ - 1]
                rank_ -= 1
            scores[query, rank_] = score
            best[query, rank_] = label
    return best, scores


@njit(cache=True, nogil=True, fastmath=True)
def to_scores(labels_BK: NDArray[np.int64], sums_BK: NDArray[np.float32], bias: float) -> None:
    """Turn sums of weighted logits into scores, in place; those after the last label of a query stay 0."""
    for query in range(len(labels_BK)):
        for rank_ in range(labels_BK.shape[1]):
            if labels_BK[query, rank_] >= 0:
                sums_BK[query, rank_] = sigmoid(sums_BK[query, rank_] + np.float32(bias))
