"""What follows v in every encoder: the residual, and the projection into the space of the indices (paper, section 4).

A graph of onnxruntime does the same for any encoder. For a single query it takes 7.7 us (300 dimensions, projected to
128), most of them to begin and to end, and this 4.1; in batches of 32 it takes 1.4 us a query, and this 3.0. Half of v
is zeros behind the ReLU, so the matrices lie by what goes in: rows that a zero would be multiplied with are never read.

Shapes: B queries, D dimensions, H learners, d dimensions of the indices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from astec.export.artifact.kernels.weight_rows import read_only

_ROWS_AT_ONCE = 4
"""Rows that are added in one pass over the sums."""


@dataclass(frozen=True, slots=True)
class Head:
    """The matrices after a bag of embeddings and ReLU, a row for each dimension that goes in.

    Shapes: `residual` float32 [D, D / H], of the learner that the dimension belongs to; `projection` float32 [D, d], or
    [D, 0] where the indices are searched with v itself.
    """

    residual: NDArray[np.float32]
    projection: NDArray[np.float32]

    @classmethod
    def of(cls, residuals_HDD: NDArray[np.float32], projection_Dd: NDArray[np.float32] | None) -> Head:
        """From blocks R of the residual, of which x-hat is v + ReLU(R v), and P, of which z is v P."""
        rows = np.concatenate([residual_DD.T for residual_DD in residuals_HDD])
        projection = np.empty((len(rows), 0), np.float32) if projection_Dd is None else projection_Dd
        return cls(read_only(rows), read_only(projection))

    def arrays(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """As `apply_head` takes them."""
        return self.residual, self.projection


@njit(cache=True, nogil=True, fastmath=True)
def apply_head(
    bag_BD: NDArray[np.float32], residual: NDArray[np.float32], projection: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """v = ReLU(bag), z = v P (v itself without P) and x-hat = v + ReLU(R v), float32 [B, D], [B, d] and [B, D]."""
    num_queries, dim = bag_BD.shape
    block = residual.shape[1]
    v_BD, x_hat_BD = np.maximum(bag_BD, np.float32(0)), np.zeros((num_queries, dim), np.float32)
    z_Bd = np.zeros((num_queries, projection.shape[1]), np.float32)
    rows = np.empty(dim, np.int64)
    for query in range(num_queries):
        for learner in range(dim // block):
            found = _nonzero(v_BD[query], learner * block, (learner + 1) * block, rows)
            moved = x_hat_BD[query, learner * block : (learner + 1) * block]
            _add_rows(rows[:found], v_BD[query], residual, moved)
        found = _nonzero(v_BD[query], 0, dim, rows)
        _add_rows(rows[:found], v_BD[query], projection, z_Bd[query])
        for d in range(dim):
            x_hat_BD[query, d] = v_BD[query, d] + max(x_hat_BD[query, d], np.float32(0))
    return v_BD, z_Bd if projection.shape[1] else v_BD, x_hat_BD


@njit(nogil=True)
def _nonzero(v_D: NDArray[np.float32], begin: int, end: int, rows: NDArray[np.int64]) -> int:
    """Where v is not zero between two dimensions, the first so many of `rows`."""
    found = 0
    for d in range(begin, end):
        rows[found] = d  # Written whether it counts or not: half of them do, which no processor guesses.
        found += int(v_D[d] != 0)
    return found


@njit(nogil=True, fastmath=True)
def _add_rows(
    rows: NDArray[np.int64], v_D: NDArray[np.float32], matrix: NDArray[np.float32], sums: NDArray[np.float32]
) -> None:
    """Add some rows of a matrix, each times its number in v."""
    whole = len(rows) - len(rows) % _ROWS_AT_ONCE
    for i in range(0, whole, _ROWS_AT_ONCE):
        a, b, c, d = rows[i], rows[i + 1], rows[i + 2], rows[i + 3]
        for column in range(len(sums)):
            sums[column] += (
                v_D[a] * matrix[a, column]
                + v_D[b] * matrix[b, column]
                + v_D[c] * matrix[c, column]
                + v_D[d] * matrix[d, column]
            )
    for row in rows[whole:]:
        for column in range(len(sums)):
            sums[column] += v_D[row] * matrix[row, column]
