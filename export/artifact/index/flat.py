"""Exact search by brute force over memory-mapped vectors, which for few vectors is faster than any graph.

Shapes: B queries, N vectors, D dimensions, K neighbours.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numba import njit
from numpy.typing import NDArray

from astec.export.artifact.index.base import HnswParams, unit_rows
from astec.export.artifact.kernels.weight_rows import read_only
from astec.export.artifact.storage.array_file import map_array


class FlatIndex:
    """Cosine similarity with every vector. Thread-safe; runs on the calling thread only.

    Args:
        units_ND: the vectors, rows of unit norm or zeros, float32 [N, D].
    """

    def __init__(self, units_ND: NDArray[np.float32]) -> None:
        self._units_ND = read_only(units_ND)
        self.count = len(units_ND)

    @classmethod
    def build(cls, vectors_ND: NDArray[np.float32], params: HnswParams, seed: int) -> FlatIndex:
        """Scale the vectors to unit norm; parameters and seed are ignored."""
        return cls(unit_rows(vectors_ND))

    @classmethod
    def load(cls, path: Path, dim: int, params: HnswParams) -> FlatIndex:
        """Map the vectors in the file."""
        try:
            units_ND = map_array(path)
        except (OSError, ValueError) as error:
            raise ValueError(f"{path.name} cannot be read: {error}") from error
        if units_ND.dtype != np.float32 or units_ND.ndim != 2 or units_ND.shape[1] != dim:
            raise ValueError(f"{path.name} is {units_ND.dtype} {units_ND.shape}, not float32 [vectors, {dim}]")
        return cls(units_ND)

    def search_with(self, ef_search: int) -> None:
        """Do nothing: an exact search always examines all vectors."""

    def save(self, path: Path) -> None:
        """Write the vectors as a .npy file."""
        with path.open("wb") as stream:  # np.save would append .npy to the name
            np.save(stream, self._units_ND)

    def vectors(self) -> NDArray[np.float32]:
        """Return the vectors, without a copy."""
        return self._units_ND

    def search(self, queries_BD: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Find the k nearest vectors of each query, exactly."""
        if queries_BD.shape[1] != self._units_ND.shape[1]:
            raise ValueError(
                f"the queries have {queries_BD.shape[1]} dimensions, the index has {self._units_ND.shape[1]}"
            )
        return _search(np.ascontiguousarray(queries_BD), self._units_ND, min(k, self.count))


@njit(cache=True, nogil=True, fastmath=True)
def _search(
    queries_BD: NDArray[np.float32], units_ND: NDArray[np.float32], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    num_queries, dim = queries_BD.shape
    ids_BK, similarities_BK = np.empty((num_queries, k), np.int64), np.empty((num_queries, k), np.float32)
    similarities_N = np.empty(len(units_ND), np.float32)
    for query in range(num_queries):
        squares = np.float32(0)
        for d in range(dim):
            squares += queries_BD[query, d] * queries_BD[query, d]
        scale = np.float32(1) / np.sqrt(squares) if squares > 0 else np.float32(0)
        for n in range(len(units_ND)):
            dot = np.float32(0)
            for d in range(dim):
                dot += units_ND[n, d] * queries_BD[query, d]
            similarities_N[n] = dot * scale
        _keep_best(similarities_N, ids_BK[query], similarities_BK[query])
    return ids_BK, similarities_BK


@njit(cache=True, nogil=True)
def _keep_best(
    similarities_N: NDArray[np.float32], ids_K: NDArray[np.int64], similarities_K: NDArray[np.float32]
) -> None:
    """Keep the K highest similarities, best first; most vectors cost one comparison with the worst kept one."""
    found, most = 0, len(ids_K)
    for n in range(len(similarities_N)):
        similarity = similarities_N[n]
        if found < most:
            rank = found
            found += 1
        elif most and similarity > similarities_K[most - 1]:
            rank = most - 1
        else:
            continue
        while rank > 0 and similarities_K[rank - 1] < similarity:
            similarities_K[rank], ids_K[rank] = similarities_K[rank - 1], ids_K[rank - 1]
            rank -= 1
        similarities_K[rank], ids_K[rank] = similarity, n
