"""The kernel that computes the logits of the sparse term.

The weights of a head label are summed from the postings of the query's tokens, once for all candidates. The weights of
any other label are looked up token by token, by the bits of `token_bits`: a block of labels at a time, first all bits,
then all weights, so that the weights are fetched from memory meanwhile.

Shapes: H head labels, C candidates of all queries together, W weights of the other labels together, N words of bits of
these, T tokens of a query.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from astec.export.artifact.kernels.prefetch import prefetch
from astec.export.artifact.scoring.token_bits import (
    first_weight,
    first_word,
    num_shared,
    token_bit,
    token_hash,
    word_of,
)

_LABELS_AT_ONCE = 16
"""Labels of a block: the bits of all are read before the weights of any, which memory fetches meanwhile."""
_TOKENS_AHEAD = 4
"""The number of tokens whose postings are prefetched ahead."""
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
"""The arrays of `SparseClassifier`, in the order of the arguments of `sparse_logits`, and the number of head labels."""


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
    """Return u_l . x + c_l of every candidate, float32 [C]; query b owns a range of each of the flat arrays."""
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
    """Prefetch the words of the labels."""
    for label in labels:
        first, last = _words(np.uint64(label), indptr)
        prefetch(words_N, first, last)


@njit(nogil=True, inline="always")
def _words(label: np.uint64, indptr: NDArray[np.int64]) -> tuple[np.uint64, np.uint64]:
    """Return the first of a label's words and the one after its last."""
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
    """Find the pairs of a label and a token that may have a weight, by the bits of the label's words.

    Writes the pairs to `pairs` (label in the upper 32 bits, token in the lower), and each label's first weight, first
    word and number of words to `spans` [labels of the block, 3].

    Returns:
        The number of pairs.
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
    """Write to `places` the position of each pair's weight, if it has one, and prefetch the weight."""
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
    """Add the product of each pair that has a weight to the sum of its label."""
    for i in range(np.uint64(len(pairs))):
        label, token, place = pairs[i] >> _HALF, pairs[i] & _LOW, places[i]
        # No branch here: it would be mispredicted for the tokens that pass the bits without having a weight.
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
    """Write to `sums_H` the sum of the products of a query's tokens for each head label."""
    sums_H[:] = 0
    for token in range(len(ids_T)):
        ahead = ids_T[min(token + _TOKENS_AHEAD, len(ids_T) - 1)]
        prefetch(posting_heads, posting_indptr[ahead], posting_indptr[ahead + 1])
        prefetch(posting_values, posting_indptr[ahead], posting_indptr[ahead + 1])
        weight, id_ = weights_T[token], np.uint64(ids_T[token])
        for i in range(np.uint64(posting_indptr[id_]), np.uint64(posting_indptr[id_ + _ONE])):
            sums_H[posting_heads[i]] += weight * posting_values[i]
