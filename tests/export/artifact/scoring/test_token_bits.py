"""Order, bits and ranks of weights: each is found, and arrays that do not belong together are told apart.

Shapes: L labels, W weights of all labels together, N words of all labels together.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from astec.export.artifact.scoring.token_bits import (
    RANK_BITS,
    arrange_weights,
    first_weight,
    first_word,
    is_arranged,
    num_shared,
    num_words,
    token_bit,
    token_hash,
    word_of,
)

SIZES_L = [0, 1, 2, 0, 500, 3, 40]


def arranged() -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.uint64]]:
    """Bounds, tokens in their order, and words, of labels of few and many weights."""
    rng = np.random.default_rng(0)
    indptr = np.concatenate([[0], np.cumsum(SIZES_L)])
    indices = np.concatenate([rng.permutation(10_000)[:size] for size in SIZES_L]).astype(np.int32)
    order_W, words_N = arrange_weights(indptr, indices)
    return indptr, indices[order_W], words_N


def words_of(indptr: NDArray[np.int64], label: int) -> tuple[int, int]:
    """Where a label's words begin and end."""
    begin, end = (int(first_word(np.uint64(at), np.uint64(indptr[at]))) for at in (label, label + 1))
    return begin, end


def look_up(token: int, num_words: int) -> tuple[int, np.uint64]:
    """The word of a token, counted in its label, and its bit."""
    hash_ = np.uint64(token_hash(token))
    return int(word_of(hash_, np.uint64(num_words))), np.uint64(token_bit(hash_))


def test_every_weight_is_at_its_place_or_as_much_later_as_bits_are_shared() -> None:
    indptr, indices, words_N = arranged()
    later = []
    for label in range(len(SIZES_L)):
        first, last = words_of(indptr, label)
        for place in range(indptr[label], indptr[label + 1]):
            word, bit = look_up(indices[place], last - first)
            assert words_N[first + word] & bit
            at = np.uint64(first + word)
            later.append(place - int(first_weight(words_N, at, bit, np.uint64(indptr[label]))))
            assert 0 <= later[-1] <= num_shared(words_N, at)
    assert len(later) == sum(SIZES_L)
    assert 0 < np.count_nonzero(later) < len(later) / 10


def test_most_tokens_of_no_weight_have_no_bit() -> None:
    indptr, indices, words_N = arranged()
    label = SIZES_L.index(500)
    first, last = words_of(indptr, label)
    others = np.setdiff1d(np.arange(10_000), indices[indptr[label] : indptr[label + 1]])
    places = [look_up(token, last - first) for token in others]
    passed = [bool(words_N[first + word] & bit) for word, bit in places]
    assert 0.03 < np.mean(passed) < 0.06  # 2 of 44 bits


def test_what_was_arranged_is_recognised() -> None:
    indptr, indices, words_N = arranged()
    assert len(words_N) == num_words(indptr) + 1
    assert is_arranged(indptr, indices, words_N)
    assert not is_arranged(indptr, np.sort(indices), words_N)
    for word in range(len(words_N)):
        damaged_N = words_N.copy()
        damaged_N[word] ^= np.uint64(1) << np.uint64(word % 64 if word < num_words(indptr) else 0)
        assert not is_arranged(indptr, indices, damaged_N)


def test_two_weights_of_a_word_that_changed_places() -> None:
    indptr = np.array([0, 2])
    other = next(token for token in range(1, 100) if look_up(token, 2)[0] == look_up(0, 2)[0])
    order_W, words_N = arrange_weights(indptr, np.array([0, other], np.int32))
    indices = np.array([0, other], np.int32)[order_W]
    assert is_arranged(indptr, indices, words_N)
    assert not is_arranged(indptr, indices[::-1].copy(), words_N)


def test_no_labels_and_no_weights() -> None:
    for num_labels in (0, 3):
        indptr, nothing = np.zeros(num_labels + 1, np.int64), np.empty(0, np.int32)
        order_W, words_N = arrange_weights(indptr, nothing)
        assert (order_W.tolist(), words_N.tolist()) == ([], [0] * (num_labels + 1))
        assert is_arranged(indptr, nothing, words_N)


def test_more_weights_than_a_rank_can_say() -> None:
    size = 1 << int(RANK_BITS)
    with pytest.raises(ValueError, match=f"has {size} sparse weights, the limit is {size - 1}; prune more"):
        arrange_weights(np.array([0, size]), np.zeros(size, np.int32))
