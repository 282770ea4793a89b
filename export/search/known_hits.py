"""Neighbours found before, behind the interface of an index: many plans use the same neighbours.

Shapes: R texts, d dimensions of the index, N vectors, K neighbours.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.index.base import NeighbourIndex


class Hits:
    """A `NeighbourIndex` that returns stored results and ignores the queries.

    Args:
        ids_RK: hits of each text, nearest first, padded with -1.
        similarities_RK: similarities of the hits.
        count: N.
    """

    def __init__(self, ids_RK: NDArray[np.int64], similarities_RK: NDArray[np.float32], count: int) -> None:
        self._ids_RK, self._similarities_RK = ids_RK, similarities_RK
        self.count = count

    @classmethod
    def find(cls, index: NeighbourIndex, queries_Rd: NDArray[np.float32], k: int) -> Hits:
        """Find the k nearest neighbours of each text."""
        return cls(*index.search(queries_Rd, k), index.count)

    def take(self, rows: slice) -> Hits:
        """Return the hits of a range of texts."""
        return Hits(self._ids_RK[rows], self._similarities_RK[rows], self.count)

    def search(self, queries_BD: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the k nearest stored hits of each text; the queries are ignored."""
        return self._ids_RK[:, :k].copy(), self._similarities_RK[:, :k].copy()
