"""Rows of different lengths in one flat array: row b owns `[offsets[b] : offsets[b + 1]]`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def take_rows(offsets: NDArray[np.int64], rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the positions of the elements of the given rows, in their order, and the offsets of these rows alone."""
    lengths = offsets[rows + 1] - offsets[rows]
    taken = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(lengths, out=taken[1:])
    return np.arange(taken[-1]) + np.repeat(offsets[rows] - taken[:-1], lengths), taken
