"""Scores as probabilities, by the map that an artifact brings with it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.manifest import Calibration


class Calibrator:
    """How likely a label with a score is right: linear between knots, and constant beyond them. Thread-safe.

    It never falls where the score rises, so that labels in order of their scores are in order of their probabilities.

    Args:
        scores: of the knots, ascending.
        probabilities: theirs, ascending, between 0 and 1.
    """

    def __init__(self, scores: Sequence[float], probabilities: Sequence[float]) -> None:
        self._scores = np.array(scores)
        self._probabilities = np.array(probabilities)

    @classmethod
    def of(cls, calibration: Calibration) -> Calibrator:
        """That of an artifact."""
        return cls(calibration.scores, calibration.probabilities)

    def probabilities(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities between 0 and 1, of the shape of the scores."""
        exact: NDArray[np.float64] = np.interp(scores, self._scores, self._probabilities)
        return exact.astype(np.float32)
