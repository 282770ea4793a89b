"""Label representatives: the vectors that a query is compared with to measure its similarity to a label (paper, A.4).

Shapes: B queries, D dimensions, C candidates of all queries together, L labels, L' representatives.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numba import njit
from numpy.typing import NDArray

from astec.export.artifact.kernels.quantization import quantize_rows
from astec.export.artifact.kernels.weight_rows import ROWS_AHEAD, Weights, dot, prefetch_row
from astec.export.artifact.storage.checked_arrays import open_label_ids, require
from astec.export.artifact.storage.weight_files import open_weights, save_weights

REPRESENTATIVES_STEM = "representatives"
CENTROID_LABELS_FILE = "centroid_labels.npy"


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
    def of(
        cls, vectors: NDArray[np.float32], labels: NDArray[np.int32], num_labels: int, *, int8: bool = False
    ) -> Representatives:
        """Make representatives of unit vectors [L', D] and their labels [L'], in ascending order.

        Raises:
            ValueError: a number is NaN or infinite, which int8 cannot hold.
        """
        return cls(label_bounds(labels, num_labels), *quantize_rows(vectors, int8=int8))

    @classmethod
    def open(cls, folder: Path, labels: NDArray[np.int32], num_labels: int, dim: int, *, int8: bool) -> Representatives:
        """Map the representatives of the labels that `open_centroid_labels` returns.

        Raises:
            ValueError: a file has another type or shape, or a scale is NaN or infinite. The vectors are not read.
        """
        vectors, scales = open_weights(folder, REPRESENTATIVES_STEM, (len(labels), dim), int8=int8)
        return cls(label_bounds(labels, num_labels), vectors, scales)

    def extended(self, vectors_AD: NDArray[np.float32]) -> Representatives:
        """Return these and then one representative for each of more labels, rounded as these are."""
        vectors, scales = quantize_rows(vectors_AD, int8=self.vectors.dtype == np.int8)
        return Representatives(
            np.append(self.indptr, self.indptr[-1] + np.arange(1, len(vectors) + 1)),
            np.concatenate([self.vectors, vectors]),
            np.concatenate([self.scales, scales]),
        )

    def save(self, folder: Path) -> None:
        """Write the vectors and their scales; their labels are written by `save_centroid_labels`."""
        save_weights(folder, REPRESENTATIVES_STEM, self.vectors, self.scales)

    def similarities(
        self, labels_C: NDArray[np.int32], offsets: NDArray[np.int64], v_BD: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return s_l(v) of each candidate, float32 [C]; query b owns `labels_C[offsets[b] : offsets[b + 1]]`."""
        return best_similarities(labels_C, offsets, v_BD, self.indptr, self.vectors, self.scales)


def save_centroid_labels(folder: Path, labels: NDArray[np.int32]) -> None:
    """Write the label of each representative, int32 [L']."""
    np.save(folder / CENTROID_LABELS_FILE, labels)


def open_centroid_labels(folder: Path, count: int, num_labels: int) -> NDArray[np.int32]:
    """Map the labels of `count` representatives, int32 [L'].

    Raises:
        ValueError: a label id is out of range, or the labels do not ascend.
    """
    labels = open_label_ids(folder, CENTROID_LABELS_FILE, count, num_labels)
    require(not np.any(np.diff(labels) < 0), f"{CENTROID_LABELS_FILE} does not ascend")
    return labels


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
