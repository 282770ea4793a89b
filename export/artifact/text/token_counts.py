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

    Shapes: `keys` (the hash of each distinct token, ascending) uint64 [U], `df` (the texts it occurs in) int64 [U].
    """

    keys: NDArray[np.uint64]
    df: NDArray[np.int64]


def count_tokens(texts: Iterable[str], config: FeaturizerConfig) -> tuple[TokenCounts, dict[int, str], int]:
    """Return the document frequency of every token, its text by its hash, and the number of texts."""
    counts = TokenCounts(np.empty(0, np.uint64), np.empty(0, np.int64))
    names: dict[int, str] = {}
    num_texts = 0
    for chunk in _chunks(texts, _CHUNK_TEXTS):
        num_texts += len(chunk)
        codes = fold_and_encode(chunk, config.max_chars)
        hashes, spans, rows = scan(codes, len(chunk), *config.ngrams)
        keys, first = np.unique(hashes, return_index=True)
        for position in first[~np.isin(keys, counts.keys, assume_unique=True)].tolist():
            names[int(hashes[position])] = token_text(codes, *spans[position].tolist())
        counts = _merge_counts(counts, keys, _document_frequency(hashes, rows, keys))
    if len(set(names.values())) != len(names):
        raise AssertionError("two tokens of one text have different hashes")
    return counts, names, num_texts


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


def _merge_counts(counts: TokenCounts, keys: NDArray[np.uint64], df: NDArray[np.int64]) -> TokenCounts:
    """Add the document frequencies `df` of `keys` to the counts."""
    merged, inverse = np.unique(np.concatenate([counts.keys, keys]), return_inverse=True)
    total = np.zeros(len(merged), np.int64)
    np.add.at(total, inverse, np.concatenate([counts.df, df]))
    return TokenCounts(merged, total)
