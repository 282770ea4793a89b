"""Label representatives: the vectors that a query is compared with to measure its similarity to a label (paper, A.4).

Shapes: B queries, D dimensions, C candidates of all queries together, L labels, L' representatives.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from astec.export.artifact.kernels.weight_rows import NO_SCALES, ROWS_AHEAD, Weights, dot, prefetch_row, read_only


@dataclass(frozen=True, slots=True)
class Representatives:
    """The label representatives mu, ordered by label: label l owns `vectors[indptr[l] : indptr[l + 1]]`.

    Shapes: `indptr` int64 [L + 1]; `vectors` [L', D], unit rows in float32, or in int8 with `scales` float32 [L']
    (else [0]).
    """

    indptr: NDArray[np.int64]
    vectors: Weights
    scales: NDArray[np.float32]

    @classmethod
    def of(cls, vectors: NDArray[np.float32], labels: NDArray[np.int32], num_labels: int) -> Representatives:
        """Make representatives of unit vectors [L', D] and their labels [L'], in ascending order."""
        return cls(label_bounds(labels, num_labels), read_only(vectors), NO_SCALES)

    def similarities(
        self, labels_C: NDArray[np.int32], offsets: NDArray[np.int64], v_BD: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return s_l(v) of each candidate, float32 [C]; query b owns `labels_C[offsets[b] : offsets[b + 1]]`."""
        return best_similarities(labels_C, offsets, v_BD, self.indptr, self.vectors, self.scales)


def label_bounds(labels: NDArray[np.int32], num_labels: int) -> NDArray[np.int64]:
    """Return the position of each label's first entry in `labels`, which ascend, and the end: int64 [L + 1]."""
    return np.searchsorted(labels, np.arange(num_labels + 1)).astype(np.int64)


@njit(cache=True, nogil=True, fastmath=True)
def best_similarities(
    labels_C: NDArray[np.int32],
    offsets: NDArray[np.int64],
    v_BD: NDArray[np.float32],
    indptr: NDArray[np.int64],
    vectors: Weights,
    scales: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Return the cosine similarity of v with the most similar representative of each candidate label, float32 [C]."""
    similarities_C = np.empty(len(labels_C), np.float32)
    for query in range(len(offsets) - 1):
        squares = np.float32(0)
        for d in range(v_BD.shape[1]):
            squares += v_BD[query, d] * v_BD[query, d]
        scale = np.float32(1) / np.sqrt(squares) if squares > 0 else np.float32(0)
        for candidate in range(offsets[query], offsets[query + 1]):
            label, best = labels_C[candidate], np.float32(-1)
            prefetch_row(vectors, indptr[labels_C[min(candidate + ROWS_AHEAD, len(labels_C) - 1)]])
            for row in range(indptr[label], indptr[label + 1]):
                best = max(best, dot(vectors, scales, row, v_BD, query) * scale)
            similarities_C[candidate] = best
    return similarities_C
