"""Counting the tokens of the training texts, from which a vocabulary is chosen.

Shapes: U distinct tokens of all texts, T tokens of a chunk of texts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.text.featurizer_config import FeaturizerConfig
from astec.export.artifact.text.folding import fold_and_encode
from astec.export.artifact.text.tokens import scan, token_text

_CHUNK_TEXTS = 20_000


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
        keys, first = np.unique(hashes, return_index=True)
        for position in first[~np.isin(keys, keys_U, assume_unique=True)].tolist():
            names[int(hashes[position])] = token_text(codes, *spans[position].tolist())
        keys_U, df_U = _merge_counts(keys_U, df_U, keys, _document_frequency(hashes, rows, keys))
    if len(set(names.values())) != len(names):
        raise AssertionError("two tokens of one text have different hashes")
    return TokenCounts(keys_U, df_U, names, num_texts)


def _chunks(texts: Iterable[str], size: int) -> Iterator[list[str]]:
    """Split texts into lists of at most `size` texts."""
    iterator = iter(texts)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _document_frequency(
    hashes: NDArray[np.uint64], rows: NDArray[np.int64], keys: NDArray[np.uint64]
) -> NDArray[np.int64]:
    """Return the number of texts that each key occurs in; token t has the hash `hashes[t]` and is of text `rows[t]`."""
    token = np.searchsorted(keys, hashes)
    pairs = np.unique(token.astype(np.int64) * (int(rows.max(initial=0)) + 1) + rows)
    return np.bincount(pairs // (int(rows.max(initial=0)) + 1), minlength=len(keys))


def _merge_counts(
    keys_U: NDArray[np.uint64], df_U: NDArray[np.int64], keys: NDArray[np.uint64], df: NDArray[np.int64]
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Add the document frequencies `df` of `keys` to those of the keys so far."""
    merged, inverse = np.unique(np.concatenate([keys_U, keys]), return_inverse=True)
    total = np.zeros(len(merged), np.int64)
    np.add.at(total, inverse, np.concatenate([df_U, df]))
    return merged, total
