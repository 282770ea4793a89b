"""The correlation of labels, estimated by random walks over labels and texts (paper, A.2).

Shapes: N texts, L labels, V vocabulary, M labels of a chunk, E entries of a sparse matrix.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack

from astec.trainer.modules.surrogate.clustering import normalize_rows

_WALK_STEPS = 128
# Most steps restart at the label itself: neighbours of neighbours count, but far less than neighbours.
_RESTART_PROBABILITY = 0.8
NEIGHBOURS = 16
# A smoothed centroid has the tokens of all its neighbours; without a bound it would need the memory of all of them.
TOKENS_OF_A_CENTROID = 256
_CHUNK_LABELS = 2048


def label_correlation(labels_NL: csr_matrix, seed: int) -> csr_matrix:
    """Return C, sparse [L, L]: how often a random walk from label l is at label p. Rows sum to 1.

    A step goes from a label to one of its texts and on to one of that text's labels. Only the 16 labels met most often
    are kept, so that a label needs the memory of 16 entries.
    """
    text_indptr, text_indices = _edges(labels_NL.T.tocsr())
    label_indptr, label_indices = _edges(labels_NL)

    def walk(chunk_M: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int64]]:
        generator = np.random.default_rng((seed, int(chunk_M[0])))
        return _walk(chunk_M, text_indptr, text_indices, label_indptr, label_indices, generator)

    num_labels = labels_NL.shape[1]
    with ThreadPoolExecutor() as pool:
        labels, shares, lengths = zip(*pool.map(walk, _chunks(num_labels)), strict=True)
    indptr = np.concatenate([[0], np.cumsum(np.concatenate(lengths))])
    return csr_matrix((np.concatenate(shares), np.concatenate(labels), indptr), shape=(num_labels, num_labels))


def smooth_centroids(centroids_LV: csr_matrix, correlation_LL: csr_matrix) -> csr_matrix:
    """Return centroids moved towards the centroids of correlated labels: C mu with unit rows, sparse [L, V].

    Only the 256 largest entries of each centroid are used, and only as many of each result are kept.
    """
    # A frequent label has most of the vocabulary in its centroid, and is a neighbour of most labels.
    pruned_LV = _prune(centroids_LV)
    with ThreadPoolExecutor() as pool:
        chunks = _chunks(centroids_LV.shape[0])
        smoothed_LV = vstack(
            list(pool.map(lambda chunk: _prune((correlation_LL[chunk] @ pruned_LV).tocsr()), chunks)), "csr"
        )
    return normalize_rows(smoothed_LV)


def _prune(matrix: csr_matrix) -> csr_matrix:
    """Keep the 256 largest entries of each row."""
    matrix.sort_indices()  # otherwise the order of computation would decide which of equal entries are kept
    kept = _largest(matrix.indptr, matrix.data, TOKENS_OF_A_CENTROID)
    indptr = np.concatenate([[0], np.cumsum(kept)])[matrix.indptr]
    return csr_matrix((matrix.data[kept], matrix.indices[kept], indptr), shape=matrix.shape)


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
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int64]]:
    """Return the rows `chunk_M` of C: labels [E], their shares of the visits [E], entries of each row [M]."""
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
def _largest(indptr: NDArray[np.int32], data: NDArray[np.float32], limit: int) -> NDArray[np.bool_]:
    """Return for each entry [E] if it is among the `limit` largest of its row; of equal entries the first count."""
    kept = np.ones(len(data), np.bool_)
    for row in range(len(indptr) - 1):
        begin, end = indptr[row], indptr[row + 1]
        if end - begin > limit:
            kept[begin:end] = False
            kept[begin + np.argsort(-data[begin:end], kind="mergesort")[:limit]] = True
    return kept
