"""Scores of the shortlisted labels and the best of them (paper, section 4, log-time prediction).

Shapes: B queries, D dimensions, L labels, C candidates of all queries together, K ranks.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from export.artifact.shortlist import Candidates
from export.artifact.sparse import SPARSE_SLOPE

_NO_LOGITS = np.empty(0, np.float32)


def rank(
    candidates: Candidates,
    x_hat_BD: NDArray[np.float32],
    classifier_LD: NDArray[np.float32],
    bias_L: NDArray[np.float32],
    alpha: float,
    top_k: int,
    sparse_logits_C: NDArray[np.float32] = _NO_LOGITS,
    gamma: float = 0.0,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The best candidates of each query.

    They are scored by y_l = alpha * sigmoid(w_l . x-hat + b_l) + (1 - alpha) * sigmoid(s_l), and a gamma above 0 mixes
    in the sparse term: (1 - gamma) * y_l + gamma * sigmoid(2 (u_l . x + c_l)).

    Returns:
        Labels int64 [B, K], best first, -1 where a query has fewer candidates, and their scores float32 [B, K].
    """
    return _rank(
        candidates.labels,
        candidates.similarities,
        candidates.offsets,
        x_hat_BD,
        classifier_LD,
        bias_L,
        np.float32(alpha),
        top_k,
        sparse_logits_C,
        np.float32(gamma),
    )


@njit(cache=True, nogil=True, fastmath=True)
def _rank(
    labels: NDArray[np.int32],
    similarities: NDArray[np.float32],
    offsets: NDArray[np.int64],
    x_hat_BD: NDArray[np.float32],
    classifier_LD: NDArray[np.float32],
    bias_L: NDArray[np.float32],
    alpha: np.float32,
    top_k: int,
    sparse_logits_C: NDArray[np.float32],
    gamma: np.float32,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    num_queries, dim = x_hat_BD.shape
    best = np.full((num_queries, top_k), -1, np.int64)
    scores = np.zeros((num_queries, top_k), np.float32)
    one, slope = np.float32(1), np.float32(SPARSE_SLOPE)
    for query in range(num_queries):
        found = 0
        for candidate in range(offsets[query], offsets[query + 1]):
            label = labels[candidate]
            logit = np.float32(0)
            for d in range(dim):
                logit += classifier_LD[label, d] * x_hat_BD[query, d]
            probability = one / (one + np.exp(-(logit + bias_L[label])))
            similarity = one / (one + np.exp(-similarities[candidate]))
            score = alpha * probability + (one - alpha) * similarity
            if gamma > 0:
                sparse = one / (one + np.exp(-slope * sparse_logits_C[candidate]))
                score = (one - gamma) * score + gamma * sparse
            if found < top_k:
                rank_ = found
                found += 1
            elif score > scores[query, top_k - 1]:
                rank_ = top_k - 1
            else:
                continue
            # Most candidates end above; the few that do not are sorted in by insertion.
            while rank_ > 0 and scores[query, rank_ - 1] < score:
                scores[query, rank_] = scores[query, rank_ - 1]
                best[query, rank_] = best[query, rank_ - 1]
                rank_ -= 1
            scores[query, rank_] = score
            best[query, rank_] = label
    return best, scores
