"""The signals of a query, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from astec.export.artifact.signals.query_signals import ENTROPY_RANKS, SIGNALS, measure, place_for_signals
from astec.export.artifact.text.bags import Bag, Query
from astec.export.artifact.text.featurizer import Featurizer, TextFeaturizer
from astec.export.artifact.text.featurizer_config import FeaturizerConfig
from astec.export.artifact.text.id_featurizer import IdFeaturizer

TEXTS = ["red shoes", "red rain jacket", "blue café socks"]


@pytest.fixture(scope="module")
def featurizer() -> TextFeaturizer:
    return TextFeaturizer.fit(TEXTS, FeaturizerConfig(min_df=1))


def measured(
    featurizer: Featurizer, queries: list[Query], scores: list[list[float]], ranks: int = ENTROPY_RANKS
) -> dict[str, NDArray[np.float64]]:
    """The signals of queries whose answers have these scores, by name."""
    labels_BK = np.full((len(queries), ranks), -1, np.int64)
    scores_BK = np.zeros((len(queries), ranks), np.float32)
    for row, some in enumerate(scores):
        labels_BK[row, : len(some)], scores_BK[row, : len(some)] = np.arange(len(some)), some
    signals_B3 = place_for_signals(len(queries))
    measure(featurizer, queries, labels_BK, scores_BK, signals_B3)
    return dict(zip(SIGNALS, signals_B3.T, strict=True))


@pytest.mark.parametrize(
    ("query", "unknown"),
    [
        ("red shoes", 0),
        ("Red, RED shoes!", 0),  # folded
        ("red boots", 1 / 2),
        ("red sho", 1 / 2),  # a character n-gram of a known word is no word
        ("boots boots red", 2 / 3),  # each occurrence counts
        ("shoes red", 0),  # words alone count, their runs do not
        ("CAFÉ 日本", 2 / 3),  # each Chinese character is a word
        ("qqqq", 1),
        ("", None),
        (" -- ", None),
    ],
)
def test_unknown_words_are_those_that_are_no_token(featurizer: TextFeaturizer, query: str, unknown: float) -> None:
    (share,) = measured(featurizer, [query], [[0.5]])["unknown_words"].tolist()
    assert math.isnan(share) if unknown is None else share == unknown


def test_a_batch_is_measured_as_each_query_alone(featurizer: TextFeaturizer) -> None:
    bag = Bag(np.zeros(1, np.int32), np.ones(1, np.float32))
    queries: list[Query] = ["red boots", bag, "", "café qqqq zzzz", "blue"]
    scores = [[0.9, 0.2], [0.4], [], [0.3, 0.3, 0.3], [0.1] * 5]
    together = measured(featurizer, queries, scores)
    for row, (query, some) in enumerate(zip(queries, scores, strict=True)):
        alone = measured(featurizer, [query], [some])
        for name in SIGNALS:
            np.testing.assert_array_equal(together[name][row : row + 1], alone[name])
    assert np.isnan(together["unknown_words"]).tolist() == [False, True, True, False, False]


def test_a_model_that_reads_no_texts_knows_no_words() -> None:
    bag = Bag(np.array([2], np.int32), np.ones(1, np.float32))
    signals = measured(IdFeaturizer(4), [bag], [[0.5, 0.5]])
    assert np.isnan(signals["unknown_words"]).all()
    assert signals["top_score"].tolist() == [0.5]
    assert signals["entropy"].tolist() == [1]


@pytest.mark.parametrize(
    ("scores", "top_score", "entropy"),
    [
        ([0.7], 0.7, 0),
        ([0.4, 0.4], 0.4, 1),
        ([0.8, 0.4, 0.2, 0.2], 0.8, 1.75),  # shares of 1/2, 1/4, 1/8, 1/8
        ([0.2] * 5, 0.2, math.log2(5)),
        ([0.9, 0], 0.9, 0),
        ([0, 0], 0, None),
        ([], 0, None),
    ],
)
def test_top_score_and_entropy(
    featurizer: TextFeaturizer, scores: list[float], top_score: float, entropy: float | None
) -> None:
    signals = measured(featurizer, ["red"], [scores])
    assert signals["top_score"].tolist() == pytest.approx([top_score])
    (bits,) = signals["entropy"].tolist()
    assert math.isnan(bits) if entropy is None else bits == pytest.approx(entropy)


def test_the_entropy_is_of_five_labels_whatever_was_asked_for(featurizer: TextFeaturizer) -> None:
    scores = [0.6, 0.3, 0.2, 0.1, 0.1, 0.05, 0.01]
    of_five = measured(featurizer, ["red"], [scores[:5]])["entropy"].tolist()
    assert measured(featurizer, ["red"], [scores], ranks=7)["entropy"].tolist() == of_five
    fewer = measured(featurizer, ["red"], [scores[:4]], ranks=4)
    assert np.isnan(fewer["entropy"]).all()
    assert fewer["top_score"].tolist() == pytest.approx([0.6])
