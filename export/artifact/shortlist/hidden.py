"""Labels that no answer may name, taken out of rankings that are longer than the answers.

A ranking with spare labels costs little more than one without. What remains of it has the scores that it would have if
no label were hidden, so that the answer is the one that a client would get by leaving the hidden labels out itself.

Shapes: B queries, R ranks with the spare ones, K ranks of an answer, L labels.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Hidden = NDArray[np.uint8]
"""For each label `VISIBLE` or the reason why it is hidden, uint8 [L]."""
VISIBLE, REMOVED, BLOCKED = 0, 1, 2

_SPARE_RANKS = 32


@njit(cache=True, nogil=True)
def spare_ranks(top_k: int) -> int:
    """Return R, the ranks to compute for an answer of `top_k` labels, so that few answers become too short."""
    return 2 * top_k + _SPARE_RANKS


@njit(cache=True, nogil=True)
def drop_hidden(
    labels_BR: NDArray[np.int64], scores_BR: NDArray[np.float32], hidden_L: Hidden, top_k_B: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64], NDArray[np.bool_]]:
    """Drop the hidden labels, and keep the `top_k_B` best others of each query.

    Args:
        labels_BR: labels, best first, -1 where a query has fewer.
        scores_BR: their scores.
        hidden_L: the hidden labels.
        top_k_B: the most labels of each answer.

    Returns:
        Labels int64 [B, K], -1 where a query has fewer; their scores float32 [B, K]; how many labels each query lacks
        because others were dropped, int64 [B]; and whether the answer would have named a blocked label, bool [B].
    """
    num_queries = len(labels_BR)
    labels_BK = np.full((num_queries, np.max(top_k_B)), -1, np.int64)
    scores_BK = np.zeros(labels_BK.shape, np.float32)
    lacking_B, blocked_B = np.zeros(num_queries, np.int64), np.zeros(num_queries, np.bool_)
    for query in range(num_queries):
        kept, dropped, most = 0, 0, top_k_B[query]
        # No more ranks than the query would have alone: an answer must not depend on the others in its batch.
        for rank in range(min(labels_BR.shape[1], spare_ranks(most))):
            label = labels_BR[query, rank]
            if label < 0 or kept == most:
                break
            if hidden_L[label] == VISIBLE:
                labels_BK[query, kept], scores_BK[query, kept] = label, scores_BR[query, rank]
                kept += 1
            else:
                dropped += 1
                blocked_B[query] |= hidden_L[label] == BLOCKED
        lacking_B[query] = min(most - kept, dropped)
    return labels_BK, scores_BK, lacking_B, blocked_B
