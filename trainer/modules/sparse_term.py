"""The sparse linear term: a linear SVM per label over the query's own tokens, trained on the shortlists and pruned.

Dense representations blur the meaning of single tokens; one-vs-rest linear classifiers on the same hard negatives (as
in DiSMEC and Slice) keep it. The problem of each label, an L2-regularised squared hinge loss, is solved by dual
coordinate descent (Hsieh et al., ICML 2008). A label's examples are first copied side by side and their tokens
renumbered, so that all passes over them stay in the CPU caches: most labels have a few hundred examples.

Shapes: N texts, L labels, V tokens that occur, S negatives of a text, M examples of a label, E tokens of all of these
together, K distinct ones, W weights kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import diags_array

from astec.export.artifact.kernels.ragged import take_rows
from astec.export.artifact.scoring.sparse import MIN_HEAD_WEIGHTS, SparseClassifier
from astec.export.console import track
from astec.trainer.data.examples import Examples
from astec.trainer.settings.config import SparseSection
from astec.trainer.training.pair_weights import text_weights

# Labels come by falling frequency: a larger first chunk would keep one thread busy when all others are done.
_CHUNK_LABELS = 128
# After a pass in which no dual variable changes by more than this, a label is done.
_TOLERANCE = 0.01
# The most negatives of labels that are sorted in memory at a time: 1 GiB of them.
MOST_NEGATIVES = 1 << 28
# The number of passes that skip an example after a pass that left it unchanged.
_REST_PASSES = 2


@dataclass(frozen=True, slots=True)
class KnownLabels:
    """Labels that keep the weights of another term instead of learning their own.

    Attributes:
        sparse: the other term, of all L labels.
        are_known: which labels keep its weights, bool [L].
    """

    sparse: SparseClassifier
    are_known: NDArray[np.bool_]


_Chunk = tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]


def learn_sparse(
    train: Examples,
    negatives_NS: NDArray[np.int32],
    num_features: int,
    settings: SparseSection,
    cost: float,
    seed: int,
    num_threads: int | None = None,
    known: KnownLabels | None = None,
) -> SparseClassifier | None:
    """Train every label on its own texts against the texts that have it among their `num_negatives` hardest negatives.

    The cost of a text is `cost` times the weight of its pair with the label, or as a negative its own weight.

    Memory beyond the result grows with `train`, not with `negatives_NS`, which may be mapped, nor with `num_features`.
    The result does not depend on `num_threads`, by default torch's number of threads. It is None where pruning leaves
    no weight. Labels that are `known` are not learnt.
    """
    tokens_V = np.unique(train.bags.ids)
    ids = np.searchsorted(tokens_V, train.bags.ids).astype(np.int32)
    learns_L = np.ones(train.labels.shape[1], np.bool_) if known is None else ~known.are_known
    sizes, indices, values, bias = map(
        np.concatenate,
        zip(
            *_learn_chunks(
                train, ids, negatives_NS, learns_L, settings, cost, seed, num_threads or torch.get_num_threads()
            ),
            strict=True,
        ),
    )
    indptr, tokens = _bounds(sizes), tokens_V[indices]
    if known is not None:
        indptr, tokens, values = _join_known(indptr, tokens, values, known)
        bias = np.where(learns_L, bias, known.sparse.bias)
    return SparseClassifier.build(indptr, tokens, values, bias, num_features) if indptr[-1] else None


def _join_known(
    indptr: NDArray[np.int64], tokens: NDArray[np.int32], values: NDArray[np.float32], known: KnownLabels
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
    """Return the learnt weights by label, and those of the known labels in their places."""
    known_indptr, known_tokens, known_values = known.sparse.by_label()
    both_indptr = _bounds(np.where(known.are_known, np.diff(known_indptr), np.diff(indptr)))
    known_rows, learnt_rows = np.flatnonzero(known.are_known), np.flatnonzero(~known.are_known)
    at_known, at_learnt = take_rows(both_indptr, known_rows)[0], take_rows(both_indptr, learnt_rows)[0]
    from_known, from_learnt = take_rows(known_indptr, known_rows)[0], take_rows(indptr, learnt_rows)[0]
    both_tokens, both_values = np.empty(both_indptr[-1], np.int32), np.empty(both_indptr[-1], np.float32)
    both_tokens[at_known], both_tokens[at_learnt] = known_tokens[from_known], tokens[from_learnt]
    both_values[at_known], both_values[at_learnt] = known_values[from_known], values[from_learnt]
    return both_indptr, both_tokens, both_values


def _bounds(sizes_L: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes_L)])


def _learn_chunks(
    train: Examples,
    ids: NDArray[np.int32],
    negatives_NS: NDArray[np.int32],
    learns_L: NDArray[np.bool_],
    settings: SparseSection,
    cost: float,
    seed: int,
    num_threads: int,
) -> Iterator[_Chunk]:
    """Yield what `_learn_labels` returns for chunks of labels, in their order; `ids` number the V tokens that occur.

    A label that does not learn has neither texts nor negatives, which costs no time, and no weights.
    """
    by_label = (train.labels @ diags_array(learns_L.astype(np.float32))).tocsc()
    by_label.eliminate_zeros()
    positives = (
        by_label.indptr.astype(np.int64),
        by_label.indices.astype(np.int32, copy=False),
        by_label.data.astype(np.float32, copy=False),
    )
    texts_N = text_weights(train.labels)
    width = min(settings.num_negatives, negatives_NS.shape[1])
    counts_L = _count_negatives(negatives_NS, width, learns_L)

    def learn(first: int, last: int, begin: int, indptr: NDArray[np.int64], texts: NDArray[np.int32]) -> _Chunk:
        chunk: _Chunk = _learn_labels(
            first,
            min(first + _CHUNK_LABELS, last),
            *positives,
            begin,
            indptr,
            texts,
            texts_N,
            train.bags.offsets,
            ids,
            train.bags.weights,
            int(ids.max(initial=-1)) + 1,
            np.float32(cost),
            settings.epochs,
            np.float32(settings.prune_below),
            np.float32(settings.prune_head_below),
            seed + first,
        )
        return chunk

    def learn_all() -> Iterator[_Chunk]:
        with ThreadPoolExecutor(num_threads) as pool:
            for begin, last in _label_ranges(counts_L):
                indptr = _bounds(counts_L[begin:last])
                texts = _texts_by_negative(negatives_NS, width, begin, indptr, learns_L)
                firsts = range(begin, last, _CHUNK_LABELS)
                yield from pool.map(partial(learn, last=last, begin=begin, indptr=indptr, texts=texts), firsts)

    num_chunks = sum(-(-(last - begin) // _CHUNK_LABELS) for begin, last in _label_ranges(counts_L))
    yield from track(learn_all(), "sparse", total=num_chunks)


def _label_ranges(counts_L: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Split the labels into ranges of whole chunks, at least one, whose negatives fit into memory together.

    The negatives of all texts are read once for each range.
    """
    ends_L = np.cumsum(counts_L)
    ranges, begin = [], 0
    while begin < len(counts_L):
        before = int(ends_L[begin - 1]) if begin else 0
        fitting = int(np.searchsorted(ends_L, before + MOST_NEGATIVES, side="right")) - begin
        last = min(begin + max(fitting // _CHUNK_LABELS, 1) * _CHUNK_LABELS, len(counts_L))
        ranges.append((begin, last))
        begin = last
    return ranges


@njit(cache=True, nogil=True)
def _count_negatives(negatives_NS: NDArray[np.int32], width: int, learns_L: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Count the texts that have each label that learns among their first `width` negatives, [L]; -1 stands for none."""
    counts_L = np.zeros(len(learns_L), np.int64)
    for text in range(len(negatives_NS)):
        for label in negatives_NS[text, :width]:
            if label >= 0 and learns_L[label]:
                counts_L[label] += 1
    return counts_L


@njit(cache=True, nogil=True)
def _texts_by_negative(
    negatives_NS: NDArray[np.int32],
    width: int,
    begin: int,
    indptr: NDArray[np.int64],
    learns_L: NDArray[np.bool_],
) -> NDArray[np.int32]:
    """Find the texts that have each label from `begin` on among their first `width` negatives, by counting sort.

    Labels that do not learn get none.
    """
    filled, texts = indptr[:-1].copy(), np.empty(indptr[-1], np.int32)
    for text in range(len(negatives_NS)):
        for label in negatives_NS[text, :width]:
            number = label - begin
            if label >= 0 and 0 <= number < len(filled) and learns_L[label]:
                texts[filled[number]] = text
                filled[number] += 1
    return texts


@njit(cache=True, nogil=True)
def _learn_labels(
    first: int,
    last: int,
    positive_indptr: NDArray[np.int64],
    positive_texts: NDArray[np.int32],
    positive_weights: NDArray[np.float32],
    negative_begin: int,
    negative_indptr: NDArray[np.int64],
    negative_texts: NDArray[np.int32],
    texts_N: NDArray[np.float32],
    offsets: NDArray[np.int64],
    ids: NDArray[np.int32],
    weights: NDArray[np.float32],
    num_tokens: int,
    cost: np.float32,
    epochs: int,
    prune_below: np.float32,
    prune_head_below: np.float32,
    seed: int,
) -> _Chunk:
    """Learn the labels first..last-1: number of weights kept of each, their token ids and values, and the biases."""
    np.random.seed(seed)
    numbers_V = np.full(num_tokens, -1, np.int32)
    sizes, bias = np.zeros(last - first, np.int64), np.zeros(last - first, np.float32)
    indices, values = np.empty(1024, np.int32), np.empty(1024, np.float32)
    size = 0
    for label in range(first, last):
        begin, end = positive_indptr[label], positive_indptr[label + 1]
        positives = positive_texts[begin:end]
        number = label - negative_begin
        negatives = negative_texts[negative_indptr[number] : negative_indptr[number + 1]]
        texts_M = np.concatenate((positives, negatives))
        costs_M = cost * np.concatenate((positive_weights[begin:end], texts_N[negatives]))
        bounds, numbers_E, weights_E, tokens_K = _copy_examples(texts_M, offsets, ids, weights, numbers_V)
        u_K, bias[label - first] = _descend(
            len(positives), bounds, numbers_E, weights_E, len(tokens_K), costs_M, epochs
        )
        kept = np.flatnonzero((u_K != 0) & (np.abs(u_K) >= prune_below))
        if len(kept) >= MIN_HEAD_WEIGHTS:
            kept = kept[np.abs(u_K[kept]) >= prune_head_below]
        kept = kept[np.argsort(tokens_K[kept])]
        sizes[label - first] = len(kept)
        while size + len(kept) > len(indices):
            indices = np.concatenate((indices, np.empty_like(indices)))
            values = np.concatenate((values, np.empty_like(values)))
        indices[size : size + len(kept)], values[size : size + len(kept)] = tokens_K[kept], u_K[kept]
        size += len(kept)
    return sizes, indices[:size].copy(), values[:size].copy(), bias


@njit(cache=True, nogil=True)
def _copy_examples(
    texts_M: NDArray[np.int32],
    offsets: NDArray[np.int64],
    ids: NDArray[np.int32],
    weights: NDArray[np.float32],
    numbers_V: NDArray[np.int32],
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32], NDArray[np.int32]]:
    """Copy some texts: bounds [M + 1], token numbers and weights [E], and the token of each number [K].

    `numbers_V` is scratch space, all -1 before and after.
    """
    bounds = np.zeros(len(texts_M) + 1, np.int64)
    for example, text in enumerate(texts_M):
        bounds[example + 1] = bounds[example] + offsets[text + 1] - offsets[text]
    numbers_E, weights_E = np.empty(bounds[-1], np.int32), np.empty(bounds[-1], np.float32)
    tokens_K, at = np.empty(min(bounds[-1], len(numbers_V)), np.int32), 0
    num_tokens = 0
    for text in texts_M:
        for i in range(offsets[text], offsets[text + 1]):
            token = ids[i]
            if numbers_V[token] < 0:
                numbers_V[token] = num_tokens
                tokens_K[num_tokens] = token
                num_tokens += 1
            numbers_E[at], weights_E[at] = numbers_V[token], weights[i]
            at += 1
    tokens_K = tokens_K[:num_tokens]
    numbers_V[tokens_K] = -1
    return bounds, numbers_E, weights_E, tokens_K


@njit(cache=True, nogil=True)
def _descend(
    num_positives: int,
    bounds: NDArray[np.int64],
    numbers_E: NDArray[np.int32],
    weights_E: NDArray[np.float32],
    num_tokens: int,
    costs_M: NDArray[np.float32],
    epochs: int,
) -> tuple[NDArray[np.float32], np.float32]:
    """Solve the problem of one label by dual coordinate descent: return its weights [K] and its bias.

    Examples that a pass leaves unchanged, because they are right by a margin, are skipped for some passes, but not in
    the last: a simple form of shrinking (Hsieh et al., section 3.2).
    """
    num_examples = len(bounds) - 1
    slack_M = np.float32(0.5) / costs_M
    # A label that no text has is wrong for all texts, even if it is a negative of none.
    u_K, bias = np.zeros(num_tokens, np.float32), np.float32(0 if num_positives else -1)
    dual_M, rest_M = np.zeros(num_examples, np.float32), np.zeros(num_examples, np.int8)
    for epoch in range(epochs):
        largest, resting = np.float32(0), 0
        for example in np.random.permutation(num_examples):
            if rest_M[example] and epoch < epochs - 1:
                rest_M[example] -= 1
                resting += 1
                continue
            sign = np.float32(1) if example < num_positives else np.float32(-1)
            margin = bias
            for i in range(bounds[example], bounds[example + 1]):
                margin += u_K[numbers_E[i]] * weights_E[i]
            slack = slack_M[example]
            # Every text has norm 1, or 0 when it is empty, and one more token of weight 1, the same for all: the bias.
            curvature = np.float32(2) + slack
            gradient = sign * margin - np.float32(1) + slack * dual_M[example]
            dual = max(dual_M[example] - gradient / curvature, np.float32(0))
            change = sign * (dual - dual_M[example])
            if change == 0:
                rest_M[example] = _REST_PASSES
                continue
            dual_M[example] = dual
            bias += change
            for i in range(bounds[example], bounds[example + 1]):
                u_K[numbers_E[i]] += change * weights_E[i]
            largest = max(largest, abs(change))
        if largest < _TOLERANCE:
            if not resting:
                break
            rest_M[:] = 0
    return u_K, bias
