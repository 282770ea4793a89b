"""Calibration error and Brier score, computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from astec.export.calibration.reliability import Bin, Reliability


def test_bins_worked_out_by_hand() -> None:
    probabilities = np.array([0.125, 0.125, 0.75, 0.75, 0.75, 0.75])
    reliability = Reliability.of(probabilities, np.array([0, 1, 1, 1, 1, 0], np.bool_))
    assert reliability.bins == (Bin(2, 0.125, 0.5), Bin(4, 0.75, 0.75))
    assert reliability.expected_error == pytest.approx((2 * 0.375 + 4 * 0) / 6)
    squares = 0.125**2 + 0.875**2 + 3 * 0.25**2 + 0.75**2
    assert reliability.brier == pytest.approx(squares / 6)


def test_the_edges_are_in_the_outer_bins() -> None:
    reliability = Reliability.of(np.array([0.0, 1.0], np.float32), np.array([True, False]))
    assert reliability.bins == (Bin(1, 0.0, 1.0), Bin(1, 1.0, 0.0))
    assert reliability.expected_error == reliability.brier == 1


def test_nothing_has_no_reliability() -> None:
    with pytest.raises(ValueError, match="no prediction to compare"):
        Reliability.of(np.empty(0), np.empty(0, np.bool_))
