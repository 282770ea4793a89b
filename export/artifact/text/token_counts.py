"""Counting the tokens of the training texts, from which a vocabulary is chosen.

Shapes: U distinct tokens of all texts, K of a chunk of texts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numba import njit
from numpy.typing import NDArray

from astec.export.artifact.text.featurizer_config import FeaturizerConfig
from astec.export.artifact.text.folding import fold_and_encode
from astec.export.artifact.text.tokens import scan, token_text

_CHUNK_TEXTS = 20_000
_FIRST_DISTINCT = 1 << 16  # distinct tokens that a count makes room for at first; a power of two


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Document frequencies of tokens.

    Attributes:
        keys: the hash of each distinct token, ascending, uint64 [U].
        df: the texts that each token occurs in, int64 [U].
        names: the text of each token by its hash.
        num_texts: the number of texts.
    """

    keys: NDArray[np.uint64]
    df: NDArray[np.int64]
    names: dict[int, str]
    num_texts: int

    def __len__(self) -> int:
        """Return the number of distinct tokens, U."""
        return len(self.keys)


def count_tokens(texts: Iterable[str], config: FeaturizerConfig) -> TokenCounts:
    """Count the texts that every token occurs in; of `config`, `min_df` and `max_features` have no effect."""
    keys_U, df_U = np.empty(0, np.uint64), np.empty(0, np.int64)
    names: dict[int, str] = {}
    num_texts = 0
    for chunk in _chunks(texts, _CHUNK_TEXTS):
        num_texts += len(chunk)
        codes = fold_and_encode(chunk, config)
        hashes, spans, rows = scan(codes, len(chunk), config.ngrams)
        first, df = _count_distinct(hashes, rows)
        order = np.argsort(hashes[first])
        first, df = first[order], df[order]
        keys = hashes[first]
        for position in first[~np.isin(keys, keys_U, assume_unique=True)].tolist():
            names[int(hashes[position])] = token_text(codes, *spans[position].tolist())
        keys_U, df_U = _merge_counts(keys_U, df_U, keys, df)
    if len(set(names.values())) != len(names):
        raise AssertionError("two tokens of one text have different hashes")
    return TokenCounts(keys_U, df_U, names, num_texts)


def _chunks(texts: Iterable[str], size: int) -> Iterator[list[str]]:
    """Split texts into lists of at most `size` texts."""
    iterator = iter(texts)
    while chunk := list(islice(iterator, size)):
        yield chunk


@njit(cache=True, nogil=True)
def _count_distinct(hashes: NDArray[np.uint64], rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where each distinct hash comes first [K], and in how many texts [K]; the texts `rows` of tokens ascend.

    An open-addressed table: sorting the tokens takes ten times as long.
    """
    first_K, df_K = np.empty(_FIRST_DISTINCT, np.int64), np.zeros(_FIRST_DISTINCT, np.int64)
    last_K, slots = np.empty(_FIRST_DISTINCT, np.int64), np.full(2 * _FIRST_DISTINCT, -1, np.int64)
    count = 0
    for position in range(len(hashes)):
        slot = _find_slot(slots, hashes, first_K, hashes[position])
        number = slots[slot]
        if number < 0:
            if count == len(first_K):
                first_K, df_K, last_K = _doubled(first_K), _doubled(df_K), _doubled(last_K)
                slots = np.full(2 * len(first_K), -1, np.int64)
                for known in range(count):
                    slots[_find_slot(slots, hashes, first_K, hashes[first_K[known]])] = known
                slot = _find_slot(slots, hashes, first_K, hashes[position])
            number = count
            slots[slot], first_K[number], df_K[number], last_K[number] = number, position, 0, -1
            count += 1
        if last_K[number] != rows[position]:
            df_K[number] += 1
            last_K[number] = rows[position]
    return first_K[:count], df_K[:count]


@njit(cache=True, nogil=True)
def _find_slot(
    slots: NDArray[np.int64], hashes: NDArray[np.uint64], first_K: NDArray[np.int64], value: np.uint64
) -> int:
    """Return the slot of a hash, or the free one where it belongs; the number of slots is a power of two."""
    slot = np.int64(value & np.uint64(len(slots) - 1))
    while slots[slot] >= 0 and hashes[first_K[slots[slot]]] != value:
        slot = (slot + 1) & (len(slots) - 1)
    return int(slot)


@njit(cache=True, nogil=True)
def _doubled(array_K: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate((array_K, np.zeros_like(array_K)))


def _merge_counts(
    keys_U: NDArray[np.uint64], df_U: NDArray[np.int64], keys: NDArray[np.uint64], df: NDArray[np.int64]
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Add the document frequencies `df` of `keys` to those of the keys so far."""
    merged, inverse = np.unique(np.concatenate([keys_U, keys]), return_inverse=True)
    total = np.zeros(len(merged), np.int64)
    np.add.at(total, inverse, np.concatenate([df_U, df]))
    return merged, total
