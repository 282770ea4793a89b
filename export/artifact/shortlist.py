"""From a representation to the few labels worth scoring: the union of both graphs' hits (paper, section 4).

A query's candidates are the labels of its nearest label representatives (ANNS-mu) and the labels of its nearest
training points (ANNS-x). The similarity s_l(v) of a candidate is the highest cosine similarity of any hit that brought
it.

Shapes: B queries, D dimensions, C candidates of all queries together, L' representatives, N training points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from export.artifact.index import NeighbourIndex

_HASH_MULTIPLIER = 0x9E3779B1


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

    Shapes: `labels` int32 [C], `similarities` float32 [C], `offsets` int64 [B + 1].
    """

    labels: NDArray[np.int32]
    similarities: NDArray[np.float32]
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
    """Searches one or two graphs and joins what they bring. Thread-safe."""

    def __init__(self, graphs: tuple[LabelGraph, ...]) -> None:
        self.graphs = graphs

    def search(self, v_BD: NDArray[np.float32]) -> Candidates:
        """The candidates of B representations.

        A zero vector, of a query without a known token, has none.
        """
        candidates = Candidates(np.empty(0, np.int32), np.empty(0, np.float32), np.zeros(len(v_BD) + 1, np.int64))
        known = v_BD.any(axis=1)
        for graph in self.graphs:
            hits_BK, similarities_BK = graph.index.search(v_BD, graph.neighbours)
            hits_BK[~known] = -1
            candidates = Candidates(
                *_join(
                    candidates.labels,
                    candidates.similarities,
                    candidates.offsets,
                    hits_BK,
                    similarities_BK,
                    graph.labels.indptr,
                    graph.labels.indices,
                )
            )
        return candidates


@njit(cache=True, nogil=True)
def _join(
    labels: NDArray[np.int32],
    similarities: NDArray[np.float32],
    offsets: NDArray[np.int64],
    hits_BK: NDArray[np.int64],
    hit_similarities_BK: NDArray[np.float32],
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int64]]:
    """Candidates so far plus the labels of new hits (-1: none), each label once with its highest similarity."""
    num_queries, num_hits = hits_BK.shape
    bound, largest = len(labels), 0
    for query in range(num_queries):
        brought = offsets[query + 1] - offsets[query]
        for hit in hits_BK[query]:
            if hit >= 0:
                bound += indptr[hit + 1] - indptr[hit]
                brought += indptr[hit + 1] - indptr[hit]
        largest = max(largest, brought)
    capacity = 2
    while capacity < 2 * largest:
        capacity *= 2
    # A hash table from label to its position in the output. A slot is taken when it names the query at hand, so that
    # the table need not be cleared between queries.
    owners, positions = np.full(capacity, -1, np.int64), np.empty(capacity, np.int64)
    joined, best = np.empty(bound, np.int32), np.empty(bound, np.float32)
    ends = np.zeros(num_queries + 1, np.int64)
    size = 0
    for query in range(num_queries):
        for i in range(offsets[query], offsets[query + 1]):
            size = _put(labels[i], similarities[i], query, owners, positions, joined, best, size)
        for k in range(num_hits):
            hit = hits_BK[query, k]
            if hit >= 0:
                for i in range(indptr[hit], indptr[hit + 1]):
                    similarity = hit_similarities_BK[query, k]
                    size = _put(indices[i], similarity, query, owners, positions, joined, best, size)
        ends[query + 1] = size
    return joined[:size].copy(), best[:size].copy(), ends


@njit(cache=True, nogil=True)
def _put(
    label: int,
    similarity: float,
    query: int,
    owners: NDArray[np.int64],
    positions: NDArray[np.int64],
    joined: NDArray[np.int32],
    best: NDArray[np.float32],
    size: int,
) -> int:
    """Append the label, or raise its similarity where the query has it already; returns the new size."""
    mask = len(owners) - 1
    slot = (label * _HASH_MULTIPLIER >> 15) & mask
    while owners[slot] == query and joined[positions[slot]] != label:
        slot = (slot + 1) & mask
    if owners[slot] == query:
        best[positions[slot]] = max(best[positions[slot]], similarity)
        return size
    owners[slot], positions[slot] = query, size
    joined[size], best[size] = label, similarity
    return size + 1
