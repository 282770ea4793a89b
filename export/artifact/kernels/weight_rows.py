"""Rows of dense weights, one for each label or token, in float32 or in int8 with a scale for each row.

Shapes: R rows, D dimensions, B queries.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

from astec.export.artifact.kernels.prefetch import prefetch

ROWS_AHEAD = 8
"""The number of rows that are prefetched ahead; 4 or 16 took as long."""

Weights = NDArray[np.float32] | NDArray[np.int8]
"""[R, D]"""

_Scalar = TypeVar("_Scalar", bound=np.generic)


def read_only(array: NDArray[_Scalar]) -> NDArray[_Scalar]:
    """Return a read-only view, which has the numba type of a memory-mapped array: one compiled kernel serves both."""
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view


NO_SCALES = read_only(np.empty(0, np.float32))
"""The empty scales of weights stored as float32."""


@njit(nogil=True, fastmath=True, inline="always")
def dot(
    weights_RD: Weights, scales: NDArray[np.float32], row: int, x_BD: NDArray[np.float32], query: int
) -> np.float32:
    """Return the product of a row with a query's x; `scales` is float32 [R], or [0] for weights in float32."""
    total = np.float32(0)
    for d in range(x_BD.shape[1]):
        total += np.float32(weights_RD[row, d]) * x_BD[query, d]
    return total * scales[row] if len(scales) else total


@njit(nogil=True, inline="always")
def prefetch_row(array: NDArray[Any], row: int) -> None:
    """Prefetch a row of an array of one axis or more; does not wait for memory."""
    prefetch(array, row, row + 1)
