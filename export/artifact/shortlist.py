"""From a representation to the few labels worth scoring: the union of both graphs' hits (paper, section 4).

A query's candidates are the labels of its nearest label representatives (ANNS-mu) and the labels of its nearest
training points (ANNS-x). The similarity s_l(v) of a candidate is the cosine similarity of its best representative that
was hit; one that only points brought is no nearer than the farthest hit, whose similarity it gets, so that no vector is
read again. Its vote is what share of the nearest points, weighted by similarity, carries it.

Shapes: B queries, D dimensions, C candidates of all queries together, L' representatives, N training points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from export.artifact.hashing import first_slot
from export.artifact.index import NeighbourIndex


@dataclass(frozen=True, slots=True)
class LabelSets:
    """Labels of things: thing n owns `indices[indptr[n] : indptr[n + 1]]`, int32, with `indptr` int64 [n + 1]."""

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]

    @classmethod
    def one_each(cls, labels: NDArray[np.int32]) -> LabelSets:
        """Thing n has the single label `labels[n]`."""
        return cls(np.arange(len(labels) + 1, dtype=np.int64), labels)


@dataclass(frozen=True, slots=True)
class Candidates:
    """Distinct labels of each query: query b owns `[offsets[b] : offsets[b + 1]]`.

    Shapes: `labels` int32 [C], `similarities` and `votes` float32 [C], `offsets` int64 [B + 1].
    """

    labels: NDArray[np.int32]
    similarities: NDArray[np.float32]
    votes: NDArray[np.float32]
    offsets: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class LabelGraph:
    """An index over vectors that stand for labels, and how many hits of a query count.

    Attributes:
        index: over label representatives or over training points.
        labels: what each vector stands for.
        neighbours: hits of a query.
    """

    index: NeighbourIndex
    labels: LabelSets
    neighbours: int


class Shortlister:
    """Searches both graphs and joins what they bring. Thread-safe.

    Args:
        centroids: over label representatives.
        points: over training points, or None.
    """

    def __init__(self, centroids: LabelGraph, points: LabelGraph | None) -> None:
        self.centroids, self.points = centroids, points

    def search(self, v_BD: NDArray[np.float32]) -> Candidates:
        """The candidates of B representations.

        A zero vector, of a query without a known token, has none.
        """
        known_B = np.asarray(v_BD.any(axis=1))
        centroids, points = _search(self.centroids, v_BD, known_B), _NOTHING
        if self.points is not None:
            points = _search(self.points, v_BD, known_B)
        return Candidates(*_join(len(v_BD), *centroids, *points))


_Hits = tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64], NDArray[np.int32]]
_NOTHING: _Hits = (
    np.empty((0, 0), np.int64),
    np.empty((0, 0), np.float32),
    np.zeros(1, np.int64),
    np.empty(0, np.int32),
)


def _search(graph: LabelGraph, v_BD: NDArray[np.float32], known_B: NDArray[np.bool_]) -> _Hits:
    """Hits [B, K], -1 where there is none, their similarities, and the labels of everything in the graph."""
    hits_BK, similarities_BK = graph.index.search(v_BD, graph.neighbours)
    hits_BK[~known_B] = -1
    return hits_BK, similarities_BK, graph.labels.indptr, graph.labels.indices


@njit(cache=True, nogil=True)
def _join(
    num_queries: int,
    centroid_hits_BK: NDArray[np.int64],
    centroid_similarities_BK: NDArray[np.float32],
    centroid_indptr: NDArray[np.int64],
    centroid_labels: NDArray[np.int32],
    point_hits_BK: NDArray[np.int64],
    point_similarities_BK: NDArray[np.float32],
    point_indptr: NDArray[np.int64],
    point_labels: NDArray[np.int32],
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Each label that a query's hits bring, once, with its similarity and vote."""
    bound, largest = 0, 0
    for query in range(num_queries):
        brought = _count(query, centroid_hits_BK, centroid_indptr) + _count(query, point_hits_BK, point_indptr)
        bound, largest = bound + brought, max(largest, brought)
    capacity = 2
    while capacity < 2 * largest:
        capacity *= 2
    # A hash table from label to its position in the output. A slot is taken when it names the query at hand, so that
    # the table need not be cleared between queries.
    owners, positions = np.full(capacity, -1, np.int64), np.empty(capacity, np.int64)
    labels, offsets = np.empty(bound, np.int32), np.zeros(num_queries + 1, np.int64)
    similarities, votes = np.empty(bound, np.float32), np.zeros(bound, np.float32)
    size = 0
    for query in range(num_queries):
        farthest = np.float32(np.inf)
        for k in range(_width(centroid_hits_BK)):
            hit, similarity = centroid_hits_BK[query, k], centroid_similarities_BK[query, k]
            if hit >= 0:
                farthest = min(farthest, similarity)
                for i in range(centroid_indptr[hit], centroid_indptr[hit + 1]):
                    at, size = _put(
                        centroid_labels[i], similarity, query, owners, positions, labels, similarities, size
                    )
                    similarities[at] = max(similarities[at], similarity)
        if farthest == np.inf:
            farthest = np.float32(0)
        total = _total_weight(query, point_hits_BK, point_similarities_BK)
        for k in range(_width(point_hits_BK)):
            hit = point_hits_BK[query, k]
            if hit >= 0:
                share = _weight(point_similarities_BK[query, k]) / total
                for i in range(point_indptr[hit], point_indptr[hit + 1]):
                    at, size = _put(point_labels[i], farthest, query, owners, positions, labels, similarities, size)
                    votes[at] = min(votes[at] + share, np.float32(1))
        offsets[query + 1] = size
    return labels[:size].copy(), similarities[:size].copy(), votes[:size].copy(), offsets


@njit(cache=True, nogil=True, inline="always")
def _width(hits_BK: NDArray[np.int64]) -> int:
    """Hits of a query; 0 without a graph."""
    return hits_BK.shape[1] if len(hits_BK) else 0


@njit(cache=True, nogil=True)
def _count(query: int, hits_BK: NDArray[np.int64], indptr: NDArray[np.int64]) -> int:
    brought = 0
    for k in range(_width(hits_BK)):
        hit = hits_BK[query, k]
        if hit >= 0:
            brought += indptr[hit + 1] - indptr[hit]
    return brought


@njit(cache=True, nogil=True, inline="always")
def _weight(similarity: np.float32) -> np.float32:
    """Of a point's vote. Steep: of 50 points with 20 near ones, the near ones decide."""
    square = max(similarity, np.float32(1e-3)) ** 2
    return square * square * square


@njit(cache=True, nogil=True)
def _total_weight(query: int, hits_BK: NDArray[np.int64], similarities_BK: NDArray[np.float32]) -> np.float32:
    total = np.float32(0)
    for k in range(_width(hits_BK)):
        if hits_BK[query, k] >= 0:
            total += _weight(similarities_BK[query, k])
    return total


@njit(cache=True, nogil=True)
def _put(
    label: int,
    similarity: np.float32,
    query: int,
    owners: NDArray[np.int64],
    positions: NDArray[np.int64],
    labels: NDArray[np.int32],
    similarities: NDArray[np.float32],
    size: int,
) -> tuple[int, int]:
    """Where the label is in the output, appended with `similarity` where it is new, and the new size."""
    mask = len(owners) - 1
    slot = first_slot(label, mask)
    while owners[slot] == query and labels[positions[slot]] != label:
        slot = (slot + 1) & mask
    if owners[slot] == query:
        return positions[slot], size
    owners[slot], positions[slot] = query, size
    labels[size], similarities[size] = label, similarity
    return size, size + 1
