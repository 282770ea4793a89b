"""Neighbours that are found already, behind the interface of an index: many plans count the same ones.

Shapes: R texts, d dimensions of the index, N vectors, K neighbours.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.index.base import NeighbourIndex


class Hits:
    """A `NeighbourIndex` that knows the answers, whatever the queries are.

    Args:
        ids_RK: hits of each text, nearest first, -1 where there is none.
        similarities_RK: how near they are.
        count: N.
    """

    def __init__(self, ids_RK: NDArray[np.int64], similarities_RK: NDArray[np.float32], count: int) -> None:
        self._ids_RK, self._similarities_RK = ids_RK, similarities_RK
        self.count = count

    @classmethod
    def find(cls, index: NeighbourIndex, queries_Rd: NDArray[np.float32], k: int) -> Hits:
        """The k nearest of each text."""
        return cls(*index.search(queries_Rd, k), index.count)

    def take(self, rows: slice) -> Hits:
        """The hits of some texts."""
        return Hits(self._ids_RK[rows], self._similarities_RK[rows], self.count)

    def search(self, queries_BD: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """See `NeighbourIndex.search`."""
        return self._ids_RK[:, :k].copy(), self._similarities_RK[:, :k].copy()
