"""An HNSW graph over vectors in int8: a query reads a quarter of the bytes.

The graph is built from the vectors in float32. The file holds codes instead: a vector is about
`codes * factors * scale`, with a factor for each dimension and a scale for each vector. A factor grows with the square
root of its dimension's size. Where a few dimensions hold most of the vectors' length, as principal directions do, this
halves the rounding error compared with equal steps in all dimensions.

Shapes: N vectors, D dimensions.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.index.graph_index import GraphIndex, Layout, Rows
from astec.export.artifact.kernels.quantization import quantize_int8
from astec.export.artifact.kernels.weight_rows import read_only
from astec.export.artifact.storage.checked_arrays import is_finite, require

_CHUNK_ROWS = 65_536


class Int8Index(GraphIndex):
    """Cosine similarity over an HNSW graph with int8 vectors. Loading it does not read the codes."""

    magic: ClassVar[bytes] = b"HNSWINT8"
    kind: ClassVar[str] = "int8"

    @classmethod
    def stored(cls, units_ND: NDArray[np.float32]) -> Rows:
        """Round the vectors to int8; the scale of a vector of zeros is 0."""
        squares_D = np.einsum("nd,nd->d", units_ND, units_ND, dtype=np.float64) / len(units_ND)
        factors_D = np.where(squares_D > 0, squares_D**0.25, 1).astype(np.float32)
        codes_ND, lengths_N = np.empty(units_ND.shape, np.int8), np.empty(len(units_ND), np.float32)
        for begin in range(0, len(units_ND), _CHUNK_ROWS):
            rows = slice(begin, begin + _CHUNK_ROWS)
            codes_ND[rows], _ = quantize_int8(units_ND[rows] / factors_D)
            lengths_N[rows] = np.linalg.norm(codes_ND[rows] * factors_D, axis=1)
        scales_N = np.divide(1, lengths_N, out=np.zeros_like(lengths_N), where=lengths_N > 0)
        return Rows(read_only(codes_ND), read_only(scales_N), read_only(factors_D))

    @classmethod
    def layout_of_vectors(cls, num_nodes: int, dim: int) -> Layout:
        """Return type and shape of codes, scales and factors."""
        return [(np.int8, (num_nodes, dim)), (np.float32, (num_nodes,)), (np.float32, (dim,))]

    @classmethod
    def opened(cls, arrays: list[NDArray[Any]]) -> Rows:
        """Verify scales and factors; every code is sound."""
        vectors = Rows(*arrays)
        require(is_finite(vectors.scales), "its scales hold NaN or infinity")
        require(is_finite(vectors.factors), "its factors hold NaN or infinity")
        return vectors

    @classmethod
    def written(cls, vectors: Rows) -> list[NDArray[Any]]:
        """Return codes, scales and factors."""
        return list(vectors)

    def vectors(self) -> NDArray[np.float32]:
        """Return the vectors that the codes stand for."""
        codes_ND, scales_N, factors_D = self._vectors
        return codes_ND * factors_D * scales_N[:, None]
