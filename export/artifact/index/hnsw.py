"""The default index: an HNSW graph built and searched by hnswlib.

Shapes: B queries, N vectors, D dimensions, K neighbours; the shapes of the graph as in `hnsw_graph`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import hnswlib
import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.index.base import HnswParams
from astec.export.artifact.index.hnsw_file import link_lists, require_sound_file
from astec.export.artifact.index.hnsw_graph import NO_LINK, HnswGraph
from astec.export.artifact.kernels.weight_rows import read_only


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
        """Build the graph on one thread, because only then is it the same every time."""
        count, dim = vectors_ND.shape
        graph = hnswlib.Index(space="cosine", dim=dim)
        graph.init_index(max_elements=count, ef_construction=params.ef_construction, M=params.m, random_seed=seed)
        graph.add_items(vectors_ND, num_threads=1)
        return cls(graph, params)

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

    def graph(self) -> HnswGraph:
        """Return a copy of the links.

        Raises:
            ValueError: the nodes are not in the order of the vectors, as they are in every graph that `build` makes.
        """
        state = self._graph.__getstate__()[0]
        if not np.array_equal(state["label_lookup_internal"], state["label_lookup_external"]):
            raise ValueError("the nodes of the graph are in another order than its vectors; build it on one thread")
        levels_N = state["element_levels"][: self.count]
        records = state["data_level0"].reshape(-1, state["size_data_per_element"])[: self.count]
        links_NM = link_lists(records[:, : 4 * (state["max_M0"] + 1)])
        entry = state["enterpoint_node"]
        upper_nodes_U = np.union1d(np.flatnonzero(levels_N > 0), [entry]).astype(np.int32)
        upper_bounds = np.concatenate([[0], np.cumsum(levels_N[upper_nodes_U])]).astype(np.int32)
        upper_RM = link_lists(state["link_lists"].reshape(-1, state["size_links_per_element"]))
        numbers_RM = np.searchsorted(upper_nodes_U, upper_RM).astype(np.int32)
        upper_links_RM = np.where(upper_RM == NO_LINK, np.int32(NO_LINK), numbers_RM)
        return HnswGraph(
            read_only(links_NM),
            read_only(upper_nodes_U),
            read_only(upper_bounds),
            read_only(upper_links_RM),
            int(np.searchsorted(upper_nodes_U, entry)),
        )

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
