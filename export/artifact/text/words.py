"""Queries as sequences of ids in the order of their text, for encoders that read words in their order.

Shapes: B queries, T ids of all queries together, V vocabulary, W words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.kernels.ragged import take_rows
from astec.export.artifact.text.bags import Query, QueryKindError
from astec.export.artifact.text.featurizer import TextFeaturizer

_SPACE, _SUBWORD_MARK = ord(" "), ord("~")


@dataclass(frozen=True, slots=True)
class Sequences:
    """Ids of queries, one after the other: query b owns `ids[offsets[b] : offsets[b + 1]]`.

    Shapes: `ids` int32 [T], `offsets` int64 [B + 1].
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def lengths(self) -> NDArray[np.int64]:
        """Return the number of ids of each query, int64 [B]."""
        return np.diff(self.offsets)

    def take(self, rows: NDArray[np.int64]) -> Sequences:
        """Return the sequences of the queries `rows`, in that order."""
        positions, offsets = take_rows(self.offsets, rows)
        return Sequences(self.ids[positions], offsets)

    def padded(self, width: int, filler: int = 0) -> NDArray[np.int32]:
        """Return the ids as rows, int32 [B, width], each filled up at its end; no sequence may be longer."""
        ids_BT = np.full((len(self), width), filler, np.int32)
        ids_BT[np.arange(width) < self.lengths()[:, None]] = self.ids
        return ids_BT


class WordReader:
    """Reads the known words of texts in their order, numbered among the words of the vocabulary.

    Args:
        featurizer: has the vocabulary; its runs of words and character n-grams get no number.
        max_length: the most words of a text that are read, from its beginning.

    Attributes:
        num_rows: the number of words, W.
    """

    def __init__(self, featurizer: TextFeaturizer, max_length: int) -> None:
        self._featurizer, self.max_length = featurizer, max_length
        words_W = word_ids(featurizer)
        self.num_rows = len(words_W)
        self._numbers_V = np.full(featurizer.num_features, -1, np.int32)
        self._numbers_V[words_W] = np.arange(self.num_rows)

    def check(self, query: Query) -> None:
        """Raise QueryKindError unless the query is a text."""
        if not isinstance(query, str):
            raise QueryKindError("this model reads the words of a text in their order; send a text")

    def read(self, queries: Sequence[Query]) -> Sequences:
        """Return the known words of B texts.

        Raises:
            QueryKindError: `check` refuses a query.
        """
        texts: list[str] = []
        for query in queries:
            self.check(query)
            texts.append(str(query))
        tokens_T, rows_T = self._featurizer.words(texts)
        words_T = self._numbers_V[tokens_T]
        known = words_T >= 0
        words_T, rows_T = words_T[known], rows_T[known]
        begins = np.searchsorted(rows_T, np.arange(len(texts)))
        kept = np.arange(len(rows_T)) - begins[rows_T] < self.max_length
        offsets = np.searchsorted(rows_T[kept], np.arange(len(texts) + 1)).astype(np.int64)
        return Sequences(words_T[kept], offsets)


def word_ids(featurizer: TextFeaturizer) -> NDArray[np.int64]:
    """Return the tokens that are single words, int64 [W], ascending: word w is token `word_ids[w]`."""
    blob, offsets = featurizer.vocabulary.blob, featurizer.vocabulary.offsets
    spaces = np.searchsorted(np.flatnonzero(blob == _SPACE), offsets)
    is_subword_V = blob[offsets[:-1]] == _SUBWORD_MARK
    return np.flatnonzero((np.diff(spaces) == 0) & ~is_subword_V)
