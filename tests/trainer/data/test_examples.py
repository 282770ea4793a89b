"""Featurised texts with their labels."""

from pathlib import Path

import numpy as np
import pytest

from astec.export.artifact.text.featurizer import TextFeaturizer
from tests.trainer.data.conftest import WriteJsonl, load


def test_features_are_the_bags_in_a_matrix(tmp_path: Path, write_jsonl: WriteJsonl) -> None:
    data = load(write_jsonl(tmp_path / "train.jsonl", [("one two", ["a"]), ("", ["b"]), ("two", ["a"])]))
    features_NV = data.examples.features(data.featurizer.num_features).toarray()
    assert isinstance(data.featurizer, TextFeaturizer)
    one, two = (list(data.featurizer.vocabulary).index(word) for word in ("one", "two"))
    assert np.count_nonzero(features_NV, axis=1).tolist() == [2, 0, 1]
    assert np.linalg.norm(features_NV, axis=1) == pytest.approx([1, 0, 1])
    assert features_NV[0, one] > features_NV[0, two] > 0, "the rarer word weighs more"
    assert features_NV[2, two] == pytest.approx(1)


def test_examples_are_taken_in_the_order_asked_for(tmp_path: Path, write_jsonl: WriteJsonl) -> None:
    examples = load(write_jsonl(tmp_path / "train.jsonl", [("a", ["a"]), ("b", ["b"]), ("c", ["c"])])).examples
    taken = examples.take(np.array([2, 0]))
    assert len(taken) == 2
    assert taken.labels.toarray().tolist() == [[0, 0, 1], [1, 0, 0]]
    assert taken.features(3).toarray().tolist() == examples.features(3).toarray()[[2, 0]].tolist()
