"""An HNSW graph over vectors in float32, as they are: the same kernel as over int8 walks it in its memory-mapped file.

Shapes: N vectors, D dimensions.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.index.graph_index import GraphIndex, Layout, Rows
from astec.export.artifact.kernels.weight_rows import NO_SCALES, read_only
from astec.export.artifact.storage.checked_arrays import is_within, require

_LARGEST = 1.001
"""Of a number of a vector of unit norm, with a margin for rounding."""


class Float32Index(GraphIndex):
    """Cosine similarity over an HNSW graph with float32 vectors. Loading it reads every vector once."""

    magic: ClassVar[bytes] = b"HNSWFL32"
    kind: ClassVar[str] = "float32"

    @classmethod
    def stored(cls, units_ND: NDArray[np.float32]) -> Rows:
        """Return the vectors as they are."""
        return Rows(read_only(units_ND), NO_SCALES, _ones(units_ND.shape[1]))

    @classmethod
    def layout_of_vectors(cls, num_nodes: int, dim: int) -> Layout:
        """Return type and shape of the vectors."""
        return [(np.float32, (num_nodes, dim))]

    @classmethod
    def opened(cls, arrays: list[NDArray[Any]]) -> Rows:
        """Verify that no number of a vector is NaN, or so large that a product of two vectors could be infinite."""
        (units_ND,) = arrays
        require(is_within(units_ND, -_LARGEST, _LARGEST), "its vectors hold a number that none of unit norm has")
        return Rows(units_ND, NO_SCALES, _ones(units_ND.shape[1]))

    @classmethod
    def written(cls, vectors: Rows) -> list[NDArray[Any]]:
        """Return the vectors."""
        return [vectors.rows]

    def vectors(self) -> NDArray[np.float32]:
        """Return the vectors, without a copy."""
        units_ND: NDArray[np.float32] = np.asarray(self._vectors.rows, np.float32)
        return units_ND


def _ones(dim: int) -> NDArray[np.float32]:
    """Return factors that change nothing."""
    return read_only(np.ones(dim, np.float32))
