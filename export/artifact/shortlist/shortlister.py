"""From a representation to the few labels worth scoring: what the indices bring (paper, section 4).

A query's candidates are the labels of its nearest label representatives (ANNS-mu), of its nearest training points
(ANNS-x), or of both. The indices may be searched in a space z of fewer dimensions than the representations v, which
costs a fraction and hardly moves the neighbours. What a candidate is then scored by is exact: s_l(v) is the cosine
similarity of v, whole, with the label's best representative. A candidate's vote is what share of the nearest points,
weighted by similarity, carries it. Of many candidates those with the fewest votes may be dropped, before anything of
theirs is read.

Shapes: B queries, D dimensions, d dimensions of the indices, C candidates of all queries together, M the most of a
query, F labels that a query's hits bring, L labels, L' representatives, N training points.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from astec.export.artifact.index.base import NeighbourIndex
from astec.export.artifact.kernels.hashing import first_slot
from astec.export.artifact.kernels.weight_rows import NO_SCALES, ROWS_AHEAD, Weights, dot, prefetch_row, read_only
from astec.export.artifact.labels.label_sets import LabelSets


class Shortlist(NamedTuple):
    """Distinct labels of each query: query b owns `[offsets[b] : offsets[b + 1]]`.

    Shapes: `labels` int32 [C], `votes` float32 [C], `offsets` int64 [B + 1].
    """

    labels: NDArray[np.int32]
    votes: NDArray[np.float32]
    offsets: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Candidates:
    """A shortlist, and how similar each of its labels is to its query.

    Shapes: `labels` int32 [C], `similarities` and `votes` float32 [C], `offsets` int64 [B + 1].
    """

    labels: NDArray[np.int32]
    similarities: NDArray[np.float32]
    votes: NDArray[np.float32]
    offsets: NDArray[np.int64]


class Voters(NamedTuple):
    """The training points near a query, nearest first, and what each gives to the votes of its labels.

    Shapes: `points` int64, `similarities` (cosine) and `votes` float32, all [K]; the votes of all voters add up to 1.
    """

    points: NDArray[np.int64]
    similarities: NDArray[np.float32]
    votes: NDArray[np.float32]


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


@dataclass(frozen=True, slots=True)
class Representatives:
    """The label representatives mu, ordered by label: those of label l are `[indptr[l] : indptr[l + 1]]` of `vectors`.

    Shapes: `indptr` int64 [L + 1]; `vectors` [L', D], unit rows in float32, or in int8 times `scales` float32 [L']
    (else [0]).
    """

    indptr: NDArray[np.int64]
    vectors: Weights
    scales: NDArray[np.float32]

    @classmethod
    def of(cls, vectors: NDArray[np.float32], labels: NDArray[np.int32], num_labels: int) -> Representatives:
        """Unit vectors [L', D] of labels [L'] in ascending order."""
        return cls(label_bounds(labels, num_labels), read_only(vectors), NO_SCALES)


class Shortlister:
    """Searches the indices, joins what they bring, and says how similar it is. Thread-safe.

    Args:
        centroids: over label representatives, or None.
        points: over training points, or None.
        representatives: what similarities are measured with; None where nobody asks: all are 0 then.
        max_candidates: M; of a query's labels those with the highest votes are kept, of equal votes those found first
            (by representatives before points, by near ones before far ones). None: all.

    Raises:
        ValueError: there is no index at all, or no candidate is allowed.
    """

    def __init__(
        self,
        centroids: LabelGraph | None,
        points: LabelGraph | None,
        representatives: Representatives | None,
        max_candidates: int | None = None,
    ) -> None:
        if centroids is None and points is None:
            raise ValueError("a shortlist needs an index over label representatives or over training points")
        if max_candidates is not None and max_candidates < 1:
            raise ValueError(f"max_candidates is {max_candidates}; it must be at least 1, or None for no limit")
        self.centroids, self.points, self.representatives = centroids, points, representatives
        self.max_candidates = max_candidates
        self.most = _NO_LIMIT if max_candidates is None else max_candidates

    def search(self, z_Bd: NDArray[np.float32], v_BD: NDArray[np.float32]) -> Candidates:
        """The candidates of B representations v, whose projections into the space of the indices are z."""
        labels, votes, offsets = self.shortlist(z_Bd)
        return Candidates(labels, self.similarities(labels, offsets, v_BD), votes, offsets)

    def shortlist(self, z_Bd: NDArray[np.float32]) -> Shortlist:
        """The labels that what is found near z brings; of a zero vector, for a query without a known token, none."""
        return self._bring(z_Bd, self.most)

    def nearby(self, z_Bd: NDArray[np.float32]) -> Shortlist:
        """The same whatever the limit."""
        return self._bring(z_Bd, _NO_LIMIT)

    def voters(self, z_1d: NDArray[np.float32]) -> Voters:
        """The points behind the votes of a single query's shortlist; none without points or a known token."""
        hits_1K, similarities_1K, _, _ = _search(self.points, z_1d)
        found_K = hits_1K[0] >= 0 if len(hits_1K) and z_1d.any() else np.zeros(0, np.bool_)
        if not found_K.any():
            return Voters(np.empty(0, np.int64), np.empty(0, np.float32), np.empty(0, np.float32))
        return Voters(hits_1K[0, found_K], similarities_1K[0, found_K], _shares(hits_1K, similarities_1K)[found_K])

    def similarities(
        self, labels_C: NDArray[np.int32], offsets: NDArray[np.int64], v_BD: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """s_l(v) of some labels of each query, float32 [C]; shapes as in `Candidates`."""
        mu = self.representatives
        if mu is None:
            return np.zeros(len(labels_C), np.float32)
        return best_similarities(labels_C, offsets, v_BD, mu.indptr, mu.vectors, mu.scales)

    def _bring(self, z_Bd: NDArray[np.float32], most: int) -> Shortlist:
        centroid_hits_BK, _, centroid_indptr, centroid_labels = _search(self.centroids, z_Bd)
        points = _search(self.points, z_Bd)
        return Shortlist(*join(z_Bd, centroid_hits_BK, centroid_indptr, centroid_labels, *points, most))


def label_bounds(labels: NDArray[np.int32], num_labels: int) -> NDArray[np.int64]:
    """Where each label begins in `labels`, which ascend, and the end: int64 [L + 1]."""
    return np.searchsorted(labels, np.arange(num_labels + 1)).astype(np.int64)


_Hits = tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64], NDArray[np.int32]]
NO_HITS: _Hits = (
    np.empty((0, 0), np.int64),
    np.empty((0, 0), np.float32),
    read_only(np.zeros(1, np.int64)),
    read_only(np.empty(0, np.int32)),
)
NO_CENTROIDS = (NO_HITS[0], *NO_HITS[2:])
"""What `join` is given of label representatives where they are not searched."""

_NO_LIMIT = 2**31  # of label ids of 32 bits there are no more
_HIGHEST_VOTE_BITS = int(np.float32(1).view(np.int32))


def _search(graph: LabelGraph | None, z_Bd: NDArray[np.float32]) -> _Hits:
    """Hits [B, K], -1 where there is none, their similarities, and the labels of everything in the graph."""
    if graph is None:
        return NO_HITS
    return (*graph.index.search(z_Bd, graph.neighbours), graph.labels.indptr, graph.labels.indices)


@njit(cache=True, nogil=True)
def join(
    z_Bd: NDArray[np.float32],
    centroid_hits_BK: NDArray[np.int64],
    centroid_indptr: NDArray[np.int64],
    centroid_labels: NDArray[np.int32],
    point_hits_BK: NDArray[np.int64],
    point_similarities_BK: NDArray[np.float32],
    point_indptr: NDArray[np.int64],
    point_labels: NDArray[np.int32],
    most: int,
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int64]]:
    """Each label that a query's hits bring, once, with its vote: the `most` with the highest votes."""
    num_queries = len(z_Bd)
    bound, largest = 0, 0
    for query in range(num_queries):
        brought = _count(query, centroid_hits_BK, centroid_indptr) + _count(query, point_hits_BK, point_indptr)
        bound, largest = bound + brought, max(largest, brought)
    capacity = 2
    while capacity < 2 * largest:
        capacity *= 2
    # A hash table from label to its position in the output. A slot is taken when it names the query at hand, so that
    # the table need not be cleared between queries.
    owners, positions = np.full(capacity, -1, np.int32), np.empty(capacity, np.int32)
    labels, votes = np.empty(bound, np.int32), np.zeros(bound, np.float32)
    offsets = np.zeros(num_queries + 1, np.int64)
    size = 0
    for query in range(num_queries):
        if _is_known(z_Bd, query):
            for k in range(_width(centroid_hits_BK)):
                hit = centroid_hits_BK[query, k]
                if hit >= 0:
                    for i in range(centroid_indptr[hit], centroid_indptr[hit + 1]):
                        _, size = _put(centroid_labels[i], query, owners, positions, labels, size)
            total = _total_weight(query, point_hits_BK, point_similarities_BK)
            for k in range(_width(point_hits_BK)):
                hit = point_hits_BK[query, k]
                if hit >= 0:
                    share = _weight(point_similarities_BK[query, k]) / total
                    for i in range(point_indptr[hit], point_indptr[hit + 1]):
                        at, size = _put(point_labels[i], query, owners, positions, labels, size)
                        votes[at] = min(votes[at] + share, np.float32(1))
            begin = offsets[query]
            if size - begin > most:
                size = begin + keep_best(labels[begin:size], votes[begin:size], most)
        offsets[query + 1] = size
    return labels[:size], votes[:size], offsets


@njit(cache=True, nogil=True)
def keep_best(labels_F: NDArray[np.int32], votes_F: NDArray[np.float32], most: int) -> int:
    """Bring the `most` labels with the highest votes to the front, in the order found; votes after them become 0."""
    bits_F = votes_F.view(np.int32)  # in the order of the votes, none of which is negative
    least = _least_kept(bits_F, most)
    ties = most - np.sum(bits_F > least)
    kept = 0
    for i in range(len(bits_F)):
        bits, label, vote = bits_F[i], labels_F[i], votes_F[i]
        # Written whether kept or not: the processor would guess a branch wrong at every third label.
        labels_F[kept], votes_F[kept] = label, vote
        kept += int(bits > least or (bits == least and ties > 0))
        ties -= int(bits == least)
    votes_F[kept:] = 0
    return kept


@njit(cache=True, nogil=True)
def _least_kept(bits_F: NDArray[np.int32], most: int) -> int:
    """What at least `most` votes reach and at most `most` exceed, by bisection: that only reads in order."""
    least, too_high = 0, _HIGHEST_VOTE_BITS + 1
    while too_high - least > 1:
        middle = (least + too_high) >> 1
        count = np.sum(bits_F >= middle)
        if count == most:
            return middle
        if count > most:
            least = middle
        else:
            too_high = middle
    return least


@njit(cache=True, nogil=True, fastmath=True)
def best_similarities(
    labels_C: NDArray[np.int32],
    offsets: NDArray[np.int64],
    v_BD: NDArray[np.float32],
    indptr: NDArray[np.int64],
    vectors: Weights,
    scales: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Cosine similarity of each candidate's best representative."""
    similarities_C = np.empty(len(labels_C), np.float32)
    for query in range(len(offsets) - 1):
        squares = np.float32(0)
        for d in range(v_BD.shape[1]):
            squares += v_BD[query, d] * v_BD[query, d]
        scale = np.float32(1) / np.sqrt(squares) if squares > 0 else np.float32(0)
        for candidate in range(offsets[query], offsets[query + 1]):
            label, best = labels_C[candidate], np.float32(-1)
            prefetch_row(vectors, indptr[labels_C[min(candidate + ROWS_AHEAD, len(labels_C) - 1)]])
            for row in range(indptr[label], indptr[label + 1]):
                best = max(best, dot(vectors, scales, row, v_BD, query) * scale)
            similarities_C[candidate] = best
    return similarities_C


@njit(cache=True, nogil=True, inline="always")
def _is_known(z_Bd: NDArray[np.float32], query: int) -> bool:
    """Whether the query has a representation."""
    d = 0
    dim: int = z_Bd.shape[1]
    while d < dim and z_Bd[query, d] == 0:
        d += 1
    return d < dim


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
def _shares(hits_1K: NDArray[np.int64], similarities_1K: NDArray[np.float32]) -> NDArray[np.float32]:
    """What each hit of a single query gives to the votes of its labels; 0 where there is no hit."""
    total = _total_weight(0, hits_1K, similarities_1K)
    shares_K = np.zeros(hits_1K.shape[1], np.float32)
    for k in range(len(shares_K)):
        if hits_1K[0, k] >= 0:
            shares_K[k] = _weight(similarities_1K[0, k]) / total
    return shares_K


@njit(cache=True, nogil=True)
def _put(
    label: int,
    query: int,
    owners: NDArray[np.int32],
    positions: NDArray[np.int32],
    labels: NDArray[np.int32],
    size: int,
) -> tuple[int, int]:
    """Where the label is in the output, appended where it is new, and the new size."""
    mask = len(owners) - 1
    slot = first_slot(label, mask)
    while owners[slot] == query and labels[positions[slot]] != label:
        slot = (slot + 1) & mask
    if owners[slot] == query:
        return positions[slot], size
    owners[slot], positions[slot] = query, size
    labels[size] = label
    return size, size + 1
