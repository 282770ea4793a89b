"""Clicks: what they weigh in training, and how much of the traffic of a file comes again.

Shapes: N rows or texts, P pairs of text and label.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

Weighting = Literal["log", "linear", "none"]


@dataclass(frozen=True, slots=True)
class Traffic:
    """The traffic of a training file whose rows of the same text were joined.

    Attributes:
        rows: the rows that have a label.
        clicks: of all rows; a row has those of its label with most.
        texts: the distinct texts.
        repeated_share: share of the clicks on texts that have more than one click.
    """

    rows: int
    clicks: float
    texts: int
    repeated_share: float

    @classmethod
    def of(cls, clicks_N: NDArray[np.float64], text_N: NDArray[np.int64]) -> Self:
        """Count the traffic of rows with so many clicks on the texts `text_N`."""
        of_text = np.bincount(text_N, clicks_N)
        total = float(of_text.sum())
        return cls(len(clicks_N), total, len(of_text), float(of_text[of_text > 1].sum()) / total)


def number_texts(keys_N: NDArray[np.int64] | NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number the distinct texts in the order in which they come first.

    Args:
        keys_N: the same number for rows of the same text.

    Returns:
        The first row of each text, int64, and the text of each row, int64 [N].
    """
    _, first, key_N = np.unique(keys_N, return_index=True, return_inverse=True)
    order = np.argsort(first)
    number = np.empty(len(order), np.int64)
    number[order] = np.arange(len(order))
    return first[order], number[key_N]


def weigh_clicks(
    clicks_P: NDArray[np.float64], indptr: NDArray[np.int64], weighting: Weighting, num_learnt: int
) -> NDArray[np.float32]:
    """Return the weight of each pair, float32 [P], so that the heaviest pairs of the texts weigh 1 on average.

    Then texts of equal clicks have the weights of texts without clicks, and learning rates suit both.

    Args:
        clicks_P: clicks of each pair, above 0.
        indptr: the bounds of the pairs of each text, int64 [N + 1]; each text has a pair.
        weighting: how clicks become weights.
        num_learnt: the number of texts, from the first on, over which the average is taken.
    """
    if weighting == "none":
        return np.ones(len(clicks_P), np.float32)
    weights_P = np.log2(1 + clicks_P) if weighting == "log" else clicks_P
    mean = np.maximum.reduceat(weights_P, indptr[:-1])[:num_learnt].mean()
    weights: NDArray[np.float32] = (weights_P / mean).astype(np.float32)
    return weights
