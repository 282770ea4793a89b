"""The map from scores to probabilities that an artifact holds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.manifest import Calibration


class Calibrator:
    """Maps a score to the probability that the label is right. Thread-safe.

    The map is linear between its knots and constant beyond them. It never falls where the score rises, so that labels
    in order of their scores are in order of their probabilities.

    Args:
        scores: the scores of the knots, ascending.
        probabilities: the probabilities of the knots, ascending, between 0 and 1.
    """

    def __init__(self, scores: Sequence[float], probabilities: Sequence[float]) -> None:
        self._scores = np.array(scores)
        self._probabilities = np.array(probabilities)

    @classmethod
    def of(cls, calibration: Calibration) -> Calibrator:
        """Make the calibrator that a manifest describes."""
        return cls(calibration.scores, calibration.probabilities)

    def probabilities(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return probabilities between 0 and 1, in the shape of the scores."""
        exact: NDArray[np.float64] = np.interp(scores, self._scores, self._probabilities)
        return exact.astype(np.float32)
