"""The nearest-neighbour index behind one small interface; hnswlib is the default.

Shapes: B queries, D dimensions, K neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import hnswlib
import numpy as np
from numpy.typing import NDArray

_MIN_HNSW_M = 2


class NeighbourIndex(Protocol):
    """What the shortlist needs of an index over vectors."""

    count: int

    def search(self, queries_BD: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The k nearest vectors of each query by cosine similarity.

        Returns:
            Ids int64 [B, min(k, count)], nearest first, and cosine similarities float32 of the same shape. Where fewer
            are found, the rest is filled with id -1 and similarity -1.
        """


@dataclass(frozen=True, slots=True)
class HnswParams:
    """Parameters of a hierarchical navigable small world graph (paper, A.1).

    Attributes:
        m: links of a node; more: better recall, slower build, a larger index.
        ef_construction: candidates looked at while building; more: better graph, slower build.
        ef_search: candidates looked at while searching; more: better recall, slower search. hnswlib does not store it
            with an index, so that the manifest must.
    """

    m: int
    ef_construction: int
    ef_search: int

    def __post_init__(self) -> None:
        for name, least in (("m", _MIN_HNSW_M), ("ef_construction", 1), ("ef_search", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"HNSW {name} is {getattr(self, name)}; it must be at least {least}")


class HnswIndex:
    """Cosine similarity over an HNSW graph. Searching is thread-safe and runs on the calling thread alone."""

    def __init__(self, graph: hnswlib.Index, params: HnswParams) -> None:
        self._graph = graph
        self.params = params
        self.count = int(graph.get_current_count())
        graph.set_num_threads(1)
        graph.set_ef(params.ef_search)

    @classmethod
    def build(cls, vectors_ND: NDArray[np.float32], params: HnswParams, seed: int) -> HnswIndex:
        """Index `vectors_ND`, on one thread, because only then is the graph the same every time."""
        count, dim = vectors_ND.shape
        graph = hnswlib.Index(space="cosine", dim=dim)
        graph.init_index(max_elements=count, ef_construction=params.ef_construction, M=params.m, random_seed=seed)
        graph.add_items(vectors_ND, num_threads=1)
        return cls(graph, params)

    @classmethod
    def load(cls, path: Path, dim: int, params: HnswParams) -> HnswIndex:
        """Load an index that `save` wrote. hnswlib trusts its input: verify the file's hash before.

        Raises:
            ValueError: the file is missing or cut short.
        """
        graph = hnswlib.Index(space="cosine", dim=dim)
        try:
            graph.load_index(str(path))
        except RuntimeError as error:
            raise ValueError(f"{path.name} is no whole HNSW graph: {error}") from error
        return cls(graph, params)

    def save(self, path: Path) -> None:
        """Write the graph; `params.ef_search` is not part of it.

        Raises:
            OSError: the file is not whole.
        """
        self._graph.save_index(str(path))
        # hnswlib ignores a full disk.
        written, expected = path.stat().st_size, self._graph.index_file_size()
        if written != expected:
            raise OSError(f"{path} has {written} of {expected} bytes; is the disk full?")

    def vectors(self) -> NDArray[np.float32]:
        """The indexed vectors with unit norm, float32 [count, D], a copy."""
        return np.asarray(self._graph.get_items(np.arange(self.count)), np.float32)

    def search(self, queries_BD: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """See `NeighbourIndex.search`."""
        if queries_BD.shape[1] != self._graph.dim:
            # Before hnswlib, whose error for it is of the same type as for a graph that reaches fewer than k nodes.
            raise ValueError(f"the queries have {queries_BD.shape[1]} dimensions, the index has {self._graph.dim}")
        k = min(k, self.count)
        ids = np.full((len(queries_BD), k), -1, np.int64)
        similarities = np.full((len(queries_BD), k), -1, np.float32)
        try:
            found, distances = self._graph.knn_query(queries_BD, k=k, num_threads=1)
            ids[:], similarities[:] = found, 1 - distances
        except RuntimeError:
            # hnswlib raises for the whole batch when one query reaches fewer than k nodes (clusters of equal vectors).
            for row in range(len(queries_BD)):
                self._search_reachable(queries_BD[row], ids[row], similarities[row])
        return ids, similarities

    def _search_reachable(
        self, query_D: NDArray[np.float32], ids_K: NDArray[np.int64], similarities_K: NDArray[np.float32]
    ) -> None:
        k = len(ids_K)
        while k:
            try:
                found, distances = self._graph.knn_query(query_D, k=k, num_threads=1)
            except RuntimeError:
                k //= 2
                continue
            ids_K[:k], similarities_K[:k] = found[0], 1 - distances[0]
            return
