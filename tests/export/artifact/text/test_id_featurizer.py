"""Feature ids that a client computed itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from astec.export.artifact.text.bags import Bag, QueryKindError
from astec.export.artifact.text.featurizer import open_featurizer
from astec.export.artifact.text.id_featurizer import IdFeaturizer

FEATURIZER = IdFeaturizer(10)


def bag(*pairs: tuple[int, float]) -> Bag:
    return Bag(np.array([i for i, _ in pairs], np.int32), np.array([w for _, w in pairs], np.float32))


def test_bags_are_normalised_and_kept_in_order() -> None:
    bags = FEATURIZER.transform([bag((9, 3), (0, -4)), bag(), bag((5, 0)), bag((2, 7))])
    assert bags.offsets.tolist() == [0, 2, 2, 3, 4]
    assert bags.ids.tolist() == [9, 0, 5, 2]
    assert bags.weights == pytest.approx([0.6, -0.8, 0, 1])
    assert (bags.ids.dtype, bags.weights.dtype) == (np.int32, np.float32)


def test_no_bags_at_all() -> None:
    assert len(FEATURIZER.transform([])) == 0


def test_weights_whose_squares_overflow_are_normalised_all_the_same() -> None:
    assert FEATURIZER.transform([bag((1, 3e30), (2, 4e30))]).weights == pytest.approx([0.6, 0.8])


@pytest.mark.parametrize("unknown", [-1, 10])
def test_an_unknown_id_is_refused(unknown: int) -> None:
    with pytest.raises(QueryKindError, match="between 0 and 9"):
        FEATURIZER.transform([bag((unknown, 1))])


def test_a_text_is_refused_with_what_to_send() -> None:
    with pytest.raises(QueryKindError, match=r'knows no words; send \{"ids"'):
        FEATURIZER.check("red cat")


@pytest.mark.parametrize("weight", [float("nan"), float("inf")])
def test_a_weight_that_is_no_number_is_refused(weight: float) -> None:
    with pytest.raises(QueryKindError, match="finite"):
        FEATURIZER.check(bag((1, 1), (2, weight)))


def test_ids_without_a_weight_each_are_refused() -> None:
    with pytest.raises(QueryKindError, match="2 ids and 1 weights"):
        FEATURIZER.check(Bag(np.array([1, 2], np.int32), np.ones(1, np.float32)))


def test_save_and_open_round_trip(tmp_path: Path) -> None:
    FEATURIZER.save(tmp_path)
    opened = open_featurizer(tmp_path)
    assert isinstance(opened, IdFeaturizer)
    assert opened.num_features == 10
    assert opened.vocabulary_sha256() == FEATURIZER.vocabulary_sha256() != IdFeaturizer(11).vocabulary_sha256()
