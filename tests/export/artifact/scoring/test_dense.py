"""Dense classifiers come back from their files as they were saved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from astec.export.artifact.scoring.dense import DenseClassifier

NUM_LABELS, DIM = 5, 3
FILES = {False: ["part.bias.npy", "part.npy"], True: ["part.bias.npy", "part.npy", "part.scales.npy"]}


def classifier(*, int8: bool) -> DenseClassifier:
    rng = np.random.default_rng(0)
    rows_LD = rng.standard_normal((NUM_LABELS, DIM)).astype(np.float32)
    return DenseClassifier.of(rows_LD, rng.standard_normal(NUM_LABELS).astype(np.float32), int8=int8)


@pytest.mark.parametrize("int8", [False, True])
def test_classifiers_read_back_as_they_were_saved(int8: bool, tmp_path: Path) -> None:
    saved = classifier(int8=int8)
    saved.save(tmp_path, "part")
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES[int8]
    opened = DenseClassifier.open(tmp_path, "part", (NUM_LABELS, DIM), int8=int8)
    for found, expected in zip(opened.arrays(), saved.arrays(), strict=True):
        assert found.dtype == expected.dtype
        assert np.array_equal(found, expected)


@pytest.mark.parametrize(("shape", "name"), [((NUM_LABELS, DIM + 1), "part.npy"), ((NUM_LABELS + 1, DIM), "part.npy")])
def test_classifiers_of_another_size_are_refused_by_file(shape: tuple[int, int], name: str, tmp_path: Path) -> None:
    classifier(int8=False).save(tmp_path, "part")
    with pytest.raises(ValueError, match=f"{name} has shape"):
        DenseClassifier.open(tmp_path, "part", shape, int8=False)


def test_weights_of_the_other_type_are_refused(tmp_path: Path) -> None:
    classifier(int8=True).save(tmp_path, "part")
    with pytest.raises(ValueError, match=r"part\.npy is int8, not float32"):
        DenseClassifier.open(tmp_path, "part", (NUM_LABELS, DIM), int8=False)


def test_a_bias_that_is_no_number_is_refused(tmp_path: Path) -> None:
    classifier(int8=False).save(tmp_path, "part")
    np.save(tmp_path / "part.bias.npy", np.full(NUM_LABELS, np.nan, np.float32))
    with pytest.raises(ValueError, match=r"part\.bias\.npy holds NaN or infinity"):
        DenseClassifier.open(tmp_path, "part", (NUM_LABELS, DIM), int8=False)
