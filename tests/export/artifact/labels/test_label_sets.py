"""Label sets with weights: taken, extended, written and opened; bad weights are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from astec.export.artifact.labels.label_sets import NO_WEIGHTS, LabelSets
from astec.export.artifact.shortlist.label_graph import POINT_LABELS_FILES

INDPTR, INDICES = np.array([0, 2, 2, 3]), np.array([4, 0, 2], np.int32)
WEIGHTS = np.array([3, 0.5, 2], np.float32)


@pytest.mark.parametrize("weights", [WEIGHTS, NO_WEIGHTS])
def test_weights_follow_their_labels(tmp_path: Path, weights: np.ndarray) -> None:
    sets = LabelSets(INDPTR, INDICES, weights)
    taken = sets.take(np.array([2, 0]))
    assert taken.indices.tolist() == [2, 4, 0]
    more = sets.and_one_each(np.array([7, 8], np.int32))
    assert more.indptr.tolist() == [0, 2, 2, 3, 4, 5]
    assert more.indices.tolist() == [4, 0, 2, 7, 8]
    if len(weights):
        assert taken.weights.tolist() == [2, 3, 0.5]
        assert more.weights.tolist() == [3, 0.5, 2, 1, 1]
    sets.save(tmp_path, POINT_LABELS_FILES)
    opened = LabelSets.open(tmp_path, POINT_LABELS_FILES, 3, 5, weighted=len(weights) > 0)
    assert opened.weights.tolist() == weights.tolist()
    assert opened.weights.dtype == np.float32


@pytest.mark.parametrize("weight", [0.0, -1.0, np.nan, np.inf])
def test_weights_that_are_none_are_refused(tmp_path: Path, weight: float) -> None:
    LabelSets(INDPTR, INDICES, np.array([1, weight, 1], np.float32)).save(tmp_path, POINT_LABELS_FILES)
    with pytest.raises(ValueError, match=r"point_labels\.weights\.npy holds"):
        LabelSets.open(tmp_path, POINT_LABELS_FILES, 3, 5, weighted=True)


def test_weights_without_a_file_are_refused(tmp_path: Path) -> None:
    files = POINT_LABELS_FILES._replace(weights=None)
    with pytest.raises(ValueError, match="have weights, which have no file"):
        LabelSets(INDPTR, INDICES, WEIGHTS).save(tmp_path, files)
