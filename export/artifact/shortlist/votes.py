"""The kernels that join the labels of a query's nearest neighbours and count their votes.

A candidate's vote is the share of the nearest training points, weighted by their similarity, that carry the label.
Where labels of points have weights, a point weighs as much as its heaviest label, and votes for each label with the
weight of that label. The votes of a candidate lie between 0 and 1.

Shapes: B queries, K hits of a query in an index, C candidates of all queries together, F candidates of one query,
d dimensions of the indices, N vectors of an index.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from astec.export.artifact.kernels.hashing import first_slot
from astec.export.artifact.kernels.weight_rows import NO_SCALES, read_only

Hits = tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]
"""Hits int64 [B, K] (-1: none), their similarities float32 [B, K], and the label sets of the index: indptr, indices and
weights."""

NO_HITS: Hits = (
    np.empty((0, 0), np.int64),
    np.empty((0, 0), np.float32),
    read_only(np.zeros(1, np.int64)),
    read_only(np.empty(0, np.int32)),
    NO_SCALES,
)
NO_CENTROIDS = (NO_HITS[0], *NO_HITS[2:4])
"""The arguments of `join` for the label representatives, where these are not searched."""

_HIGHEST_VOTE_BITS = int(np.float32(1).view(np.int32))


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
    point_weights: NDArray[np.float32],
    most: int,
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int64]]:
    """Collect the labels of each query's hits, each once, and keep the `most` with the highest votes.

    Returns:
        A `Shortlist`: labels int32 [C], votes float32 [C] and offsets int64 [B + 1].
    """
    num_queries = len(z_Bd)
    bound, largest = 0, 0
    for query in range(num_queries):
        brought = _count(query, centroid_hits_BK, centroid_indptr) + _count(query, point_hits_BK, point_indptr)
        bound, largest = bound + brought, max(largest, brought)
    capacity = 2
    while capacity < 2 * largest:
        capacity *= 2
    # A hash table from a label to its position in the output. `owners` holds the query that filled a slot; slots of
    # other queries count as free, so that the table need not be cleared between queries.
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
            total = _total_weight(query, point_hits_BK, point_similarities_BK, point_indptr, point_weights)
            for k in range(_width(point_hits_BK)):
                hit = point_hits_BK[query, k]
                if hit >= 0:
                    share = _weight(point_similarities_BK[query, k]) / total
                    for i in range(point_indptr[hit], point_indptr[hit + 1]):
                        at, size = _put(point_labels[i], query, owners, positions, labels, size)
                        vote = share * point_weights[i] if len(point_weights) else share
                        votes[at] = min(votes[at] + vote, np.float32(1))
            begin = offsets[query]
            if size - begin > most:
                size = begin + keep_best(labels[begin:size], votes[begin:size], most)
        offsets[query + 1] = size
    return labels[:size], votes[:size], offsets


@njit(cache=True, nogil=True)
def keep_best(labels_F: NDArray[np.int32], votes_F: NDArray[np.float32], most: int) -> int:
    """Move the `most` labels with the highest votes to the front, in their order; set the votes after them to 0.

    Returns:
        The number of labels kept.
    """
    bits_F = votes_F.view(np.int32)  # ordered as the votes are, because no vote is negative
    least = _least_kept(bits_F, most)
    ties = most - _reaching(bits_F, least + 1)
    kept = 0
    for i in range(len(bits_F)):
        bits, label, vote = bits_F[i], labels_F[i], votes_F[i]
        # Write every label, kept or not: a branch here would be mispredicted for about every third label.
        labels_F[kept], votes_F[kept] = label, vote
        kept += int(bits > least or (bits == least and ties > 0))
        ties -= int(bits == least)
    votes_F[kept:] = 0
    return kept


@njit(cache=True, nogil=True)
def _least_kept(bits_F: NDArray[np.int32], most: int) -> int:
    """Find the vote threshold that keeps the top `most`, by bisection, which reads memory in order.

    At least `most` votes reach the threshold, and at most `most` exceed it.
    """
    least, too_high = 0, _HIGHEST_VOTE_BITS + 1
    while too_high - least > 1:
        middle = (least + too_high) >> 1
        count = _reaching(bits_F, middle)
        if count == most:
            return middle
        if count > most:
            least = middle
        else:
            too_high = middle
    return least


@njit(cache=True, nogil=True)
def _reaching(bits_F: NDArray[np.int32], least: int) -> int:
    """Count the votes that reach a threshold, 16 at a time: in numba, only a cast keeps a sum of int32 an int32."""
    threshold, count = np.int32(least), np.int32(0)
    for i in range(len(bits_F)):
        count = np.int32(count + np.int32(bits_F[i] >= threshold))
    return int(count)


@njit(cache=True, nogil=True, inline="always")
def _is_known(z_Bd: NDArray[np.float32], query: int) -> bool:
    """Return True if the query has a representation: z is not a vector of zeros."""
    d = 0
    dim: int = z_Bd.shape[1]
    while d < dim and z_Bd[query, d] == 0:
        d += 1
    return d < dim


@njit(cache=True, nogil=True, inline="always")
def _width(hits_BK: NDArray[np.int64]) -> int:
    """Return the number of hits of a query; 0 where the index is not searched."""
    return hits_BK.shape[1] if len(hits_BK) else 0


@njit(cache=True, nogil=True)
def _count(query: int, hits_BK: NDArray[np.int64], indptr: NDArray[np.int64]) -> int:
    """Return the number of labels that a query's hits carry, repeats included."""
    brought = 0
    for k in range(_width(hits_BK)):
        hit = hits_BK[query, k]
        if hit >= 0:
            brought += indptr[hit + 1] - indptr[hit]
    return brought


@njit(cache=True, nogil=True, inline="always")
def _weight(similarity: np.float32) -> np.float32:
    """Return the weight of a training point's vote: similarity^6, so that 20 near points outweigh 30 far ones."""
    square = max(similarity, np.float32(1e-3)) ** 2
    return square * square * square


@njit(cache=True, nogil=True)
def _total_weight(
    query: int,
    hits_BK: NDArray[np.int64],
    similarities_BK: NDArray[np.float32],
    indptr: NDArray[np.int64],
    weights: NDArray[np.float32],
) -> np.float32:
    """Return the sum of the weights of a query's hits."""
    total = np.float32(0)
    for k in range(_width(hits_BK)):
        if hits_BK[query, k] >= 0:
            total += _weight(similarities_BK[query, k]) * _heaviest(hits_BK[query, k], indptr, weights)
    return total


@njit(cache=True, nogil=True, inline="always")
def _heaviest(hit: int, indptr: NDArray[np.int64], weights: NDArray[np.float32]) -> np.float32:
    """Return the weight of the heaviest label of a point; 1 where labels have no weights, or the point no label."""
    if not len(weights) or indptr[hit] == indptr[hit + 1]:
        return np.float32(1)
    heaviest = np.float32(0)
    for i in range(indptr[hit], indptr[hit + 1]):
        heaviest = max(heaviest, weights[i])
    return heaviest


@njit(cache=True, nogil=True)
def vote_weights(similarities_K: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the weight of the vote of each hit of a single query before labels are weighed, float32 [K]."""
    weights_K = np.empty(len(similarities_K), np.float32)
    for k in range(len(weights_K)):
        weights_K[k] = _weight(similarities_K[k])
    return weights_K


@njit(cache=True, nogil=True)
def vote_shares(
    hits_1K: NDArray[np.int64],
    similarities_1K: NDArray[np.float32],
    indptr: NDArray[np.int64],
    weights: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Return what each hit of a single query adds to the votes of its heaviest labels, float32 [K]; 0 without a hit."""
    total = _total_weight(0, hits_1K, similarities_1K, indptr, weights)
    shares_K = np.zeros(hits_1K.shape[1], np.float32)
    for k in range(len(shares_K)):
        if hits_1K[0, k] >= 0:
            shares_K[k] = _weight(similarities_1K[0, k]) * _heaviest(hits_1K[0, k], indptr, weights) / total
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
    """Append a label to the output unless it is there already.

    Returns:
        The position of the label in the output, and the new size of the output.
    """
    mask = len(owners) - 1
    slot = first_slot(label, mask)
    while owners[slot] == query and labels[positions[slot]] != label:
        slot = (slot + 1) & mask
    if owners[slot] == query:
        return positions[slot], size
    owners[slot], positions[slot] = query, size
    labels[size] = label
    return size, size + 1
