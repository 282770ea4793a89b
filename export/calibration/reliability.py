"""The reliability of probabilities: of the predictions with probability p, a share of p must be right.

Shapes: P predictions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NUM_BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """Predictions of about the same probability: their number, their mean probability, and the share that is right."""

    predictions: int
    probability: float
    frequency: float


@dataclass(frozen=True, slots=True)
class Reliability:
    """A comparison of probabilities with the observed outcomes.

    Attributes:
        bins: bins of equal width, from unlikely to likely, without empty ones.
        brier: mean squared difference between a probability and the outcome, 1 or 0.
    """

    bins: tuple[Bin, ...]
    brier: float

    @classmethod
    def of(cls, probabilities_P: NDArray[np.floating], hits_P: NDArray[np.bool_]) -> Reliability:
        """Compare the probabilities of predictions with their outcomes.

        Raises:
            ValueError: there are no predictions.
        """
        if not len(hits_P):
            raise ValueError("There is no prediction to compare with what is right.")
        exact_P = probabilities_P.astype(np.float64)
        bins_P = np.clip((exact_P * NUM_BINS).astype(np.int64), 0, NUM_BINS - 1)
        counts, said, right = (
            np.bincount(bins_P, weights, NUM_BINS) for weights in (None, exact_P, hits_P.astype(np.float64))
        )
        bins = tuple(
            Bin(int(counts[i]), float(said[i] / counts[i]), float(right[i] / counts[i])) for i in np.flatnonzero(counts)
        )
        return cls(bins, float(np.mean((exact_P - hits_P) ** 2)))

    @property
    def expected_error(self) -> float:
        """Expected calibration error (Guo et al. 2017): the mean error of the bins, weighted by their predictions."""
        wrong = sum(part.predictions * abs(part.probability - part.frequency) for part in self.bins)
        return wrong / sum(part.predictions for part in self.bins)
