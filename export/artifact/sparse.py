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


@dataclass(frozen=True, slots=True)
class SparseClassifier:
    """1-vs-all linear classifiers u_l with bias c_l: label l owns `[indptr[l] : indptr[l + 1]]`.

    Shapes: `indptr` int64 [L + 1], `indices` (token ids) int32 [W], `values` float32 [W], `bias` float32 [L].
    """

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    values: NDArray[np.float32]
    bias: NDArray[np.float32]

    def logits(self, candidates: Candidates, bags: Bags, num_features: int) -> NDArray[np.float32]:
        """u_l . x + c_l of every candidate, float32 [C]; `bags` are those of the candidates' queries."""
        return _logits(
            candidates.labels,
            candidates.offsets,
            bags.ids,
            bags.weights,
            bags.offsets,
            num_features,
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
    num_features: int,
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    values: NDArray[np.float32],
    bias: NDArray[np.float32],
) -> NDArray[np.float32]:
    # The query laid out over the vocabulary: one load per weight of a label, whatever the length of the query.
    x_V = np.zeros(num_features, np.float32)
    logits_C = np.empty(len(labels_C), np.float32)
    for query in range(len(candidate_offsets) - 1):
        tokens = range(token_offsets[query], token_offsets[query + 1])
        for token in tokens:
            x_V[token_ids[token]] += token_weights[token]  # a client's feature id may come twice
        for candidate in range(candidate_offsets[query], candidate_offsets[query + 1]):
            label = labels_C[candidate]
            logit = bias[label]
            for i in range(indptr[label], indptr[label + 1]):
                logit += values[i] * x_V[indices[i]]
            logits_C[candidate] = logit
        for token in tokens:
            x_V[token_ids[token]] = 0
    return logits_C
