"""Selecting rows of bags of features."""

from __future__ import annotations

import numpy as np

from astec.export.artifact.text.bags import Bags

BAGS = Bags(
    ids=np.array([1, 2, 3, 4, 5, 6], np.int32),
    weights=np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], np.float32),
    offsets=np.array([0, 2, 2, 6], np.int64),
)


def test_take_selects_repeats_and_reorders() -> None:
    taken = BAGS.take(np.array([2, 1, 0, 0]))
    assert taken.offsets.tolist() == [0, 4, 4, 6, 8]
    assert taken.ids.tolist() == [3, 4, 5, 6, 1, 2, 1, 2]
    assert np.array_equal(taken.weights, BAGS.weights[taken.ids - 1])


def test_take_of_nothing() -> None:
    assert len(BAGS.take(np.empty(0, np.int64))) == 0
