"""Module I's surrogate labels: balanced 2-means++ over label centroids (paper, sections 4 and A.2).

Labels are split in two equal halves again and again until the requested number of clusters is reached. All levels work
on the sparse centroids in place, so that no memory beyond the centroids is needed.

Shapes: L labels, V vocabulary, K clusters.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

_MAX_ITERATIONS = 20
_TOLERANCE = 1e-4
_GROUPS = 64  # of segments, each split on one thread


def label_centroids(features_NV: csr_matrix, labels_NL: csr_matrix) -> csr_matrix:
    """Return mu_l, the L2-normalised mean of the bags of the texts that carry label l, sparse [L, V]."""
    return normalize_rows((labels_NL.T.tocsr() @ features_NV).tocsr())


def normalize_rows(matrix: csr_matrix) -> csr_matrix:
    """Return `matrix` with rows of L2 norm 1; empty rows stay empty."""
    # The squares share the indices of the matrix: `matrix.multiply(matrix)` needs three times the memory of both.
    squares = csr_matrix((matrix.data * matrix.data, matrix.indices, matrix.indptr), shape=matrix.shape)
    norms = np.sqrt(np.asarray(squares.sum(axis=1)).ravel())
    del squares
    norms[norms == 0] = 1
    data = np.repeat(norms, np.diff(matrix.indptr)).astype(np.float32, copy=False)
    np.divide(matrix.data, data, out=data, casting="same_kind")
    return csr_matrix((data, matrix.indices, matrix.indptr), shape=matrix.shape)


def cluster_labels(centroids_LV: csr_matrix, num_clusters: int, seed: int) -> NDArray[np.int64]:
    """Return the cluster of each label, int64 [L]: a power of two of clusters whose sizes differ by at most one.

    Args:
        centroids_LV: label centroids with unit rows.
        num_clusters: an upper bound, rounded down to a power of two. With at least L, each label is its own cluster.
        seed: of the starting points of the 2-means.

    Raises:
        ValueError: for less than one cluster or no label.
    """
    num_labels = centroids_LV.shape[0]
    if num_clusters < 1 or num_labels < 1:
        raise ValueError(f"cannot make {num_clusters} clusters of {num_labels} labels; both must be at least 1")
    if num_clusters >= num_labels:
        return np.arange(num_labels)
    indptr, indices = centroids_LV.indptr.astype(np.int64, copy=False), centroids_LV.indices
    data, num_features = centroids_LV.data.astype(np.float32, copy=False), centroids_LV.shape[1]
    order, bounds = np.arange(num_labels), np.array([0, num_labels])

    def split(begins: NDArray[np.int64], ends: NDArray[np.int64], starts: NDArray[np.float64]) -> None:
        _split(indptr, indices, data, num_features, order, begins, ends, starts)

    generator = np.random.default_rng(seed)
    with ThreadPoolExecutor() as pool:
        for _ in range(num_clusters.bit_length() - 1):
            begins, ends = bounds[:-1], bounds[1:]
            segments = (begins, ends, generator.random((len(begins), 2)))
            groups = (np.array_split(array, min(len(begins), _GROUPS)) for array in segments)
            list(pool.map(split, *groups))  # wait for the whole level, and raise any error of a thread
            bounds = np.append(np.column_stack([begins, begins + (ends - begins + 1) // 2]).ravel(), num_labels)
    clusters = np.empty(num_labels, np.int64)
    clusters[order] = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
    return clusters


@njit(cache=True, nogil=True)
def _split(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    data: NDArray[np.float32],
    num_features: int,
    order: NDArray[np.int64],
    begins: NDArray[np.int64],
    ends: NDArray[np.int64],
    starts: NDArray[np.float64],
) -> None:
    """Permute some segments of `order` in place, so that the members of a segment's first half come first."""
    sums = np.zeros((2, num_features), np.float32)
    for segment in range(len(begins)):
        members = order[begins[segment] : ends[segment]].copy()
        preference = _two_means(indptr, indices, data, members, starts[segment], sums)
        order[begins[segment] : ends[segment]] = members[preference]


@njit(cache=True, nogil=True)
def _middle(size: int) -> int:
    return (size + 1) // 2


@njit(cache=True, nogil=True)
def _two_means(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    data: NDArray[np.float32],
    members: NDArray[np.int64],
    start: NDArray[np.float64],
    sums: NDArray[np.float32],
) -> NDArray[np.int64]:
    """Split members by 2-means: return positions in `members`, whose first half is the first cluster.

    The positions are ordered by preference for the first mean.

    `sums` [2, V] is scratch space, all zero before and after.
    """
    size = len(members)
    preference = _first_preference(indptr, indices, data, members, start, sums)
    previous = -np.inf
    for _ in range(_MAX_ITERATIONS):
        _fill(indptr, indices, data, members, preference, sums)
        similarities = _similarities(indptr, indices, data, members, sums)
        _clear(indptr, indices, members, sums)
        # The norm of a sum of rows, from the rows' products with that sum.
        for half in range(2):
            chosen = preference[: _middle(size)] if half == 0 else preference[_middle(size) :]
            norm = np.sqrt(max(similarities[half][chosen].sum(), 1e-12))
            similarities[half] /= norm
        preference = np.argsort(similarities[1] - similarities[0], kind="mergesort")
        objective = (
            similarities[0][preference[: _middle(size)]].sum() + similarities[1][preference[_middle(size) :]].sum()
        )
        if objective - previous < _TOLERANCE * size:
            break
        previous = objective
    return preference


@njit(cache=True, nogil=True)
def _first_preference(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    data: NDArray[np.float32],
    members: NDArray[np.int64],
    start: NDArray[np.float64],
    sums: NDArray[np.float32],
) -> NDArray[np.int64]:
    """Choose two members to start from, as 2-means++ does, and order all members by preference for the first.

    The first is random, the second is drawn with probability proportional to its distance from the first.
    """
    size = len(members)
    first = members[int(start[0] * size) : int(start[0] * size) + 1]
    _fill(indptr, indices, data, first, np.zeros(1, np.int64), sums)
    distances = np.maximum(0.0, 1.0 - _similarities(indptr, indices, data, members, sums)[0].astype(np.float64))
    distances[int(start[0] * size)] = 0.0
    drawn = np.searchsorted(np.cumsum(distances), start[1] * distances.sum(), side="right")
    second = members[min(drawn, size - 1) : min(drawn, size - 1) + 1]
    for i in range(indptr[second[0]], indptr[second[0] + 1]):
        sums[1, indices[i]] = data[i]
    similarities = _similarities(indptr, indices, data, members, sums)
    _clear(indptr, indices, first, sums)
    _clear(indptr, indices, second, sums)
    return np.argsort(similarities[1] - similarities[0], kind="mergesort")


@njit(cache=True, nogil=True)
def _fill(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    data: NDArray[np.float32],
    members: NDArray[np.int64],
    preference: NDArray[np.int64],
    sums: NDArray[np.float32],
) -> None:
    """Add the rows of the first half of `preference` to `sums[0]` and of the second to `sums[1]`."""
    for rank in range(len(preference)):
        half = 0 if rank < _middle(len(preference)) else 1
        row = members[preference[rank]]
        for i in range(indptr[row], indptr[row + 1]):
            sums[half, indices[i]] += data[i]


@njit(cache=True, nogil=True)
def _similarities(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    data: NDArray[np.float32],
    members: NDArray[np.int64],
    sums: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Return the product of each member with both sums, [2, members]."""
    similarities = np.zeros((2, len(members)), np.float32)
    for position in range(len(members)):
        row = members[position]
        for i in range(indptr[row], indptr[row + 1]):
            similarities[0, position] += data[i] * sums[0, indices[i]]
            similarities[1, position] += data[i] * sums[1, indices[i]]
    return similarities


@njit(cache=True, nogil=True)
def _clear(
    indptr: NDArray[np.int64], indices: NDArray[np.int32], members: NDArray[np.int64], sums: NDArray[np.float32]
) -> None:
    for row in members:
        for i in range(indptr[row], indptr[row + 1]):
            sums[0, indices[i]] = 0
            sums[1, indices[i]] = 0
