"""The correlation of labels, estimated by random walks over labels and texts (paper, A.2).

Shapes: N texts, L labels, V vocabulary, M labels of a chunk, E entries of a sparse matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from astec.trainer.modules.surrogate.clustering import normalize_rows

_WALK_STEPS = 128
# Most steps restart at the label itself: neighbours of neighbours count, but far less than neighbours.
_RESTART_PROBABILITY = 0.8
NEIGHBOURS = 16
# A smoothed centroid has the tokens of all its neighbours; without a bound it would need the memory of all of them.
TOKENS_OF_A_CENTROID = 256
_CHUNK_LABELS = 2048

_Rows = tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int64]]
"""Some rows of a sparse matrix: the columns and the values of their entries [E], and the entries of each row [M]."""
_Matrix = tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]
"""A sparse matrix, as kernels take it: where each row begins, and the columns and the values of the entries [E]."""


def label_correlation(labels_NL: csr_matrix, seed: int) -> csr_matrix:
    """Return C, sparse [L, L]: how often a random walk from label l is at label p. Rows sum to 1.

    A step goes from a label to one of its texts and on to one of that text's labels. Only the 16 labels met most often
    are kept, so that a label needs the memory of 16 entries.
    """
    text_indptr, text_indices = _edges(labels_NL.T.tocsr())
    label_indptr, label_indices = _edges(labels_NL)

    def walk(chunk_M: NDArray[np.int64]) -> _Rows:
        generator = np.random.default_rng((seed, int(chunk_M[0])))
        return _walk(chunk_M, text_indptr, text_indices, label_indptr, label_indices, generator)

    num_labels = labels_NL.shape[1]
    indptr, labels, shares = _by_chunks(walk, num_labels)
    return csr_matrix((shares, labels, indptr), shape=(num_labels, num_labels))


def smooth_centroids(centroids_LV: csr_matrix, correlation_LL: csr_matrix) -> csr_matrix:
    """Return centroids moved towards the centroids of correlated labels: C mu with unit rows, sparse [L, V].

    Only the 256 largest entries of each centroid are used, and only as many of each result are kept.
    """
    correlation = (*_edges(correlation_LL), correlation_LL.data.astype(np.float32, copy=False))
    centroids = (*_edges(centroids_LV), centroids_LV.data.astype(np.float32, copy=False))
    # A frequent label has most of the vocabulary in its centroid, and is a neighbour of most labels.
    pruned = _by_chunks(lambda chunk_M: _prune(chunk_M, *centroids), len(centroids[0]) - 1)
    num_labels, num_features = centroids_LV.shape
    indptr, indices, data = _by_chunks(lambda chunk_M: _smooth(chunk_M, correlation, pruned, num_features), num_labels)
    return normalize_rows(csr_matrix((data, indices, indptr), shape=centroids_LV.shape))


def _by_chunks(compute: Callable[[NDArray[np.int64]], _Rows], num_labels: int) -> _Matrix:
    """Compute the rows of a sparse matrix on all cores, some rows at a time."""
    with ThreadPoolExecutor() as pool:
        indices, data, lengths = zip(*pool.map(compute, _chunks(num_labels)), strict=True)
    indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.concatenate(lengths))])
    return indptr, np.concatenate(indices), np.concatenate(data)


def _edges(matrix: csr_matrix) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    return matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32, copy=False)


def _chunks(num_labels: int) -> Iterator[NDArray[np.int64]]:
    for begin in range(0, num_labels, _CHUNK_LABELS):
        yield np.arange(begin, min(begin + _CHUNK_LABELS, num_labels))


@njit(cache=True, nogil=True)
def _walk(
    chunk_M: NDArray[np.int64],
    text_indptr: NDArray[np.int64],
    text_indices: NDArray[np.int32],
    label_indptr: NDArray[np.int64],
    label_indices: NDArray[np.int32],
    generator: np.random.Generator,
) -> _Rows:
    """Return the rows `chunk_M` of C: labels, and their shares of the visits."""
    labels = np.empty(len(chunk_M) * NEIGHBOURS, np.int32)
    shares = np.empty(len(chunk_M) * NEIGHBOURS, np.float32)
    lengths = np.empty(len(chunk_M), np.int64)
    met = np.empty(_WALK_STEPS + 1, np.int32)
    size = 0
    for row in range(len(chunk_M)):
        start = label = int(chunk_M[row])
        met[:] = start
        # From a label without a text there is no step.
        steps = _WALK_STEPS if text_indptr[start + 1] > text_indptr[start] else 0
        for step in range(steps):
            if generator.random() < _RESTART_PROBABILITY:
                label = start
            text = _pick(text_indptr, text_indices, label, generator)
            label = _pick(label_indptr, label_indices, text, generator)
            met[step] = label
        length = _most_met(met, labels[size : size + NEIGHBOURS], shares[size : size + NEIGHBOURS])
        lengths[row] = length
        size += length
    return labels[:size].copy(), shares[:size].copy(), lengths


@njit(cache=True, nogil=True)
def _pick(indptr: NDArray[np.int64], indices: NDArray[np.int32], row: int, generator: np.random.Generator) -> int:
    """Draw one entry of a row of a sparse matrix."""
    return int(indices[indptr[row] + int(generator.random() * (indptr[row + 1] - indptr[row]))])


@njit(cache=True, nogil=True)
def _most_met(met: NDArray[np.int32], labels: NDArray[np.int32], shares: NDArray[np.float32]) -> int:
    """Write the labels met most often, ascending, and the share of visits of each; return the number of labels."""
    ordered = np.sort(met)
    begins = np.flatnonzero(np.concatenate((np.ones(1, np.bool_), ordered[1:] != ordered[:-1])))
    counts = np.diff(np.append(begins, len(ordered)))
    kept = np.sort(np.argsort(-counts, kind="mergesort")[: len(labels)])
    labels[: len(kept)] = ordered[begins[kept]]
    shares[: len(kept)] = counts[kept] / counts[kept].sum()
    return len(kept)


@njit(cache=True, nogil=True)
def _prune(
    chunk_M: NDArray[np.int64], indptr: NDArray[np.int64], indices: NDArray[np.int32], data: NDArray[np.float32]
) -> _Rows:
    """Return the 256 largest entries of each of the rows `chunk_M`."""
    kept_indices = np.empty(len(chunk_M) * TOKENS_OF_A_CENTROID, np.int32)
    kept_data = np.empty(len(kept_indices), np.float32)
    lengths, size = np.empty(len(chunk_M), np.int64), 0
    for row in range(len(chunk_M)):
        entries = slice(indptr[chunk_M[row]], indptr[chunk_M[row] + 1])
        lengths[row] = _keep_largest(indices[entries], data[entries], kept_indices[size:], kept_data[size:])
        size += lengths[row]
    return kept_indices[:size].copy(), kept_data[:size].copy(), lengths


@njit(cache=True, nogil=True)
def _smooth(chunk_M: NDArray[np.int64], correlation: _Matrix, centroids: _Matrix, num_features: int) -> _Rows:
    """Return the 256 largest entries of each of the rows `chunk_M` of the product of correlation and centroids."""
    c_indptr, neighbours, shares = correlation
    indptr, indices, data = centroids
    kept_indices = np.empty(len(chunk_M) * TOKENS_OF_A_CENTROID, np.int32)
    kept_data = np.empty(len(kept_indices), np.float32)
    lengths, size = np.empty(len(chunk_M), np.int64), 0
    # The sum of each token, and the tokens that have one; between two labels all sums are 0.
    sums_V, is_met_V = np.zeros(num_features, np.float32), np.zeros(num_features, np.bool_)
    tokens, values = np.empty(num_features, np.int32), np.empty(num_features, np.float32)
    for row in range(len(chunk_M)):
        count = 0
        for position in range(c_indptr[chunk_M[row]], c_indptr[chunk_M[row] + 1]):
            neighbour = neighbours[position]
            for i in range(indptr[neighbour], indptr[neighbour + 1]):
                token = indices[i]
                if not is_met_V[token]:
                    is_met_V[token], tokens[count] = True, token
                    count += 1
                sums_V[token] += shares[position] * data[i]
        summed = 0
        for i in range(count):
            token = tokens[i]
            if sums_V[token] != 0:
                tokens[summed], values[summed] = token, sums_V[token]
                summed += 1
            sums_V[token], is_met_V[token] = 0, False
        lengths[row] = _keep_largest(tokens[:summed], values[:summed], kept_indices[size:], kept_data[size:])
        size += lengths[row]
    return kept_indices[:size].copy(), kept_data[:size].copy(), lengths


@njit(cache=True, nogil=True)
def _keep_largest(
    indices: NDArray[np.int32],
    data: NDArray[np.float32],
    kept_indices: NDArray[np.int32],
    kept_data: NDArray[np.float32],
) -> int:
    """Write the 256 largest entries of a row, by ascending index; of equal entries, those of the lowest indices.

    Returns:
        The number of entries written.
    """
    chosen = np.arange(len(data))
    if len(data) > TOKENS_OF_A_CENTROID:
        rank = len(data) - TOKENS_OF_A_CENTROID
        least = np.partition(data, rank)[rank]
        equal = np.sort(indices[data == least])
        last_equal = equal[TOKENS_OF_A_CENTROID - np.count_nonzero(data > least) - 1]
        chosen = np.flatnonzero((data > least) | ((data == least) & (indices <= last_equal)))
    chosen = chosen[np.argsort(indices[chosen])]
    for i in range(len(chosen)):
        kept_indices[i], kept_data[i] = indices[chosen[i]], data[chosen[i]]
    return len(chosen)
