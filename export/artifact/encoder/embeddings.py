"""The embeddings of tokens, and the bag of a query: the weighted sum of its tokens' embeddings (paper, section 4).

The rows of a query's tokens are scattered over a table that may have gigabytes. The kernel prefetches them and copies
none, while onnxruntime gathers a copy of every row before it multiplies: the whole encoder, with 300 dimensions and in
batches of 8, took 5.7 instead of 13.3 us a query, and 4.7 us in int8.

Shapes: B queries, T tokens of all queries together, V vocabulary, D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numba import njit
from numpy.typing import NDArray

from astec.export.artifact.kernels.quantization import quantize_rows
from astec.export.artifact.kernels.weight_rows import ROWS_AHEAD, Weights, prefetch_row
from astec.export.artifact.storage.weight_files import open_weights, save_weights
from astec.export.artifact.text.bags import Bags

EMBEDDINGS_STEM = "embeddings"
RERANKER_EMBEDDINGS_STEM = "reranker.embeddings"


@dataclass(frozen=True, slots=True)
class Embeddings:
    """The embedding e_t of each token.

    Shapes: `rows` [V, D] in float32, or in int8 with `scales` float32 [V] (else [0]).
    """

    rows: Weights
    scales: NDArray[np.float32]

    @classmethod
    def of(cls, rows_VD: NDArray[np.float32], *, int8: bool = False) -> Embeddings:
        """Make embeddings as an artifact holds them, in float32 or rounded to int8.

        Raises:
            ValueError: a number is NaN or infinite, which int8 cannot hold.
        """
        return cls(*quantize_rows(rows_VD, int8=int8))

    @classmethod
    def open(cls, folder: Path, stem: str, shape: tuple[int, int], *, int8: bool) -> Embeddings:
        """Map embeddings of shape [V, D].

        Raises:
            ValueError: a file has another type or shape, or a scale is NaN or infinite. The rows are not read.
        """
        return cls(*open_weights(folder, stem, shape, int8=int8))

    def save(self, folder: Path, stem: str) -> None:
        """Write the files that `open` reads."""
        save_weights(folder, stem, self.rows, self.scales)

    def bag(self, bags: Bags, bag_BD: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Return sum_t x_t e_t of each of B bags, float32 [B, D]: zeros for an empty bag, and the same in any batch.

        The result is written to `bag_BD` if it is given, else to a new array.
        """
        if bag_BD is None:
            bag_BD = np.empty((len(bags), self.rows.shape[1]), np.float32)
        add_embeddings(self.rows, self.scales, bags.ids, bags.weights, bags.offsets, bag_BD)
        return bag_BD


@njit(cache=True, nogil=True, fastmath=True)
def add_embeddings(
    rows_VD: Weights,
    scales: NDArray[np.float32],
    ids: NDArray[np.int32],
    weights: NDArray[np.float32],
    offsets: NDArray[np.int64],
    bag_BD: NDArray[np.float32],
) -> None:
    """Write to `bag_BD` the weighted sum of the embeddings of each bag."""
    num_queries, dim = bag_BD.shape
    bag_BD[:] = 0
    for query in range(num_queries):
        for token in range(offsets[query], offsets[query + 1]):
            row, ahead, weight = ids[token], ids[min(token + ROWS_AHEAD, len(ids) - 1)], weights[token]
            prefetch_row(rows_VD, ahead)
            if len(scales):
                prefetch_row(scales, ahead)
                weight *= scales[row]
            for d in range(dim):
                bag_BD[query, d] += weight * np.float32(rows_VD[row, d])
