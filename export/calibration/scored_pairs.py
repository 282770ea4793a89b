"""Pairs of a text and a label ranked for it, with the score of the label and whether it is right.

Shapes: R texts, K ranks, P pairs of a text and a label that was ranked for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class ScoredPairs:
    """Pairs of a text and a label that was ranked for it.

    Shapes: `texts` int64 [P], the number of the text; `scores` float32 [P]; `hits` bool [P], whether the text has the
    label.
    """

    texts: NDArray[np.int64]
    scores: NDArray[np.float32]
    hits: NDArray[np.bool_]

    @classmethod
    def of(
        cls, ranked_RK: NDArray[np.int64], scores_RK: NDArray[np.float32], relevant: Sequence[NDArray[np.integer]]
    ) -> ScoredPairs:
        """Return the pairs of R rankings.

        Args:
            ranked_RK: label ids, best first, padded with -1.
            scores_RK: the scores of these labels.
            relevant: the right labels of each text.
        """
        hits_RK = np.zeros(ranked_RK.shape, np.bool_)
        for hits_K, ranked_K, labels in zip(hits_RK, ranked_RK, relevant, strict=True):
            hits_K[:] = np.isin(ranked_K, labels)
        return cls.of_hits(ranked_RK, scores_RK, hits_RK)

    @classmethod
    def of_hits(
        cls, ranked_RK: NDArray[np.int64], scores_RK: NDArray[np.float32], hits_RK: NDArray[np.bool_]
    ) -> ScoredPairs:
        """Return the pairs of R rankings, given which labels are right."""
        texts_P, ranks_P = np.nonzero(ranked_RK >= 0)
        return cls(texts_P, scores_RK[texts_P, ranks_P], hits_RK[texts_P, ranks_P])

    @property
    def num_texts(self) -> int:
        """The number of texts with at least one label."""
        return len(np.unique(self.texts))

    def take(self, kept_P: NDArray[np.bool_]) -> ScoredPairs:
        """Return the marked pairs."""
        return ScoredPairs(self.texts[kept_P], self.scores[kept_P], self.hits[kept_P])
