"""The hash table from token hashes to token ids, and damaged tables that are refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astec.export.artifact.text.token_table import build_table, check_table, find

# Hashes that start to look at the same few slots: their low bits are few, or run around the end of the table.
CROWDED = st.integers(0, 2**64 - 1).map(lambda h: h | 0xF0 if h & 1 else h & ~0xFE)
HASHES = st.lists(CROWDED, max_size=60, unique_by=lambda h: h >> 8)


@settings(derandomize=True, deadline=None, max_examples=150)
@given(hashes=HASHES, others=HASHES)
def test_every_token_is_found_and_nothing_else(hashes: list[int], others: list[int]) -> None:
    table_S = build_table(np.array(hashes, np.uint64))
    check_table(table_S, len(hashes))
    assert [find(np.uint64(h), table_S) for h in hashes] == list(range(len(hashes)))
    known = {h >> 8 for h in hashes}
    assert all(find(np.uint64(h), table_S) == -1 for h in others if h >> 8 not in known)


def test_of_equal_hashes_the_first_counts() -> None:
    assert find(np.uint64(7), build_table(np.array([5, 7, 7], np.uint64))) == 1


def test_a_hash_like_a_free_slot_is_found_or_not_as_any_other() -> None:
    last = 2**64 - 1
    assert find(np.uint64(last), build_table(np.array([last], np.uint64))) == 0
    assert find(np.uint64(last), build_table(np.array([5], np.uint64))) == -1
    assert find(np.uint64(last), build_table(np.empty(0, np.uint64))) == -1


def test_a_table_that_leaves_the_vocabulary_is_refused() -> None:
    table_S = build_table(np.arange(5, dtype=np.uint64))
    table_S[table_S != table_S.max()] += np.uint64(1)
    with pytest.raises(ValueError, match="token 5 of 5"):
        check_table(table_S, 5)


def test_a_table_without_a_free_slot_is_refused() -> None:
    """Looking for what is not there would never end."""
    with pytest.raises(ValueError, match="8 slots are taken, and there are 3 tokens"):
        check_table(np.zeros(8, np.uint64), 3)


@pytest.mark.parametrize(
    "table_S",
    [np.zeros(8, np.int64), np.zeros((8, 1), np.uint64), np.zeros(12, np.uint64), np.zeros(4, np.uint64)],
    ids=["signed", "two axes", "no power of two", "too small"],
)
def test_a_table_of_another_form_is_refused(table_S: np.ndarray) -> None:
    with pytest.raises(ValueError, match="a power of two above 6, not"):
        check_table(table_S, 3)
