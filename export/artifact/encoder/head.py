"""The head of the encoder, which follows v: the residual, and the projection to the indices' space (paper, section 4).

The artifact's ONNX graph computes the same for any encoder. For a single query onnxruntime takes 7.7 us (300
dimensions, projected to 128), most of it overhead of the call, and this kernel 4.1 us; in batches of 32 onnxruntime
takes 1.4 us a query, and this kernel 3.0 us. Half of the numbers in v are zero after the ReLU. The matrices have a row
for each input dimension, so that rows that would be multiplied by zero are never read.

Shapes: B queries, D dimensions, H learners, d dimensions of the indices.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numba import njit
from numpy.typing import NDArray

from astec.export.artifact.kernels.weight_rows import read_only
from astec.export.artifact.storage.checked_arrays import open_array, require

HEAD_RESIDUAL_FILE = "head.residual.npy"
HEAD_PROJECTION_FILE = "head.projection.npy"

_ROWS_AT_ONCE = 4
"""Rows that are added in one pass over the sums."""


@dataclass(frozen=True, slots=True)
class Head:
    """The matrices that are applied after the bag of embeddings and its ReLU, with a row for each input dimension.

    Shapes: `residual` float32 [D, D / H], the row of the learner that the dimension belongs to; `projection` float32
    [D, d], or [D, 0] where the indices are searched with v itself.
    """

    residual: NDArray[np.float32]
    projection: NDArray[np.float32]

    @classmethod
    def of(cls, residuals_HDD: NDArray[np.float32], projection_Dd: NDArray[np.float32] | None) -> Head:
        """Make a head from the blocks R of the residual, x-hat = v + ReLU(R v), and the projection P, z = v P."""
        rows = np.concatenate([residual_DD.T for residual_DD in residuals_HDD])
        projection = np.empty((len(rows), 0), np.float32) if projection_Dd is None else projection_Dd
        return cls(read_only(rows), read_only(projection))

    @classmethod
    def open(cls, folder: Path, dim: int, learners: int, shortlist_dim: int) -> Head:
        """Map the head of D = `dim`, H = `learners` and d = `shortlist_dim`.

        Raises:
            ValueError: a file has another type or shape, or there is no projection although d is not D. The numbers are
                not read.
        """
        residual = open_array(folder, HEAD_RESIDUAL_FILE, np.float32, (dim, dim // learners))
        if (folder / HEAD_PROJECTION_FILE).exists():
            return cls(residual, open_array(folder, HEAD_PROJECTION_FILE, np.float32, (dim, shortlist_dim)))
        require(shortlist_dim == dim, f"there is no {HEAD_PROJECTION_FILE}")
        return cls(residual, read_only(np.empty((dim, 0), np.float32)))

    def save(self, folder: Path) -> None:
        """Write the files that `open` reads."""
        np.save(folder / HEAD_RESIDUAL_FILE, self.residual)
        if self.projection.shape[1]:
            np.save(folder / HEAD_PROJECTION_FILE, self.projection)

    def arrays(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return both matrices, as `apply_head` takes them."""
        return self.residual, self.projection


@njit(cache=True, nogil=True, fastmath=True)
def apply_head(
    bag_BD: NDArray[np.float32], residual: NDArray[np.float32], projection: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return v = ReLU(bag), z = v P (v without P) and x-hat = v + ReLU(R v), float32 [B, D], [B, d] and [B, D]."""
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
    """Write to `rows` the dimensions from `begin` to `end` where v is not zero, and return their number."""
    found = 0
    for d in range(begin, end):
        rows[found] = d  # Write always and advance if it counts: half do, so that a branch would be mispredicted.
        found += int(v_D[d] != 0)
    return found


@njit(nogil=True, fastmath=True)
def _add_rows(
    rows: NDArray[np.int64], v_D: NDArray[np.float32], matrix: NDArray[np.float32], sums: NDArray[np.float32]
) -> None:
    """Add to `sums` the given rows of the matrix, each multiplied by its number in v."""
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
