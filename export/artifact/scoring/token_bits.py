"""Which of a label's weights is a token's: bits that say no to most tokens that have none, and ranks.

The weights of a label are ordered by a hash of their token. They share words of 64 bits: of each, a token of the label
sets one of the upper 44; the lower 20 are the position of the word's first weight (modulo 2**20: a label has fewer). A
bit that is not set says that the label has no weight for a token. One that is set gives a position, by the number of
bits below it. So a query looks up its tokens, some dozens, instead of reading the label's, some hundreds, and of memory
it reads a word for each of a few weights, and the weights that it needs.

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
"""On average. More take less memory, and let more tokens through that have no weight."""
RANK_BITS = np.uint64(20)
_RANK_MASK = (np.uint64(1) << RANK_BITS) - np.uint64(1)
_TOKEN_BITS = np.uint64(64) - RANK_BITS
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2**64 over the golden ratio
_POSITION_BITS, _POSITION_MASK = np.uint64(6), np.uint64(63)
_ONE, _HALF, _LOW = np.uint64(1), np.uint64(32), np.uint64(0xFFFFFFFF)


def _lower(_typing: object, _word: types.Type) -> tuple[object, Callable[..., object]]:
    """The processor's count of the bits that are set."""

    def generate(_context: object, builder: ir.IRBuilder, _signature: object, arguments: Sequence[ir.Value]) -> object:
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


# numba gives the first argument itself.
_count_bits = cast("Callable[[np.uint64], np.uint64]", intrinsic(_lower))


@njit(nogil=True, inline="always")
def token_hash(token: int) -> np.uint64:
    """Its upper half chooses the word, its lower half the bit; after one product they would depend on each other."""
    product: np.uint64 = np.uint64(token) * _MULTIPLIER
    return (product ^ (product >> _HALF)) * _MULTIPLIER


@njit(nogil=True, inline="always")
def _bit_position(hash_: np.uint64) -> np.uint64:
    return RANK_BITS + ((hash_ & _LOW) * _TOKEN_BITS >> _HALF)


@njit(nogil=True, inline="always")
def token_bit(hash_: np.uint64) -> np.uint64:
    """The bit that a token sets in its word, whatever the label."""
    return _ONE << _bit_position(hash_)


@njit(nogil=True, inline="always")
def first_word(label: np.uint64, begin: np.uint64) -> np.uint64:
    """Where the words of a label are, whose first weight is `begin`; they end where those of the next label begin."""
    return begin // WEIGHTS_PER_WORD + label


@njit(nogil=True, inline="always")
def word_of(hash_: np.uint64, num_words: np.uint64) -> np.uint64:
    """Which of a label's words a token is in."""
    return (hash_ >> _HALF) * num_words >> _HALF


@njit(nogil=True, inline="always")
def first_weight(words_N: NDArray[np.uint64], word: np.uint64, bit: np.uint64, begin: np.uint64) -> np.uint64:
    """The weight that set `bit`, in a label whose first weight is `begin`, if no two tokens of the word share a bit."""
    bits = words_N[word]
    weight: np.uint64 = begin + ((bits - begin) & _RANK_MASK) + _count_bits((bits & (bit - _ONE)) >> RANK_BITS)
    return weight


@njit(nogil=True, inline="always")
def num_shared(words_N: NDArray[np.uint64], word: np.uint64) -> np.uint64:
    """By how many weights at most the one sought comes later, because tokens of the word share bits."""
    bits = words_N[word]
    shared: np.uint64 = ((words_N[word + _ONE] - bits) & _RANK_MASK) - _count_bits(bits >> RANK_BITS)
    return shared


def arrange_weights(
    indptr: NDArray[np.int64], indices: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """The order in which the weights of labels have to be, int64 [W], and the words, uint64 [N + 1].

    Label l owns `[indptr[l] : indptr[l + 1]]` of `indices` int32 [W], distinct tokens.

    Raises:
        ValueError: a label has more weights than a rank can say.
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
    """N, of labels whose weights begin and end at `indptr`."""
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
    """Whether order and words are those of `arrange_weights`. Only then is what is looked up within the arrays.

    There have to be `num_words` and one.
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
    """Begin and end of a label's weights and of its words."""
    begin, end = indptr[label], indptr[label + 1]
    first = first_word(np.uint64(label), np.uint64(begin))
    last = first_word(np.uint64(label + 1), np.uint64(end))
    return begin, end, np.int64(first), np.int64(last)


@njit(nogil=True)
def _keys(indices: NDArray[np.int32], num_words: np.int64) -> NDArray[np.uint64]:
    """What a label's weights are ordered by: the word, then the position of the bit."""
    keys = np.empty(len(indices), np.uint64)
    for i in range(len(indices)):
        hash_ = token_hash(indices[i])
        keys[i] = word_of(hash_, np.uint64(num_words)) << _POSITION_BITS | _bit_position(hash_)
    return keys


@njit(nogil=True)
def _fill(keys: NDArray[np.uint64], begin: np.int64, words: NDArray[np.uint64]) -> None:
    """A label's words, from ascending keys."""
    i = 0
    for word in range(len(words)):
        words[word] = np.uint64(begin + i) & _RANK_MASK
        while i < len(keys) and keys[i] >> _POSITION_BITS == np.uint64(word):
            words[word] |= _ONE << (keys[i] & _POSITION_MASK)
            i += 1
