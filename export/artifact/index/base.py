"""The interface of a nearest-neighbour index, and the parameters of an HNSW graph.

Shapes: B queries, N vectors, D dimensions, K neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

Backend = Literal["hnswlib", "hnsw-float32", "hnsw-int8", "flat"]
_MIN_HNSW_M = 2


class NeighbourIndex(Protocol):
    """An index over vectors, as the shortlist uses it."""

    count: int

    def search(self, queries_BD: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Find the k nearest vectors of each query by cosine similarity. Thread-safe; runs on the calling thread only.

        Returns:
            Ids int64 [B, min(k, count)], nearest first, and cosine similarities float32 of the same shape. Where fewer
            are found, the rest are filled with id -1 and similarity -1.

        Raises:
            ValueError: the queries have another number of dimensions.
        """


@dataclass(frozen=True, slots=True)
class HnswParams:
    """Parameters of a hierarchical navigable small world graph (paper, A.1).

    Attributes:
        m: links of a node; more give better recall, a slower build and a larger index.
        ef_construction: candidates examined while building; more give a better graph and a slower build.
        ef_search: candidates examined while searching; more give better recall and a slower search. Index files do not
            hold it; the manifest does.
    """

    m: int
    ef_construction: int
    ef_search: int

    def __post_init__(self) -> None:
        for name, least in (("m", _MIN_HNSW_M), ("ef_construction", 1), ("ef_search", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"HNSW {name} is {getattr(self, name)}; it must be at least {least}")


def unit_rows(vectors_ND: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the rows scaled to unit norm, float32 [N, D]; rows of zeros stay zeros."""
    norms_N1 = np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    units_ND: NDArray[np.float32] = (vectors_ND / np.where(norms_N1 > 0, norms_N1, 1)).astype(np.float32, copy=False)
    return units_ND


class StoredIndex(NeighbourIndex, Protocol):
    """An index that is stored in a file."""

    @classmethod
    def build(cls, vectors_ND: NDArray[np.float32], params: HnswParams, seed: int) -> Self:
        """Build an index; the same vectors, parameters and seed give the same file, byte for byte.

        A backend without a graph ignores `params`.
        """

    @classmethod
    def load(cls, path: Path, dim: int, params: HnswParams) -> Self:
        """Open a file that `save` wrote. The libraries trust their input: verify the file's hash before.

        Raises:
            ValueError: the file is missing, truncated, or holds something else.
        """

    def search_with(self, ef_search: int) -> None:
        """Set the number of candidates that later searches examine; a backend without a graph ignores it."""

    def save(self, path: Path) -> None:
        """Write the vectors, and the graph if there is one, but not its `ef_search`.

        Raises:
            OSError: the file was not written completely.
        """

    def vectors(self) -> NDArray[np.float32]:
        """Return the indexed vectors, scaled to unit norm, float32 [N, D]."""
