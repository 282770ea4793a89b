"""A sparse linear term per label: weights on the query's own tokens, for what a dense representation blurs.

Shapes: L labels, V vocabulary, C candidates of all queries together, W non-zero weights of all labels together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from export.artifact.featurizer import Bags
from export.artifact.shortlist import Candidates

# Makes a probability of an SVM's margin, on which the training puts both classes at distance 1 from 0.
SPARSE_SLOPE = 2.0
_HASH_MULTIPLIER = 0x9E3779B1


@dataclass(frozen=True, slots=True)
class SparseClassifier:
    """1-vs-all linear classifiers u_l with bias c_l: label l owns `[indptr[l] : indptr[l + 1]]`.

    Shapes: `indptr` int64 [L + 1], `indices` (token ids) int32 [W], `values` float32 [W], `bias` float32 [L].
    """

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    values: NDArray[np.float32]
    bias: NDArray[np.float32]

    def logits(self, candidates: Candidates, bags: Bags) -> NDArray[np.float32]:
        """u_l . x + c_l of every candidate, float32 [C]; `bags` are those of the candidates' queries."""
        return _logits(
            candidates.labels,
            candidates.offsets,
            bags.ids,
            bags.weights,
            bags.offsets,
            self.indptr,
            self.indices,
            self.values,
            self.bias,
        )


@njit(cache=True, nogil=True)
def _logits(
    labels_C: NDArray[np.int32],
    candidate_offsets: NDArray[np.int64],
    token_ids: NDArray[np.int32],
    token_weights: NDArray[np.float32],
    token_offsets: NDArray[np.int64],
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    values: NDArray[np.float32],
    bias: NDArray[np.float32],
) -> NDArray[np.float32]:
    # A hash table of the query's tokens: its few lines stay in the first cache, whatever the size of the vocabulary.
    capacity = 16
    for query in range(len(token_offsets) - 1):
        while capacity < 4 * (token_offsets[query + 1] - token_offsets[query]):
            capacity *= 2
    keys, weights = np.full(capacity, -1, np.int32), np.zeros(capacity, np.float32)
    logits_C = np.empty(len(labels_C), np.float32)
    for query in range(len(candidate_offsets) - 1):
        keys[:] = -1
        for token in range(token_offsets[query], token_offsets[query + 1]):
            slot = _slot(token_ids[token], keys)
            if keys[slot] < 0:
                keys[slot], weights[slot] = token_ids[token], 0
            weights[slot] += token_weights[token]  # a client's feature id may come twice
        for candidate in range(candidate_offsets[query], candidate_offsets[query + 1]):
            label = labels_C[candidate]
            logit = bias[label]
            for i in range(indptr[label], indptr[label + 1]):
                slot = _slot(indices[i], keys)
                if keys[slot] >= 0:
                    logit += values[i] * weights[slot]
            logits_C[candidate] = logit
    return logits_C


@njit(cache=True, nogil=True, inline="always")
def _slot(token: int, keys: NDArray[np.int32]) -> int:
    """Where `token` is in the table, or would be."""
    mask = len(keys) - 1
    slot = (token * _HASH_MULTIPLIER >> 15) & mask
    while keys[slot] >= 0 and keys[slot] != token:
        slot = (slot + 1) & mask
    return slot
