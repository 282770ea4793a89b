"""Expected hits, against hits: the same on average, with less noise.

Shapes: R texts, M ranks.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from astec.export.ranking_metrics import RankingMetrics
from astec.export.search.expected_hits import PROBABLE_RANKS, ExpectedHits
from astec.export.search.judge import RANKS, Ranking

NUM_TEXTS, NUM_LABELS = 600, 40
WEIGHTS_L = np.linspace(1, 4, NUM_LABELS)


def ranking_of(labels_RM: NDArray[np.int64]) -> Ranking:
    scores_RM = np.broadcast_to(np.linspace(1, 0.1, labels_RM.shape[1], dtype=np.float32), labels_RM.shape)
    return Ranking(labels_RM, scores_RM, labels_RM.shape[1])


@pytest.fixture(scope="module")
def everything() -> Ranking:
    rng = np.random.default_rng(0)
    labels_RM = np.stack([rng.permutation(NUM_LABELS)[:PROBABLE_RANKS] for _ in range(NUM_TEXTS)])
    return ranking_of(labels_RM)


@pytest.fixture(scope="module")
def relevant(everything: Ranking) -> list[NDArray[np.int64]]:
    """Labels are right the more often, the better their ranks; the best label of a text always is."""
    rng = np.random.default_rng(1)
    share_M = 1 / np.arange(1, PROBABLE_RANKS + 1)
    return [labels_M[rng.random(len(labels_M)) < share_M] for labels_M in everything.labels]


def metrics(ranking: Ranking, relevant: list[NDArray[np.int64]]) -> dict[str, float]:
    measured = RankingMetrics(RANKS, WEIGHTS_L)
    measured.update(ranking.labels, relevant)
    result = measured.result()
    return {name: sum(result[f"{name}@{k}"] for k in RANKS) / len(RANKS) for name in ("P", "PSP")}


def test_the_mean_is_about_what_is_measured(everything: Ranking, relevant: list[NDArray[np.int64]]) -> None:
    expected = ExpectedHits(everything, everything, relevant, WEIGHTS_L)
    for labels_RM in (everything.labels, everything.labels[:, 3:]):
        gains_2R = expected.gains(labels_RM)
        measured = metrics(Ranking(labels_RM, everything.scores, 0), relevant)
        assert gains_2R.shape == (2, NUM_TEXTS)
        assert gains_2R.mean(axis=1) == pytest.approx([measured["P"], measured["PSP"]], rel=0.05)


def test_a_certain_label_lost_is_worth_its_ranks(everything: Ranking, relevant: list[NDArray[np.int64]]) -> None:
    """The first label of every text is right: without it, at rank 1 alone, P@k loses (1 + 1/3 + 1/5) / 3."""
    expected = ExpectedHits(everything, everything, relevant, WEIGHTS_L)
    alone, nothing = everything.labels[:, :1], np.full((NUM_TEXTS, 1), -1)
    assert expected.gains(alone)[0] == pytest.approx(100 * (1 + 1 / 3 + 1 / 5) / 3)
    assert not expected.gains(nothing).any()
    per_text = 100 / 3 * WEIGHTS_L[alone[:, 0]]
    best_sums = [np.mean([np.sort(WEIGHTS_L[ids])[::-1][:k].sum() for ids in relevant]) for k in RANKS]
    assert expected.gains(alone)[1] == pytest.approx(per_text * sum(1 / best for best in best_sums))


def test_labels_that_the_search_does_not_find_have_a_probability_of_their_own(everything: Ranking) -> None:
    """Every second label is found; those are right, and the others, at the same ranks and scores, are not."""
    found = Ranking(np.where(everything.labels % 2 == 0, everything.labels, -1), everything.scores, 0)
    relevant = [labels_M[labels_M % 2 == 0] for labels_M in everything.labels]
    gains_2R = ExpectedHits(everything, found, relevant, WEIGHTS_L).gains(everything.labels[:, :1])
    is_even_R = everything.labels[:, 0] % 2 == 0
    assert gains_2R[0, is_even_R] == pytest.approx(100 * (1 + 1 / 3 + 1 / 5) / 3)
    assert not gains_2R[0, ~is_even_R].any()


def test_labels_beyond_the_probable_ranks_count_as_wrong(
    everything: Ranking, relevant: list[NDArray[np.int64]]
) -> None:
    expected = ExpectedHits(everything, everything, relevant, WEIGHTS_L)
    others = np.stack([np.setdiff1d(np.arange(NUM_LABELS), labels_M)[:5] for labels_M in everything.labels])
    assert not expected.gains(others).any()


def test_few_texts_share_a_probability(everything: Ranking, relevant: list[NDArray[np.int64]]) -> None:
    """With fewer texts than a calibration takes, the share of right labels in a range of ranks stands for all of it."""
    few = Ranking(everything.labels[:8], everything.scores[:8], 0)
    gains_2R = ExpectedHits(few, few, relevant[:8], WEIGHTS_L).gains(few.labels[:, [1]])
    second_and_third = np.mean([np.isin(few.labels[row, 1:3], relevant[row]) for row in range(8)])
    assert gains_2R[0] == pytest.approx(100 * (1 + 1 / 3 + 1 / 5) / 3 * second_and_third)
