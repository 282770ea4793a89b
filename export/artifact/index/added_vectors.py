"""Vectors that were added to an index after it was built: searched exactly, and merged with the hits of the index.

Shapes: B queries, A added vectors, D dimensions, H hits of the index, K neighbours.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numba import njit
from numpy.typing import NDArray

from astec.export.artifact.storage.checked_arrays import open_array, require, require_finite

ADDED_VECTORS_FILE = "added_vectors.npy"


def save_added_vectors(folder: Path, units_AD: NDArray[np.float32]) -> None:
    """Write the vectors, rows of unit norm."""
    np.save(folder / ADDED_VECTORS_FILE, units_AD)


def open_added_vectors(folder: Path, count: int, dim: int) -> NDArray[np.float32]:
    """Map the vectors, float32 [A, D].

    Raises:
        ValueError: the file has another type or shape, or holds NaN or infinity.
    """
    units_AD = open_array(folder, ADDED_VECTORS_FILE, np.float32, (count, dim))
    require(count > 0, f"{ADDED_VECTORS_FILE} holds no vector")
    require_finite({ADDED_VECTORS_FILE: units_AD})
    return units_AD


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def merge_added(
    queries_BD: NDArray[np.float32],
    added_AD: NDArray[np.float32],
    first: int,
    hits_BH: NDArray[np.int64],
    hit_similarities_BH: NDArray[np.float32],
    neighbours: int,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the nearest of the hits of an index and the added vectors, as `NeighbourIndex.search` returns hits.

    Args:
        queries_BD: the queries.
        added_AD: the added vectors, rows of unit norm.
        first: the id of the first added vector, which is the number of vectors in the index.
        hits_BH: the hits of the index, nearest first, -1 where there are fewer.
        hit_similarities_BH: their cosine similarities.
        neighbours: the hits of a query, together.
    """
    most = min(neighbours, first + len(added_AD))
    ids_BK = np.full((len(queries_BD), most), -1, np.int64)
    similarities_BK = np.full((len(queries_BD), most), -1, np.float32)
    for query in range(len(queries_BD)):
        squares = np.float32(0)
        for d in range(queries_BD.shape[1]):
            squares += queries_BD[query, d] * queries_BD[query, d]
        scale = np.float32(1) / np.sqrt(squares) if squares > 0 else np.float32(0)
        found = 0
        while found < hits_BH.shape[1] and hits_BH[query, found] >= 0:
            ids_BK[query, found], similarities_BK[query, found] = (
                hits_BH[query, found],
                hit_similarities_BH[query, found],
            )
            found += 1
        for a in range(len(added_AD)):
            dot = np.float32(0)
            for d in range(queries_BD.shape[1]):
                dot += added_AD[a, d] * queries_BD[query, d]
            similarity = dot * scale
            if found < most:
                rank = found
                found += 1
            elif most > 0 and similarity > similarities_BK[query, most - 1]:
                rank = most - 1
            else:
                continue
            while rank > 0 and similarities_BK[query, rank - 1] < similarity:
                similarities_BK[query, rank] = similarities_BK[query, rank - 1]
                ids_BK[query, rank] = ids_BK[query, rank - 1]
                rank -= 1
            similarities_BK[query, rank], ids_BK[query, rank] = similarity, first + a
    return ids_BK, similarities_BK
