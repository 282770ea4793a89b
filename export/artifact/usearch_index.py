"""An HNSW graph by usearch, which maps its file: no process copies the vectors. An extra: `pip install usearch`.

Shapes: B queries, N vectors, D dimensions, K neighbours.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from usearch.index import Index

from astec.export.artifact.index import HnswParams, unit_rows


class UsearchIndex:
    """Cosine similarity over an HNSW graph."""

    def __init__(self, graph: Index, params: HnswParams) -> None:
        self._graph = graph
        self.search_with(params.ef_search)
        self.count = len(graph)

    @classmethod
    def build(cls, vectors_ND: NDArray[np.float32], params: HnswParams, seed: int) -> UsearchIndex:
        """See `StoredIndex.build`. On one thread, and the library draws levels from a seed of its own."""
        count, dim = vectors_ND.shape
        graph = Index(
            ndim=dim,
            metric="cos",
            dtype="f32",
            connectivity=params.m,
            expansion_add=params.ef_construction,
            expansion_search=params.ef_search,
        )
        graph.add(np.arange(count), unit_rows(vectors_ND), threads=1)
        return cls(graph, params)

    @classmethod
    def load(cls, path: Path, dim: int, params: HnswParams) -> UsearchIndex:
        """See `StoredIndex.load`."""
        try:
            graph = Index.restore(str(path), view=True)
        except (RuntimeError, ValueError) as error:
            raise ValueError(f"{path.name} is no whole usearch graph: {error}") from error
        if graph is None or graph.ndim != dim:
            raise ValueError(f"{path.name} is no usearch graph of {dim} dimensions")
        return cls(graph, params)

    def search_with(self, ef_search: int) -> None:
        """See `StoredIndex.search_with`."""
        self._graph.expansion_search = ef_search  # type: ignore[misc]  # the library's annotation forgets the setter

    def save(self, path: Path) -> None:
        """See `StoredIndex.save`."""
        try:
            self._graph.save(str(path))
        except RuntimeError as error:
            raise OSError(f"{path} cannot be written: {error}; is the disk full?") from error
        if path.stat().st_size < self._graph.serialized_length:
            raise OSError(f"{path} is not whole; is the disk full?")

    def vectors(self) -> NDArray[np.float32]:
        """See `StoredIndex.vectors`."""
        return np.asarray(self._graph.get(np.arange(self.count)), np.float32)

    def search(self, queries_BD: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """See `NeighbourIndex.search`."""
        if queries_BD.shape[1] != self._graph.ndim:
            raise ValueError(f"the queries have {queries_BD.shape[1]} dimensions, the index has {self._graph.ndim}")
        k = min(k, self.count)
        ids_BK = np.full((len(queries_BD), k), -1, np.int64)
        similarities_BK = np.full((len(queries_BD), k), -1, np.float32)
        # Row by row: with several rows the library starts a pool of threads for each call.
        for row, query_D in enumerate(queries_BD):
            matches = self._graph.search(query_D, k, threads=1)
            found = len(matches.keys)
            ids_BK[row, :found] = matches.keys
            similarities_BK[row, :found] = 1 - matches.distances
        return ids_BK, similarities_BK
