"""The best hits of some queries so far, while similarities to vectors come in blocks.

Similarities are compared with the k-th best so far: nearly all fall below it, so that a block costs little more than
reading it.

Shapes: B queries, b of them in a block, m vectors of a block, K hits of a query, C hits kept meanwhile.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from astec.export.artifact.kernels.weight_rows import prefetch_row

_LANES = 16  # similarities that are compared with the threshold at once
_MIN_SPARE = 64
_AHEAD = 4  # rows that are fetched from memory while others are multiplied


class BestHits:
    """The k vectors with the highest similarity to each query, among those seen so far.

    Of equal similarities those that came first are kept, and the lowest ids come first in the result.

    Args:
        num_queries: B.
        k: K, at most the number of vectors.
    """

    def __init__(self, num_queries: int, k: int) -> None:
        self._k = k
        capacity = k + max(k, _MIN_SPARE)
        self._similarities_BC = np.empty((num_queries, capacity), np.float32)
        self._ids_BC = np.empty((num_queries, capacity), np.int64)
        self._sizes_B = np.zeros(num_queries, np.int64)
        self._thresholds_B = np.full(num_queries, -np.inf, np.float32)

    def add(self, similarities_bm: NDArray[np.float32], queries_b: NDArray[np.int64], ids_m: NDArray[np.int64]) -> None:
        """Take in the similarities of some queries to vectors with these ids, which ascend; no pair comes twice."""
        state = self._similarities_BC, self._ids_BC, self._sizes_B, self._thresholds_B
        _add_block(similarities_bm, queries_b, ids_m, self._k, *state)

    def sorted(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return ids [B, K] and similarities [B, K], best first; -1 where a query has met fewer vectors."""
        return _sort_rows(self._similarities_BC, self._ids_BC, self._sizes_B, self._k)


def best_of(
    ids_BC: NDArray[np.int64], queries_BD: NDArray[np.float32], units_MD: NDArray[np.float32], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Compute the similarities of candidates exactly, and return ids [B, k] and similarities [B, k], best first."""
    similarities_BC = _similarities(ids_BC, queries_BD, units_MD)
    order_BK = np.argsort(-similarities_BC, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(ids_BC, order_BK, 1), np.take_along_axis(similarities_BC, order_BK, 1)


@njit(cache=True, nogil=True, fastmath=True)
def _similarities(
    ids_BC: NDArray[np.int64], queries_BD: NDArray[np.float32], units_MD: NDArray[np.float32]
) -> NDArray[np.float32]:
    similarities_BC = np.empty(ids_BC.shape, np.float32)
    for query in range(len(ids_BC)):
        for position in range(ids_BC.shape[1]):
            if position + _AHEAD < ids_BC.shape[1]:
                prefetch_row(units_MD, ids_BC[query, position + _AHEAD])
            similarity = np.float32(0)
            for d in range(units_MD.shape[1]):
                similarity += queries_BD[query, d] * units_MD[ids_BC[query, position], d]
            similarities_BC[query, position] = similarity
    return similarities_BC


@njit(cache=True, nogil=True, inline="always")
def _precedes(similarity: np.float32, identity: int, other: np.float32, other_identity: int) -> bool:
    return bool(similarity > other or (similarity == other and identity < other_identity))


@njit(cache=True, nogil=True)
def _add_block(
    similarities_bm: NDArray[np.float32],
    queries_b: NDArray[np.int64],
    ids_m: NDArray[np.int64],
    k: int,
    best_BC: NDArray[np.float32],
    ids_BC: NDArray[np.int64],
    sizes_B: NDArray[np.int64],
    thresholds_B: NDArray[np.float32],
) -> None:
    num_vectors, capacity = len(ids_m), best_BC.shape[1]
    for position in range(len(queries_b)):
        query = queries_b[position]
        row, best, ids = similarities_bm[position], best_BC[query], ids_BC[query]
        size, threshold = sizes_B[query], thresholds_B[query]
        for begin in range(0, num_vectors, _LANES):
            end = min(begin + _LANES, num_vectors)
            highest = row[begin]
            for i in range(begin + 1, end):
                highest = max(highest, row[i])
            if highest <= threshold:
                continue
            for i in range(begin, end):
                if row[i] > threshold:
                    best[size], ids[size] = row[i], ids_m[i]
                    size += 1
                    if size == capacity:
                        _select(best, ids, size, k)
                        size, threshold = k, best[:k].min()
        sizes_B[query], thresholds_B[query] = size, threshold


@njit(cache=True, nogil=True)
def _select(best: NDArray[np.float32], ids: NDArray[np.int64], size: int, k: int) -> None:
    """Move the k best of `size` hits to the front, by quickselect."""
    low, high = 0, size - 1
    while low < high:
        middle = (low + high) // 2
        pivot, pivot_id = best[middle], ids[middle]
        left, right = low, high
        while left <= right:
            while _precedes(best[left], ids[left], pivot, pivot_id):
                left += 1
            while _precedes(pivot, pivot_id, best[right], ids[right]):
                right -= 1
            if left <= right:
                best[left], best[right] = best[right], best[left]
                ids[left], ids[right] = ids[right], ids[left]
                left += 1
                right -= 1
        if k - 1 <= right:
            high = right
        elif k - 1 >= left:
            low = left
        else:
            return


@njit(cache=True, nogil=True)
def _sort_rows(
    best_BC: NDArray[np.float32], ids_BC: NDArray[np.int64], sizes_B: NDArray[np.int64], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    ids_BK = np.full((len(sizes_B), k), -1, np.int64)
    sorted_BK = np.full((len(sizes_B), k), -1, np.float32)
    for query in range(len(sizes_B)):
        best, ids, size = best_BC[query], ids_BC[query], sizes_B[query]
        if size > k:
            _select(best, ids, size, k)
            size = k
        by_id = np.argsort(ids[:size])  # a stable sort by similarity then leaves equal ones in the order of their ids
        order = by_id[np.argsort(-best[:size][by_id], kind="mergesort")]
        ids_BK[query, :size], sorted_BK[query, :size] = ids[:size][order], best[:size][order]
    return ids_BK, sorted_BK
