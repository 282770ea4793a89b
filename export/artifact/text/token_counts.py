"""Counting the tokens of the training texts, from which a vocabulary is chosen.

Shapes: U distinct tokens of all texts, S slots of their table, T tokens of a chunk of texts, K new ones among them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numba import njit
from numpy.typing import NDArray

from astec.export.artifact.labels.text_table import TextTable
from astec.export.artifact.text.featurizer_config import FeaturizerConfig
from astec.export.artifact.text.folding import fold_and_encode
from astec.export.artifact.text.tokens import scan, token_texts

_CHUNK_TEXTS = 20_000
_FIRST_DISTINCT = 1 << 16  # distinct tokens that a count makes room for at first; a power of two

_Table = tuple[NDArray[np.int64], NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64]]
"""An open-addressed table of tokens: `slots` [S] (a token's number, -1 if free), and of each token, by its number, the
hash, the texts that it occurs in, and the last of these, [U] and room for more."""


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Document frequencies of tokens, in the order in which the tokens first appear.

    Attributes:
        keys: the hash of each distinct token, uint64 [U].
        df: the texts that each token occurs in, int64 [U].
        names: the text of each token, [U].
        num_texts: the number of texts.
    """

    keys: NDArray[np.uint64]
    df: NDArray[np.int64]
    names: TextTable
    num_texts: int

    def __len__(self) -> int:
        """Return the number of distinct tokens, U."""
        return len(self.keys)


def count_tokens(texts: Iterable[str], config: FeaturizerConfig) -> TokenCounts:
    """Count the texts that every token occurs in; of `config`, `min_df` and `max_features` have no effect."""
    table, num_tokens, num_texts = _empty_table(_FIRST_DISTINCT), 0, 0
    names = [TextTable.from_texts([])]
    for chunk in _chunks(texts, _CHUNK_TEXTS):
        codes = fold_and_encode(chunk, config)
        hashes_T, spans, rows_T = scan(codes, len(chunk), config.ngrams)
        table, first_K = _count(table, num_tokens, hashes_T, rows_T + num_texts)
        names.append(TextTable(*token_texts(codes, spans[first_K])))
        num_tokens, num_texts = num_tokens + len(first_K), num_texts + len(chunk)
    _, keys_U, df_U, _ = table
    return TokenCounts(keys_U[:num_tokens], df_U[:num_tokens], TextTable.joined(names), num_texts)


def _chunks(texts: Iterable[str], size: int) -> Iterator[list[str]]:
    """Split texts into lists of at most `size` texts."""
    iterator = iter(texts)
    while chunk := list(islice(iterator, size)):
        yield chunk


@njit(cache=True, nogil=True)
def _empty_table(capacity: int) -> _Table:
    return (
        np.full(2 * capacity, -1, np.int64),
        np.empty(capacity, np.uint64),
        np.zeros(capacity, np.int64),
        np.full(capacity, -1, np.int64),
    )


@njit(cache=True, nogil=True)
def _count(
    table: _Table, num_tokens: int, hashes_T: NDArray[np.uint64], rows_T: NDArray[np.int64]
) -> tuple[_Table, NDArray[np.int64]]:
    """Count the tokens of further texts, whose numbers `rows_T` ascend; sorting the tokens takes ten times as long.

    Returns:
        The table, which may be a new one, and where each token comes first that is new, [K].
    """
    slots, keys_U, df_U, last_U = table
    first, count = np.empty(len(hashes_T), np.int64), num_tokens
    for position in range(len(hashes_T)):
        slot = _find_slot(slots, keys_U, hashes_T[position])
        number = slots[slot]
        if number < 0:
            if count == len(keys_U):
                slots, keys_U, df_U, last_U = _doubled((slots, keys_U, df_U, last_U))
                slot = _find_slot(slots, keys_U, hashes_T[position])
            number = count
            slots[slot], keys_U[number], first[number - num_tokens] = number, hashes_T[position], position
            count += 1
        if last_U[number] != rows_T[position]:
            df_U[number] += 1
            last_U[number] = rows_T[position]
    return (slots, keys_U, df_U, last_U), first[: count - num_tokens].copy()


@njit(cache=True, nogil=True)
def _find_slot(slots: NDArray[np.int64], keys_U: NDArray[np.uint64], key: np.uint64) -> int:
    """Return the slot of a hash, or the free one where it belongs; the number of slots is a power of two."""
    slot = np.int64(key & np.uint64(len(slots) - 1))
    while slots[slot] >= 0 and keys_U[slots[slot]] != key:
        slot = (slot + 1) & (len(slots) - 1)
    return int(slot)


@njit(cache=True, nogil=True)
def _doubled(table: _Table) -> _Table:
    """Return a full table with room for twice as many tokens."""
    _, old_keys_U, old_df_U, old_last_U = table
    slots, keys_U, df_U, last_U = _empty_table(2 * len(old_keys_U))
    for number in range(len(old_keys_U)):
        keys_U[number], df_U[number], last_U[number] = old_keys_U[number], old_df_U[number], old_last_U[number]
        slots[_find_slot(slots, keys_U, keys_U[number])] = number
    return slots, keys_U, df_U, last_U
