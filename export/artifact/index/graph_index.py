"""An HNSW graph and its vectors in one memory-mapped file, which our own kernel walks.

The file holds a header of eight little-endian 8-byte fields (a magic number that names the backend, the version, then
`_Sizes`), then the arrays of `GraphIndex.layout`, each of which begins at a multiple of 64 bytes.

Shapes: B queries, N vectors, D dimensions, K neighbours.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from math import prod
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from astec.export.artifact.index.base import HnswParams, unit_rows
from astec.export.artifact.index.hnsw_build import build_graph
from astec.export.artifact.index.hnsw_graph import HnswGraph
from astec.export.artifact.index.hnsw_walk import WalkArguments, walk
from astec.export.artifact.kernels.weight_rows import Weights

_VERSION = 1
_HEADER = struct.Struct("<8s7q")
_ALIGNMENT_BYTES = 64  # a cache line, which the header, int8 vectors of 64 or 128 dimensions and 8 or 16 links fill
_MAX_NODES = 2**31


class Rows(NamedTuple):
    """Vectors of unit norm, or zeros, as an index holds them: vector n is about `rows[n] * factors * scales[n]`.

    Shapes: `rows` [N, D] in float32 or int8; `scales` float32 [N], or [0] where every scale is 1; `factors` float32
    [D].
    """

    rows: Weights
    scales: NDArray[np.float32]
    factors: NDArray[np.float32]


class _Sizes(NamedTuple):
    """The sizes in the header; `m`, `num_upper` (U) and `num_lists` (R) describe the graph, as in `hnsw_graph`."""

    num_nodes: int
    dim: int
    m: int
    num_upper: int
    num_lists: int
    entry: int


Layout = list[tuple[DTypeLike, tuple[int, ...]]]
"""Type and shape of each array in a file."""


class GraphIndex(ABC):
    """Cosine similarity over an HNSW graph, walked by our own kernel. Thread-safe; runs on the calling thread only.

    A backend is a subclass, which says how vectors are rounded and stored.

    Args:
        vectors: the vectors.
        graph: over the vectors.
        ef_search: candidates examined by a search.
    """

    magic: ClassVar[bytes]
    """The first 8 bytes of a file of this backend."""
    kind: ClassVar[str]
    """The type of the vectors, as errors name it."""

    def __init__(self, vectors: Rows, graph: HnswGraph, ef_search: int) -> None:
        self._vectors, self._graph, self._ef_search = vectors, graph, ef_search
        self.count = len(vectors.rows)

    @classmethod
    @abstractmethod
    def stored(cls, units_ND: NDArray[np.float32]) -> Rows:
        """Return vectors of unit norm, or zeros, as this backend stores them."""

    @classmethod
    @abstractmethod
    def layout_of_vectors(cls, num_nodes: int, dim: int) -> Layout:
        """Return type and shape of each array that holds the vectors in a file."""

    @classmethod
    @abstractmethod
    def opened(cls, arrays: list[NDArray[Any]]) -> Rows:
        """Return the vectors in the arrays of `layout_of_vectors`.

        Raises:
            ValueError: the arrays hold a number that would make a similarity NaN or infinite.
        """

    @classmethod
    @abstractmethod
    def written(cls, vectors: Rows) -> list[NDArray[Any]]:
        """Return the arrays of `layout_of_vectors`."""

    @classmethod
    def build(cls, vectors_ND: NDArray[np.float32], params: HnswParams, seed: int) -> Self:
        """Build the graph over the vectors in float32 on all CPUs, then store the vectors as the backend does.

        Raises:
            ValueError: a vector holds NaN or infinity.
        """
        units_ND = unit_rows(vectors_ND)
        graph = build_graph(units_ND, params, seed)
        return cls(cls.stored(units_ND), graph, params.ef_search)

    @classmethod
    def load(cls, path: Path, dim: int, params: HnswParams) -> Self:
        """Map the file and verify its links."""
        try:
            content = np.asarray(np.memmap(path, np.uint8, "r"))
        except (OSError, ValueError) as error:
            raise ValueError(f"{path.name} cannot be read: {error}") from error
        try:
            sizes = cls._read_sizes(content, dim)
            arrays = [
                content[begin:end].view(dtype).reshape(shape)
                for (begin, end), (dtype, shape) in zip(_bounds(cls._layout(sizes)), cls._layout(sizes), strict=True)
            ]
            *of_vectors, links_NM, upper_nodes_U, upper_bounds, upper_links_RM = arrays
            graph = HnswGraph(links_NM, upper_nodes_U, upper_bounds, upper_links_RM, sizes.entry)
            graph.require_sound()
            vectors = cls.opened(of_vectors)
        except ValueError as error:
            raise ValueError(f"{path.name} is no sound {cls.kind} graph: {error}; export again") from error
        return cls(vectors, graph, params.ef_search)

    def search_with(self, ef_search: int) -> None:
        """Set the number of candidates that later searches examine."""
        self._ef_search = ef_search

    def save(self, path: Path) -> None:
        """Write the file that `load` maps."""
        graph = self._graph
        num_lists, m = graph.upper_links.shape
        dim = self._vectors.rows.shape[1]
        sizes = _Sizes(self.count, dim, m, len(graph.upper_nodes), num_lists, graph.entry)
        links = (graph.links, graph.upper_nodes, graph.upper_bounds, graph.upper_links)
        with path.open("wb") as stream:
            stream.write(_HEADER.pack(self.magic, _VERSION, *sizes))
            for array in (*self.written(self._vectors), *links):
                stream.write(bytes(-stream.tell() % _ALIGNMENT_BYTES))
                stream.write(array.data)

    @abstractmethod
    def vectors(self) -> NDArray[np.float32]:
        """Return the vectors that a search compares with, float32 [N, D]."""

    def search(self, queries_BD: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Find the k nearest vectors of each query that the graph reaches."""
        dim = self._vectors.rows.shape[1]
        if queries_BD.shape[1] != dim:
            raise ValueError(f"the queries have {queries_BD.shape[1]} dimensions, the index has {dim}")
        return walk(np.ascontiguousarray(queries_BD), *self.arguments(k))

    def arguments(self, k: int) -> WalkArguments:
        """Return the arguments of `walk` after the queries, for k neighbours."""
        k, graph = min(k, self.count), self._graph
        links = (graph.links, graph.upper_nodes, graph.upper_bounds, graph.upper_links, graph.entry)
        return *self._vectors, *links, k, min(max(self._ef_search, k), self.count)

    @classmethod
    def _layout(cls, sizes: _Sizes) -> Layout:
        """Return type and shape of each array in a file: the vectors, then the arrays of `HnswGraph`."""
        return [
            *cls.layout_of_vectors(sizes.num_nodes, sizes.dim),
            (np.int32, (sizes.num_nodes, 2 * sizes.m)),
            (np.int32, (sizes.num_upper,)),
            (np.int32, (sizes.num_upper + 1,)),
            (np.int32, (sizes.num_lists, sizes.m)),
        ]

    @classmethod
    def _read_sizes(cls, content: NDArray[np.uint8], dim: int) -> _Sizes:
        """Read the header, and verify that the file has as many bytes as its sizes need."""
        if len(content) < _HEADER.size:
            raise ValueError(f"it has {len(content)} bytes, fewer than its header of {_HEADER.size}")
        magic, version, *numbers = _HEADER.unpack(content[: _HEADER.size].tobytes())
        sizes = _Sizes(*numbers)
        if magic != cls.magic or version != _VERSION:
            raise ValueError(f"it begins with {magic!r} and version {version}, not with {cls.magic!r} and {_VERSION}")
        if sizes.dim != dim:
            raise ValueError(f"it has vectors of {sizes.dim} dimensions, not of {dim}")
        if min(sizes.num_nodes, sizes.m, sizes.num_upper) < 1 or sizes.num_lists < 0 or sizes.num_nodes >= _MAX_NODES:
            raise ValueError(f"{sizes} is no size of a graph")
        *_, (_, end) = _bounds(cls._layout(sizes))
        if len(content) != end:
            raise ValueError(f"it has {len(content)} of {end} bytes")
        return sizes


def _bounds(layout: Layout) -> list[tuple[int, int]]:
    """Return the first byte of each array and the one after its last; Python's integers cannot overflow."""
    bounds, end = [], _HEADER.size
    for dtype, shape in layout:
        begin = end + -end % _ALIGNMENT_BYTES
        end = begin + np.dtype(dtype).itemsize * prod(shape)
        bounds.append((begin, end))
    return bounds
