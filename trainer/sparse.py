"""The sparse linear term: a linear SVM per label over the query's own tokens, trained on the shortlists and pruned.

Dense representations blur what single tokens say; one-vs-rest linear classifiers on the same hard negatives (as in
DiSMEC and Slice) keep it. Each label's problem, L2-regularised squared hinge, is solved by dual coordinate descent
(Hsieh et al., ICML 2008) and touches only the tokens of its own examples.

Shapes: N texts, L labels, V vocabulary, S negatives of a text, M examples of a label, W weights kept.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from export.artifact.sparse import SparseClassifier
from export.readers.progress import track
from trainer.config import SparseSection
from trainer.data import Examples

_CHUNK_LABELS = 512
_TOLERANCE = 0.01


def learn_sparse(
    train: Examples, negatives_NS: NDArray[np.int32], num_features: int, settings: SparseSection, seed: int
) -> SparseClassifier | None:
    """Train every label on its texts against the texts that have it among their `num_negatives` hardest negatives.

    Returns None where no weight is left after pruning.
    """
    num_labels = train.labels.shape[1]
    positives = _rows(train.labels.T.tocsr())
    negatives = _rows(_texts_by_negative(negatives_NS[:, : settings.num_negatives], num_labels))

    def learn(first: int) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]:
        last = min(first + _CHUNK_LABELS, num_labels)
        return _learn_labels(
            first,
            last,
            *positives,
            *negatives,
            train.bags.offsets,
            train.bags.ids,
            train.bags.weights,
            num_features,
            np.float32(settings.cost),
            settings.epochs,
            np.float32(settings.prune_below),
            seed + first,
        )

    firsts = range(0, num_labels, _CHUNK_LABELS)
    with ThreadPoolExecutor() as pool:
        sizes, indices, values, bias = zip(*track(pool.map(learn, firsts), "sparse", total=len(firsts)), strict=True)
    indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.concatenate(sizes))])
    if not indptr[-1]:
        return None
    return SparseClassifier(indptr, np.concatenate(indices), np.concatenate(values), np.concatenate(bias))


def _texts_by_negative(negatives_NS: NDArray[np.int32], num_labels: int) -> csr_matrix:
    """For each label the texts that have it as a negative, sparse [L, N]."""
    texts, columns = np.nonzero(negatives_NS >= 0)
    entries = (np.ones(len(texts), np.int8), (negatives_NS[texts, columns], texts))
    return csr_matrix(entries, shape=(num_labels, len(negatives_NS)))


def _rows(matrix: csr_matrix) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return matrix.indptr.astype(np.int64), matrix.indices.astype(np.int64)


@njit(cache=True, nogil=True)
def _learn_labels(
    first: int,
    last: int,
    positive_indptr: NDArray[np.int64],
    positive_texts: NDArray[np.int64],
    negative_indptr: NDArray[np.int64],
    negative_texts: NDArray[np.int64],
    offsets: NDArray[np.int64],
    ids: NDArray[np.int32],
    weights: NDArray[np.float32],
    num_features: int,
    cost: np.float32,
    epochs: int,
    prune_below: np.float32,
    seed: int,
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]:
    """Labels first..last-1: weights kept of each, their token ids and values, and the biases."""
    np.random.seed(seed)
    u_V = np.zeros(num_features + 1, np.float32)  # the last is the bias, the weight of a token that every text has
    sizes, bias = np.zeros(last - first, np.int64), np.zeros(last - first, np.float32)
    indices, values = np.empty(1024, np.int32), np.empty(1024, np.float32)
    size = 0
    for label in range(first, last):
        positives = positive_texts[positive_indptr[label] : positive_indptr[label + 1]]
        negatives = negative_texts[negative_indptr[label] : negative_indptr[label + 1]]
        texts_M = np.concatenate((positives, negatives))
        _descend(texts_M, len(positives), offsets, ids, weights, cost, epochs, u_V)
        bias[label - first] = u_V[-1]
        u_V[-1] = 0
        begin = size
        for text in texts_M:
            for token in ids[offsets[text] : offsets[text + 1]]:
                if u_V[token] != 0 and abs(u_V[token]) >= prune_below:  # 0: of no use, or listed already
                    if size == len(indices):
                        indices = np.concatenate((indices, np.empty_like(indices)))
                        values = np.concatenate((values, np.empty_like(values)))
                    indices[size], values[size] = token, u_V[token]
                    size += 1
                u_V[token] = 0
        order = begin + np.argsort(indices[begin:size])
        indices[begin:size], values[begin:size] = indices[order], values[order]
        sizes[label - first] = size - begin
    return sizes, indices[:size].copy(), values[:size].copy(), bias


@njit(cache=True, nogil=True)
def _descend(
    texts_M: NDArray[np.int64],
    num_positives: int,
    offsets: NDArray[np.int64],
    ids: NDArray[np.int32],
    weights: NDArray[np.float32],
    cost: np.float32,
    epochs: int,
    u_V: NDArray[np.float32],
) -> None:
    """Solve one label's problem by dual coordinate descent into `u_V`, which comes all zero."""
    slack = np.float32(0.5) / cost
    # Every text has norm 1, or 0 when it is empty, and the token of the bias beside it.
    curvature = np.float32(2) + slack
    dual_M = np.zeros(len(texts_M), np.float32)
    for _ in range(epochs):
        largest = np.float32(0)
        for example in np.random.permutation(len(texts_M)):
            begin, end = offsets[texts_M[example]], offsets[texts_M[example] + 1]
            sign = np.float32(1) if example < num_positives else np.float32(-1)
            margin = u_V[-1]
            for i in range(begin, end):
                margin += u_V[ids[i]] * weights[i]
            gradient = sign * margin - np.float32(1) + slack * dual_M[example]
            dual = max(dual_M[example] - gradient / curvature, np.float32(0))
            change = sign * (dual - dual_M[example])
            if change == 0:
                continue
            dual_M[example] = dual
            u_V[-1] += change
            for i in range(begin, end):
                u_V[ids[i]] += change * weights[i]
            largest = max(largest, abs(change))
        if largest < _TOLERANCE:
            return
