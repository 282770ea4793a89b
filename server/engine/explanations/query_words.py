"""The words of a query, and what the tokens that are made of them add up to.

Shapes: W words of the query, T tokens of its bag, K labels.
"""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.text.bags import Query
from astec.export.artifact.text.featurizer import Featurizer, TextFeaturizer
from astec.export.artifact.text.segmentation import Span


class QueryWords(NamedTuple):
    """The words of a query.

    Attributes:
        spans: Where the words are in the query: begin and end of each of W words, in characters.
        shares: The share of each token that each word has, float32 [W, T]; the shares of a token add up to 1. A run of
            words belongs to its words in equal shares, and a token that occurs several times to each occurrence.
    """

    spans: list[Span]
    shares: NDArray[np.float32]

    @classmethod
    def of(cls, featurizer: Featurizer, query: Query, ids_T: NDArray[np.int32]) -> Self:
        """Find the words of a query, whose bag has the tokens `ids_T`; a bag of feature ids has no words."""
        if not isinstance(featurizer, TextFeaturizer) or not isinstance(query, str):
            return cls([], np.zeros((0, len(ids_T)), np.float32))
        written = featurizer.word_spans(query)
        spans = sorted(set(written))
        rows = {span: row for row, span in enumerate(spans)}
        row_of_word = np.array([rows[span] for span in written], np.int64)
        ids, first_last = featurizer.token_words(query)
        ids, first_last = ids[ids >= 0], first_last[ids >= 0]
        order = np.argsort(ids_T)
        columns = order[np.searchsorted(ids_T, ids, sorter=order)]
        shares_WT = np.zeros((len(spans), len(ids_T)), np.float32)
        lengths, times_T = np.diff(first_last)[:, 0] + 1, np.bincount(columns, minlength=len(ids_T))
        for within in range(int(lengths.max(initial=0))):
            is_longer = lengths > within
            words, held = row_of_word[first_last[is_longer, 0] + within], columns[is_longer]
            np.add.at(shares_WT, (words, held), 1 / (lengths[is_longer] * times_T[held]))
        return cls(spans, shares_WT)

    def add_up(self, added_TK: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what each word adds to each label, float32 [W, K], by what each token adds, float32 [T, K]."""
        added_WK: NDArray[np.float32] = self.shares @ added_TK
        return added_WK
