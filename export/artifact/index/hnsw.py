"""An HNSW graph searched by hnswlib: the backend of older artifacts in float32, and the reference of our own search.

Shapes: B queries, N vectors, D dimensions, K neighbours.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import hnswlib
import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.index.base import HnswParams, unit_rows
from astec.export.artifact.index.hnsw_build import build_graph
from astec.export.artifact.index.hnsw_file import require_sound_file, write_file


class HnswIndex:
    """Cosine similarity over an HNSW graph. Searching is thread-safe and runs on the calling thread only."""

    def __init__(self, graph: hnswlib.Index, params: HnswParams) -> None:
        self._graph = graph
        self.params = params
        self.count = int(graph.get_current_count())
        graph.set_num_threads(1)
        graph.set_ef(params.ef_search)

    @classmethod
    def build(cls, vectors_ND: NDArray[np.float32], params: HnswParams, seed: int) -> HnswIndex:
        """Build the graph on all CPUs, and hand it to hnswlib in a temporary file.

        Raises:
            ValueError: a vector holds NaN or infinity.
            OSError: the temporary file was not written completely.
        """
        units_ND = unit_rows(vectors_ND)
        graph = build_graph(units_ND, params, seed)
        library = hnswlib.Index(space="cosine", dim=vectors_ND.shape[1])
        with TemporaryDirectory() as folder:
            path = Path(folder) / "graph"
            write_file(path, units_ND, graph, params.ef_construction)
            library.load_index(str(path))
        return cls(library, params)

    @classmethod
    def load(cls, path: Path, dim: int, params: HnswParams) -> HnswIndex:
        """Verify the file and load the graph into memory."""
        require_sound_file(path, dim)
        graph = hnswlib.Index(space="cosine", dim=dim)
        try:
            graph.load_index(str(path))
        except RuntimeError as error:
            raise ValueError(f"{path.name} is no whole HNSW graph: {error}") from error
        return cls(graph, params)

    def search_with(self, ef_search: int) -> None:
        """Set the number of candidates that later searches examine."""
        self.params = replace(self.params, ef_search=ef_search)
        self._graph.set_ef(ef_search)

    def save(self, path: Path) -> None:
        """Write the graph as hnswlib does, and verify that the file is complete."""
        self._graph.save_index(str(path))
        # hnswlib reports no error when the disk is full.
        written, expected = path.stat().st_size, self._graph.index_file_size()
        if written != expected:
            raise OSError(f"{path} has {written} of {expected} bytes; is the disk full?")

    def vectors(self) -> NDArray[np.float32]:
        """Return a copy of the vectors."""
        return np.asarray(self._graph.get_items(np.arange(self.count)), np.float32)

    def search(self, queries_BD: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Find the k nearest vectors of each query that the graph reaches."""
        if queries_BD.shape[1] != self._graph.dim:
            # Checked here, because hnswlib raises the same error type for a graph that reaches fewer than k nodes.
            raise ValueError(f"the queries have {queries_BD.shape[1]} dimensions, the index has {self._graph.dim}")
        k = min(k, self.count)
        try:
            ids_BK, distances_BK = self._graph.knn_query(queries_BD, k=k, num_threads=1)
            return ids_BK.view(np.int64), np.subtract(1, distances_BK, out=distances_BK)
        except RuntimeError:
            # hnswlib fails the whole batch if one query reaches fewer than k nodes (clusters of equal vectors).
            ids = np.full((len(queries_BD), k), -1, np.int64)
            similarities = np.full((len(queries_BD), k), -1, np.float32)
            for row in range(len(queries_BD)):
                self._search_reachable(queries_BD[row], ids[row], similarities[row])
            return ids, similarities

    def _search_reachable(
        self, query_D: NDArray[np.float32], ids_K: NDArray[np.int64], similarities_K: NDArray[np.float32]
    ) -> None:
        """Search one query, and halve k until hnswlib finds as many nodes."""
        k = len(ids_K)
        while k:
            try:
                found, distances = self._graph.knn_query(query_D, k=k, num_threads=1)
            except RuntimeError:
                k //= 2
                continue
            ids_K[:k], similarities_K[:k] = found[0], 1 - distances[0]
            return
