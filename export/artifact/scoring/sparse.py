"""A sparse linear term per label: weights on the query's own tokens, for what a dense representation blurs.

Most labels have few weights, of which a query needs a handful; `token_bits` finds these, label by label. The most
frequent labels have thousands and are candidates of many queries. The weights of these, the head, lie token by token
instead: a query adds up the postings of its tokens once, in order of memory, and has the sums of all head labels.

Shapes: L labels, H head labels, V vocabulary, C candidates of all queries together, W weights of the other labels
together, N words of bits of these, P weights of the head labels together, T tokens of a query.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from astec.export.artifact.kernels.prefetch import prefetch
from astec.export.artifact.scoring.token_bits import (
    arrange_weights,
    first_weight,
    first_word,
    num_shared,
    token_bit,
    token_hash,
    word_of,
)
from astec.export.artifact.shortlist.candidates import Candidates
from astec.export.artifact.text.bags import Bags

# Makes a probability of an SVM's margin, on which the training puts both classes at distance 1 from 0.
SPARSE_SLOPE = 2.0
# Looking for tokens among fewer weights costs less than the postings of a label that is a candidate of few queries.
MIN_HEAD_WEIGHTS = 512
# A head label costs every query its postings, and the sums (16 KiB) have to stay in the caches nearest to the core.
MAX_HEADS = 4096
_LABELS_AT_ONCE = 16
"""Labels whose bits are looked at before their weights are read, which memory fetches meanwhile."""
_TOKENS_AHEAD = 4
"""How many tokens before its use what they have is asked for."""
_ONE, _HALF, _LOW = np.uint64(1), np.uint64(32), np.uint64(0xFFFFFFFF)


SparseArrays = tuple[
    NDArray[np.int64],
    NDArray[np.uint64],
    NDArray[np.int32],
    NDArray[np.float32],
    NDArray[np.float32],
    NDArray[np.int32],
    NDArray[np.int64],
    NDArray[np.uint16],
    NDArray[np.float32],
    int,
]


@dataclass(frozen=True, slots=True)
class SparseClassifier:
    """1-vs-all linear classifiers u_l with bias c_l, those of the head by token, all others by label.

    Label l owns `[indptr[l] : indptr[l + 1]]` of `indices` (token ids) and `values`, nothing where it is a head label,
    in the order of `token_bits`, whose `words` find them; token t owns `[posting_indptr[t] : posting_indptr[t + 1]]`
    of `posting_heads` (head labels) and `posting_values`.

    Shapes: `indptr` int64 [L + 1], `indices` int32 [W], `values` float32 [W], `words` uint64 [N + 1], `bias` float32
    [L], `head` (which head label a label is, or -1) int32 [L], `posting_indptr` int64 [V + 1], or [1] without a head,
    `posting_heads` uint16 [P], `posting_values` float32 [P].
    """

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    values: NDArray[np.float32]
    words: NDArray[np.uint64]
    bias: NDArray[np.float32]
    head: NDArray[np.int32]
    posting_indptr: NDArray[np.int64]
    posting_heads: NDArray[np.uint16]
    posting_values: NDArray[np.float32]

    @classmethod
    def build(
        cls,
        indptr: NDArray[np.int64],
        indices: NDArray[np.int32],
        values: NDArray[np.float32],
        bias: NDArray[np.float32],
        num_features: int,
    ) -> SparseClassifier:
        """From weights that all lie by label, each label's of distinct tokens; shapes as above, `num_features` is V.

        Raises:
            ValueError: a label beside the head has a million weights or more.
        """
        sizes_L = np.diff(indptr)
        largest = np.argsort(-sizes_L, kind="stable")[:MAX_HEADS]
        heads_H = np.sort(largest[sizes_L[largest] >= MIN_HEAD_WEIGHTS])
        head_L = np.full(len(sizes_L), -1, np.int32)
        head_L[heads_H] = np.arange(len(heads_H), dtype=np.int32)
        owners = np.repeat(head_L, sizes_L)
        posted = owners >= 0
        order_P = np.argsort(indices[posted], kind="stable")
        indptr = _bounds(np.where(head_L >= 0, 0, sizes_L))
        order_W, words = arrange_weights(indptr, indices[~posted])
        return cls(
            indptr=indptr,
            indices=indices[~posted][order_W],
            values=values[~posted][order_W],
            words=words,
            bias=bias,
            head=head_L,
            posting_indptr=_bounds(np.bincount(indices[posted], minlength=num_features if len(heads_H) else 0)),
            posting_heads=owners[posted][order_P].astype(np.uint16),
            posting_values=values[posted][order_P],
        )

    def by_label(self) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
        """What `build` was given: where each label's weights begin, int64 [L + 1], their tokens and their values."""
        heads_H = np.flatnonzero(self.head >= 0)
        by_token = np.repeat(np.arange(len(self.posting_indptr) - 1, dtype=np.int32), np.diff(self.posting_indptr))
        owners = np.append(np.repeat(np.arange(len(self.head)), np.diff(self.indptr)), heads_H[self.posting_heads])
        tokens = np.append(self.indices, by_token)
        order = np.lexsort((tokens, owners))
        values = np.append(self.values, self.posting_values)
        return _bounds(np.bincount(owners, minlength=len(self.head))), tokens[order], values[order]

    @property
    def num_weights(self) -> int:
        """W + P."""
        return len(self.values) + len(self.posting_values)

    def logits(self, candidates: Candidates, bags: Bags) -> NDArray[np.float32]:
        """u_l . x + c_l of every candidate, float32 [C]; `bags` are those of the candidates' queries."""
        return sparse_logits(
            candidates.labels,
            candidates.offsets,
            bags.ids,
            bags.weights,
            bags.offsets,
            *self.arrays(),
        )

    def arrays(self) -> SparseArrays:
        """As `sparse_logits` takes them."""
        return (
            self.indptr,
            self.words,
            self.indices,
            self.values,
            self.bias,
            self.head,
            self.posting_indptr,
            self.posting_heads,
            self.posting_values,
            int(self.head.max(initial=-1)) + 1,
        )


def _bounds(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(sizes, dtype=np.int64)))


@njit(cache=True, nogil=True)
def sparse_logits(
    labels_C: NDArray[np.int32],
    candidate_offsets: NDArray[np.int64],
    token_ids: NDArray[np.int32],
    token_weights: NDArray[np.float32],
    token_offsets: NDArray[np.int64],
    indptr: NDArray[np.int64],
    words_N: NDArray[np.uint64],
    indices: NDArray[np.int32],
    values: NDArray[np.float32],
    bias: NDArray[np.float32],
    head: NDArray[np.int32],
    posting_indptr: NDArray[np.int64],
    posting_heads: NDArray[np.uint16],
    posting_values: NDArray[np.float32],
    num_heads: int,
) -> NDArray[np.float32]:
    """u_l . x + c_l of every candidate, float32 [C]."""
    sums_H = np.empty(num_heads, np.float32)
    logits_C = np.empty(len(labels_C), np.float32)
    most = 0
    for query in range(len(token_offsets) - 1):
        most = max(most, token_offsets[query + 1] - token_offsets[query])
    hashes, bits = np.empty(most, np.uint64), np.empty(most, np.uint64)
    pairs, places = np.empty(_LABELS_AT_ONCE * most, np.uint64), np.empty(_LABELS_AT_ONCE * most, np.uint64)
    spans = np.empty((_LABELS_AT_ONCE, 3), np.uint64)
    for query in range(len(candidate_offsets) - 1):
        ids_T = token_ids[token_offsets[query] : token_offsets[query + 1]]
        weights_T = token_weights[token_offsets[query] : token_offsets[query + 1]]
        labels = labels_C[candidate_offsets[query] : candidate_offsets[query + 1]]
        for label in labels:
            prefetch(indptr, label, label + 2)
            prefetch(bias, label, label + 1)
            prefetch(head, label, label + 1)
        if len(sums_H):
            _sum_postings(ids_T, weights_T, posting_indptr, posting_heads, posting_values, sums_H)
        for token in range(len(ids_T)):
            hashes[token] = token_hash(ids_T[token])
            bits[token] = token_bit(hashes[token])
        logits = logits_C[candidate_offsets[query] : candidate_offsets[query + 1]]
        _prefetch_words(labels[:_LABELS_AT_ONCE], indptr, words_N)
        for first in range(0, len(labels), _LABELS_AT_ONCE):
            block, rest = labels[first : first + _LABELS_AT_ONCE], labels[first + _LABELS_AT_ONCE :]
            sums = logits[first : first + _LABELS_AT_ONCE]
            _prefetch_words(rest[:_LABELS_AT_ONCE], indptr, words_N)
            for i in range(len(block)):
                sums[i] = bias[block[i]]
                if head[block[i]] >= 0:
                    sums[i] += sums_H[head[block[i]]]
            found = _probe(block, ids_T, indptr, words_N, hashes, bits, spans, pairs)
            _locate(ids_T, words_N, indices, values, hashes, bits, spans, pairs[:found], places)
            _add(ids_T, weights_T, indices, values, pairs[:found], places, sums)
    return logits_C


@njit(nogil=True)
def _prefetch_words(labels: NDArray[np.int32], indptr: NDArray[np.int64], words_N: NDArray[np.uint64]) -> None:
    for label in labels:
        first, last = _words(np.uint64(label), indptr)
        prefetch(words_N, first, last)


@njit(nogil=True, inline="always")
def _words(label: np.uint64, indptr: NDArray[np.int64]) -> tuple[np.uint64, np.uint64]:
    """Where a label's words begin and end."""
    return (
        first_word(label, np.uint64(indptr[label])),
        first_word(label + _ONE, np.uint64(indptr[label + _ONE])),
    )


@njit(nogil=True)
def _probe(
    block: NDArray[np.int32],
    ids_T: NDArray[np.int32],
    indptr: NDArray[np.int64],
    words_N: NDArray[np.uint64],
    hashes: NDArray[np.uint64],
    bits: NDArray[np.uint64],
    spans: NDArray[np.uint64],
    pairs: NDArray[np.uint64],
) -> np.uint64:
    """Which pairs of a label in the block and a token its bits let through; how many.

    `spans` [labels of the block, 3] gets each label's first weight, first word and number of words.
    """
    found, num_tokens = np.uint64(0), np.uint64(len(ids_T))
    for i in range(np.uint64(len(block))):
        label = np.uint64(block[i])
        begin = np.uint64(indptr[label])
        if begin == np.uint64(indptr[label + _ONE]):
            continue
        first, last = _words(label, indptr)
        num_words = last - first
        spans[i, 0], spans[i, 1], spans[i, 2] = begin, first, num_words
        for token in range(num_tokens):
            pairs[found] = i << _HALF | token
            found += np.uint64((words_N[first + word_of(hashes[token], num_words)] & bits[token]) != np.uint64(0))
    return found


@njit(nogil=True)
def _locate(
    ids_T: NDArray[np.int32],
    words_N: NDArray[np.uint64],
    indices: NDArray[np.int32],
    values: NDArray[np.float32],
    hashes: NDArray[np.uint64],
    bits: NDArray[np.uint64],
    spans: NDArray[np.uint64],
    pairs: NDArray[np.uint64],
    places: NDArray[np.uint64],
) -> None:
    """Where the weight of each pair is, if it has one; ask for it."""
    for i in range(np.uint64(len(pairs))):
        label, token = pairs[i] >> _HALF, pairs[i] & _LOW
        word = spans[label, 1] + word_of(hashes[token], spans[label, 2])
        place = first_weight(words_N, word, bits[token], spans[label, 0])
        prefetch(indices, place, place + _ONE)
        prefetch(values, place, place + _ONE)
        last = place + num_shared(words_N, word)
        while place < last and indices[place] != ids_T[token]:
            place += _ONE
        places[i] = place


@njit(nogil=True)
def _add(
    ids_T: NDArray[np.int32],
    weights_T: NDArray[np.float32],
    indices: NDArray[np.int32],
    values: NDArray[np.float32],
    pairs: NDArray[np.uint64],
    places: NDArray[np.uint64],
    sums: NDArray[np.float32],
) -> None:
    """The products of the pairs that have a weight, to their labels' sums."""
    for i in range(np.uint64(len(pairs))):
        label, token, place = pairs[i] >> _HALF, pairs[i] & _LOW, places[i]
        # Without a branch, which the processor would guess wrong at every token that the bits let through.
        sums[label] += values[place] * weights_T[token] if indices[place] == ids_T[token] else np.float32(0)


@njit(cache=True, nogil=True)
def _sum_postings(
    ids_T: NDArray[np.int32],
    weights_T: NDArray[np.float32],
    posting_indptr: NDArray[np.int64],
    posting_heads: NDArray[np.uint16],
    posting_values: NDArray[np.float32],
    sums_H: NDArray[np.float32],
) -> None:
    sums_H[:] = 0
    for token in range(len(ids_T)):
        ahead = ids_T[min(token + _TOKENS_AHEAD, len(ids_T) - 1)]
        prefetch(posting_heads, posting_indptr[ahead], posting_indptr[ahead + 1])
        prefetch(posting_values, posting_indptr[ahead], posting_indptr[ahead + 1])
        weight, id_ = weights_T[token], np.uint64(ids_T[token])
        for i in range(np.uint64(posting_indptr[id_]), np.uint64(posting_indptr[id_ + _ONE])):
            sums_H[posting_heads[i]] += weight * posting_values[i]
