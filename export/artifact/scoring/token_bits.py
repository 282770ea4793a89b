"""Finding the weight of a token among a label's sparse weights: a filter of bits, and ranks.

The weights of a label are ordered by a hash of their token, and share words of 64 bits. A token of the label sets one
of the upper 44 bits of its word; the lower 20 bits are the position of the word's first weight (modulo 2**20: a label
has fewer weights). A bit that is not set means that the label has no weight for the token. A bit that is set gives the
position of the weight, by the number of set bits below it. So a query looks up its own tokens, some dozens, instead of
reading all tokens of the label, some hundreds, and reads from memory a few words and the weights that it needs.

Shapes: L labels, W weights of all labels together, N words of all labels together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

WEIGHTS_PER_WORD = np.uint64(2)
"""On average. More weights in a word take less memory, but let more tokens without a weight pass the filter."""
RANK_BITS = np.uint64(20)
_RANK_MASK = (np.uint64(1) << RANK_BITS) - np.uint64(1)
_TOKEN_BITS = np.uint64(64) - RANK_BITS
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2**64 divided by the golden ratio
_POSITION_BITS, _POSITION_MASK = np.uint64(6), np.uint64(63)
_ONE, _HALF, _LOW = np.uint64(1), np.uint64(32), np.uint64(0xFFFFFFFF)


def _lower(_typing: object, _word: types.Type) -> tuple[object, Callable[..., object]]:
    """Generate the processor's instruction that counts set bits."""

    def generate(_context: object, builder: ir.IRBuilder, _signature: object, arguments: Sequence[ir.Value]) -> object:
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


# numba passes the first argument itself.
_count_bits = cast("Callable[[np.uint64], np.uint64]", intrinsic(_lower))


@njit(nogil=True, inline="always")
def token_hash(token: int) -> np.uint64:
    """Hash a token: the upper half chooses the word, the lower half the bit.

    A single multiplication would leave the two halves dependent on each other.
    """
    product: np.uint64 = np.uint64(token) * _MULTIPLIER
    return (product ^ (product >> _HALF)) * _MULTIPLIER


@njit(nogil=True, inline="always")
def _bit_position(hash_: np.uint64) -> np.uint64:
    """Return the position, above the rank bits, of the bit that a token sets."""
    return RANK_BITS + ((hash_ & _LOW) * _TOKEN_BITS >> _HALF)


@njit(nogil=True, inline="always")
def token_bit(hash_: np.uint64) -> np.uint64:
    """Return the bit that a token sets in its word; it does not depend on the label."""
    return _ONE << _bit_position(hash_)


@njit(nogil=True, inline="always")
def first_word(label: np.uint64, begin: np.uint64) -> np.uint64:
    """Return the first word of a label whose first weight is `begin`; its words end where the next label's begin."""
    return begin // WEIGHTS_PER_WORD + label


@njit(nogil=True, inline="always")
def word_of(hash_: np.uint64, num_words: np.uint64) -> np.uint64:
    """Return the number of a token's word among the label's words."""
    return (hash_ >> _HALF) * num_words >> _HALF


@njit(nogil=True, inline="always")
def first_weight(words_N: NDArray[np.uint64], word: np.uint64, bit: np.uint64, begin: np.uint64) -> np.uint64:
    """Return the position of the weight that set `bit`, if no two tokens of the word share a bit.

    `begin` is the position of the label's first weight.
    """
    bits = words_N[word]
    weight: np.uint64 = begin + ((bits - begin) & _RANK_MASK) + _count_bits((bits & (bit - _ONE)) >> RANK_BITS)
    return weight


@njit(nogil=True, inline="always")
def num_shared(words_N: NDArray[np.uint64], word: np.uint64) -> np.uint64:
    """Return how many positions later the weight may be, because tokens of the word share bits."""
    bits = words_N[word]
    shared: np.uint64 = ((words_N[word + _ONE] - bits) & _RANK_MASK) - _count_bits(bits >> RANK_BITS)
    return shared


def arrange_weights(
    indptr: NDArray[np.int64], indices: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Return the order in which the weights must be stored, int64 [W], and the words, uint64 [N + 1].

    Label l owns `[indptr[l] : indptr[l + 1]]` of `indices` int32 [W], distinct tokens.

    Raises:
        ValueError: a label has more weights than a rank of 20 bits can hold.
    """
    largest, limit = int(np.diff(indptr).max(initial=0)), int(_RANK_MASK)
    if largest > limit:
        raise ValueError(
            f"a label beside the head has {largest} sparse weights, the limit is {limit}; prune more when training"
        )
    order_W, words_N = np.empty(len(indices), np.int64), np.empty(num_words(indptr) + 1, np.uint64)
    _arrange(indptr, indices, order_W, words_N)
    return order_W, words_N


def num_words(indptr: NDArray[np.int64]) -> int:
    """Return N, the number of words of labels whose weights begin and end at `indptr`."""
    return int(indptr[-1]) // int(WEIGHTS_PER_WORD) + len(indptr) - 1


@njit(cache=True, nogil=True)
def _arrange(
    indptr: NDArray[np.int64], indices: NDArray[np.int32], order_W: NDArray[np.int64], words_N: NDArray[np.uint64]
) -> None:
    for label in range(len(indptr) - 1):
        begin, end, first, last = _bounds(indptr, label)
        keys = _keys(indices[begin:end], last - first)
        order = np.argsort(keys, kind="mergesort")
        order_W[begin:end] = begin + order
        _fill(keys[order], begin, words_N[first:last])
    words_N[-1] = np.uint64(len(indices)) & _RANK_MASK


@njit(cache=True, nogil=True)
def is_arranged(indptr: NDArray[np.int64], indices: NDArray[np.int32], words_N: NDArray[np.uint64]) -> bool:
    """Return True if order and words are as `arrange_weights` makes them; else look-ups would leave the arrays.

    `words_N` must have `num_words` + 1 entries.
    """
    for label in range(len(indptr) - 1):
        begin, end, first, last = _bounds(indptr, label)
        keys, expected = _keys(indices[begin:end], last - first), np.empty(last - first, np.uint64)
        if end - begin > np.int64(_RANK_MASK) or (keys[1:] < keys[:-1]).any():
            return False
        _fill(keys, begin, expected)
        if (words_N[first:last] != expected).any():
            return False
    return bool(words_N[-1] == np.uint64(len(indices)) & _RANK_MASK)


@njit(nogil=True)
def _bounds(indptr: NDArray[np.int64], label: int) -> tuple[np.int64, np.int64, np.int64, np.int64]:
    """Return the begin and end of a label's weights, and the begin and end of its words."""
    begin, end = indptr[label], indptr[label + 1]
    first = first_word(np.uint64(label), np.uint64(begin))
    last = first_word(np.uint64(label + 1), np.uint64(end))
    return begin, end, np.int64(first), np.int64(last)


@njit(nogil=True)
def _keys(indices: NDArray[np.int32], num_words: np.int64) -> NDArray[np.uint64]:
    """Return the sort keys of a label's weights: the word, then the position of the bit."""
    keys = np.empty(len(indices), np.uint64)
    for i in range(len(indices)):
        hash_ = token_hash(indices[i])
        keys[i] = word_of(hash_, np.uint64(num_words)) << _POSITION_BITS | _bit_position(hash_)
    return keys


@njit(nogil=True)
def _fill(keys: NDArray[np.uint64], begin: np.int64, words: NDArray[np.uint64]) -> None:
    """Write the words of a label, given the ascending keys of its weights."""
    i = 0
    for word in range(len(words)):
        words[word] = np.uint64(begin + i) & _RANK_MASK
        while i < len(keys) and keys[i] >> _POSITION_BITS == np.uint64(word):
            words[word] |= _ONE << (keys[i] & _POSITION_MASK)
            i += 1
