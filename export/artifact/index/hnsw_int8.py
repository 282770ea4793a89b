"""An HNSW graph over vectors in int8, searched in its memory-mapped file: a query reads a quarter of the bytes.

The graph is built from the vectors in float32. The file holds codes instead: a vector is about
`codes * factors * scale`, with a factor for each dimension and a scale for each vector. A factor grows with the square
root of its dimension's size. Where a few dimensions hold most of the vectors' length, as principal directions do, this
halves the rounding error compared with equal steps in all dimensions.

The file holds a header of eight little-endian 8-byte fields (a magic number, the version, then `_Sizes`), then the
arrays of `_Sizes.arrays`, each of which begins at a multiple of 64 bytes.

Shapes: B queries, N vectors, D dimensions, K neighbours.
"""

from __future__ import annotations

import struct
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from astec.export.artifact.index.base import HnswParams, unit_rows
from astec.export.artifact.index.hnsw_build import build_graph
from astec.export.artifact.index.hnsw_graph import HnswGraph
from astec.export.artifact.index.hnsw_walk import WalkArguments, walk
from astec.export.artifact.kernels.quantization import quantize_int8
from astec.export.artifact.kernels.weight_rows import read_only
from astec.export.artifact.storage.checked_arrays import is_finite, require

_MAGIC, _VERSION = b"HNSWINT8", 1
_HEADER = struct.Struct("<8s7q")
_ALIGNMENT_BYTES = 64  # a cache line, which the header, vectors of 64 or 128 dimensions and 8 or 16 links fill
_MAX_NODES = 2**31


class _Sizes(NamedTuple):
    """The sizes in the header; `m`, `num_upper` (U) and `num_lists` (R) describe the graph, as in `hnsw_graph`."""

    num_nodes: int
    dim: int
    m: int
    num_upper: int
    num_lists: int
    entry: int

    def arrays(self) -> list[tuple[DTypeLike, tuple[int, ...]]]:
        """Return type and shape of each array in the file: codes, scales, factors, and the arrays of `HnswGraph`."""
        return [
            (np.int8, (self.num_nodes, self.dim)),
            (np.float32, (self.num_nodes,)),
            (np.float32, (self.dim,)),
            (np.int32, (self.num_nodes, 2 * self.m)),
            (np.int32, (self.num_upper,)),
            (np.int32, (self.num_upper + 1,)),
            (np.int32, (self.num_lists, self.m)),
        ]


class Int8Index:
    """Cosine similarity over an HNSW graph with int8 vectors. Thread-safe; runs on the calling thread only.

    Args:
        codes_ND: int8 [N, D].
        scales_N: float32 [N], 0 for a vector of zeros.
        factors_D: float32 [D].
        graph: over the vectors.
        ef_search: candidates examined by a search.
    """

    def __init__(
        self,
        codes_ND: NDArray[np.int8],
        scales_N: NDArray[np.float32],
        factors_D: NDArray[np.float32],
        graph: HnswGraph,
        ef_search: int,
    ) -> None:
        self._codes_ND, self._scales_N, self._factors_D = codes_ND, scales_N, factors_D
        self._graph, self._ef_search = graph, ef_search
        self.count = len(codes_ND)

    @classmethod
    def build(cls, vectors_ND: NDArray[np.float32], params: HnswParams, seed: int) -> Int8Index:
        """Build the graph over the vectors in float32 on all CPUs, and round the vectors to int8.

        Raises:
            ValueError: a vector holds NaN or infinity.
        """
        units_ND = unit_rows(vectors_ND)
        graph = build_graph(units_ND, params, seed)
        squares_D = np.einsum("nd,nd->d", units_ND, units_ND, dtype=np.float64) / len(units_ND)
        factors_D = np.where(squares_D > 0, squares_D**0.25, 1).astype(np.float32)
        codes_ND, _ = quantize_int8(units_ND / factors_D)
        lengths_N = np.linalg.norm(codes_ND * factors_D, axis=1)
        scales_N = np.divide(1, lengths_N, out=np.zeros_like(lengths_N), where=lengths_N > 0)
        return cls(read_only(codes_ND), read_only(scales_N), read_only(factors_D), graph, params.ef_search)

    @classmethod
    def load(cls, path: Path, dim: int, params: HnswParams) -> Int8Index:
        """Map the file and verify its links; the codes are not read."""
        try:
            content = np.asarray(np.memmap(path, np.uint8, "r"))
        except (OSError, ValueError) as error:
            raise ValueError(f"{path.name} cannot be read: {error}") from error
        try:
            sizes = _read_sizes(content, dim)
            codes_ND, scales_N, factors_D, links_NM, upper_nodes_U, upper_bounds, upper_RM = _read_arrays(
                content, sizes
            )
            graph = HnswGraph(links_NM, upper_nodes_U, upper_bounds, upper_RM, sizes.entry)
            graph.require_sound()
            require(is_finite(scales_N), "its scales hold NaN or infinity")
            require(is_finite(factors_D), "its factors hold NaN or infinity")
        except ValueError as error:
            raise ValueError(f"{path.name} is no sound int8 graph: {error}; export again") from error
        return cls(codes_ND, scales_N, factors_D, graph, params.ef_search)

    def search_with(self, ef_search: int) -> None:
        """Set the number of candidates that later searches examine."""
        self._ef_search = ef_search

    def save(self, path: Path) -> None:
        """Write the file that `load` maps."""
        graph = self._graph
        num_lists, m = graph.upper_links.shape
        sizes = _Sizes(self.count, len(self._factors_D), m, len(graph.upper_nodes), num_lists, graph.entry)
        links = (graph.links, graph.upper_nodes, graph.upper_bounds, graph.upper_links)
        with path.open("wb") as stream:
            stream.write(_HEADER.pack(_MAGIC, _VERSION, *sizes))
            for array in (self._codes_ND, self._scales_N, self._factors_D, *links):
                stream.write(bytes(-stream.tell() % _ALIGNMENT_BYTES))
                stream.write(array.data)

    def vectors(self) -> NDArray[np.float32]:
        """Return the vectors that the codes stand for."""
        return self._codes_ND * self._factors_D * self._scales_N[:, None]

    def search(self, queries_BD: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Find the k nearest vectors of each query that the graph reaches."""
        dim = len(self._factors_D)
        if queries_BD.shape[1] != dim:
            raise ValueError(f"the queries have {queries_BD.shape[1]} dimensions, the index has {dim}")
        return walk(np.ascontiguousarray(queries_BD), *self.arguments(k))

    def arguments(self, k: int) -> WalkArguments:
        """Return the arguments of `walk` after the queries, for k neighbours."""
        k, graph = min(k, self.count), self._graph
        vectors = (self._codes_ND, self._scales_N, self._factors_D)
        links = (graph.links, graph.upper_nodes, graph.upper_bounds, graph.upper_links, graph.entry)
        return *vectors, *links, k, min(max(self._ef_search, k), self.count)


def _read_sizes(content: NDArray[np.uint8], dim: int) -> _Sizes:
    """Read the header, and verify that the file has as many bytes as its sizes need."""
    if len(content) < _HEADER.size:
        raise ValueError(f"it has {len(content)} bytes, fewer than its header of {_HEADER.size}")
    magic, version, *numbers = _HEADER.unpack(content[: _HEADER.size].tobytes())
    sizes = _Sizes(*numbers)
    if magic != _MAGIC or version != _VERSION:
        raise ValueError(f"it begins with {magic!r} and version {version}, not with {_MAGIC!r} and {_VERSION}")
    if sizes.dim != dim:
        raise ValueError(f"it has vectors of {sizes.dim} dimensions, not of {dim}")
    if min(sizes.num_nodes, sizes.m, sizes.num_upper) < 1 or sizes.num_lists < 0 or sizes.num_nodes >= _MAX_NODES:
        raise ValueError(f"{sizes} is no size of a graph")
    *_, (_, end) = _bounds(sizes)
    if len(content) != end:
        raise ValueError(f"it has {len(content)} of {end} bytes")
    return sizes


def _read_arrays(content: NDArray[np.uint8], sizes: _Sizes) -> list[NDArray[Any]]:
    """Return the arrays as views of the file."""
    return [
        content[begin:end].view(dtype).reshape(shape)
        for (begin, end), (dtype, shape) in zip(_bounds(sizes), sizes.arrays(), strict=True)
    ]


def _bounds(sizes: _Sizes) -> list[tuple[int, int]]:
    """Return the first byte of each array and the one after its last; Python's integers cannot overflow."""
    bounds, end = [], _HEADER.size
    for dtype, shape in sizes.arrays():
        begin = end + -end % _ALIGNMENT_BYTES
        end = begin + np.dtype(dtype).itemsize * prod(shape)
        bounds.append((begin, end))
    return bounds
