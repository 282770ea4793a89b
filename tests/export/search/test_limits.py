"""The limits of loss on made-up texts: what was chosen must lose no more on others.

Shapes: R texts, M labels of a text, T plans.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from astec.export.search.expected_hits import ExpectedHits
from astec.export.search.judge import Figures, Ranking
from astec.export.search.limits import FREE_US, Limits, best_of_cheap, cheapest, optimism
from astec.export.search.trial import Trial

NUM_TEXTS, NUM_LABELS, NUM_PLANS = 400, 20, 60
LIMIT, NO_LIMIT = 0.3, 1e9
COSTS_T = np.arange(NUM_PLANS, 0, -1.0)
MISSED_T = np.linspace(0.0, 0.3, NUM_PLANS)  # the share of labels that a plan misses: the cheaper, the more
LARGEST = np.array([LIMIT, NO_LIMIT])


@dataclass(frozen=True)
class MadeUp:
    """Texts whose labels are right with known probabilities, [R, M], and rankings of plans that miss some labels."""

    everything: Ranking
    probabilities: NDArray[np.float64]
    is_right: NDArray[np.bool_]
    rankings: list[NDArray[np.int64]]

    @classmethod
    def of(cls, seed: int) -> MadeUp:
        rng = np.random.default_rng(seed)
        scores_RM = -np.sort(-rng.random((NUM_TEXTS, NUM_LABELS)), axis=1)
        probabilities_RM = 0.4 * scores_RM
        labels_RM = np.tile(np.arange(NUM_LABELS), (NUM_TEXTS, 1))
        rankings = []
        for missed in MISSED_T:
            is_missed_RM = rng.random(labels_RM.shape) < missed
            kept_first_RM = np.argsort(is_missed_RM, axis=1, kind="stable")
            rankings.append(kept_first_RM[:, :5])
        is_right_RM = rng.random(labels_RM.shape) < probabilities_RM
        return cls(
            Ranking(labels_RM, scores_RM.astype(np.float32), NUM_LABELS), probabilities_RM, is_right_RM, rankings
        )

    def losses(self, gains_RM: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the losses of the plans in P@k, by what the labels of each text gain, [T, 2, R]; no loss of PSP@k."""
        by_rank_5 = 100 / 3 * np.array([1 + 1 / 3 + 1 / 5, 1 / 3 + 1 / 5, 1 / 3 + 1 / 5, 1 / 5, 1 / 5])
        best_R = gains_RM[:, :5] @ by_rank_5
        lost_TR = np.stack([best_R - np.take_along_axis(gains_RM, one, axis=1) @ by_rank_5 for one in self.rankings])
        return np.stack([lost_TR, np.zeros_like(lost_TR)], axis=1)

    def trials(self) -> list[Trial]:
        """Return the trials of the plans, with losses by the product's own expected hits."""
        relevant = [np.flatnonzero(is_right_M) for is_right_M in self.is_right]
        expected = ExpectedHits(self.everything, self.everything, relevant, np.ones(NUM_LABELS))
        best_2R = expected.gains(self.everything.labels)
        nothing = Figures({}, 0)
        return [
            Trial(None, "exact", nothing, cost, losses=best_2R - expected.gains(ranking))
            for cost, ranking in zip(COSTS_T, self.rankings, strict=True)
        ]


@pytest.fixture(scope="module")
def chosen() -> dict[str, NDArray[np.float64]]:
    """The fresh losses of what is chosen on each of eight samples by hits and by the limits, and the losses told."""
    samples = [MadeUp.of(seed) for seed in range(8)]
    # By the true probabilities, and on the texts of all samples.
    fresh_T = np.mean([sample.losses(sample.probabilities)[:, 0].mean(axis=1) for sample in samples], axis=0)
    found: dict[str, list[float]] = {"by hits": [], "by limits": [], "told": []}
    for sample in samples:
        own_T2 = sample.losses(sample.is_right.astype(np.float64)).mean(axis=2)
        found["by hits"].append(float(fresh_T[cheapest(own_T2, COSTS_T, LARGEST)]))
        trials = sample.trials()
        limits = Limits((LIMIT, NO_LIMIT)).lowered_for(trials)
        best = min(filter(limits.allow, trials), key=lambda trial: trial.cost_us)
        found["by limits"].append(float(fresh_T[trials.index(best)]))
        found["told"].append(limits.fresh_loss(best)[0])
    return {name: np.array(losses) for name, losses in found.items()}


def test_on_fresh_texts_what_hits_choose_loses_too_much_and_what_the_limits_choose_does_not(
    chosen: dict[str, NDArray[np.float64]],
) -> None:
    assert chosen["by hits"].mean() > 1.2 * LIMIT
    assert 0.5 * LIMIT < chosen["by limits"].mean() <= LIMIT


def test_the_loss_that_is_told_is_that_of_fresh_texts(chosen: dict[str, NDArray[np.float64]]) -> None:
    assert chosen["told"].max() <= LIMIT
    assert chosen["told"].mean() == pytest.approx(chosen["by limits"].mean(), abs=0.2 * LIMIT)


def test_the_optimism_is_what_the_choice_owes_to_its_own_texts() -> None:
    """Each plan loses on one text alone: choosing without that text, it seems free."""
    losses_T2R = np.zeros((8, 2, 8))
    losses_T2R[np.arange(8), :, np.arange(8)] = 10.0
    gap_2 = optimism(losses_T2R, np.ones(8), np.zeros(2))
    assert gap_2.tolist() == [2.5, 2.5], "one of the four other texts loses 10"
    assert abs(optimism(losses_T2R[:1], np.ones(1), np.zeros(2))).max() < 1, "nothing is chosen"


def test_a_single_text_cannot_be_left_out() -> None:
    assert optimism(np.ones((3, 2, 1)), np.ones(3), np.zeros(2)).tolist() == [0.0, 0.0]


def test_the_cheapest_within_the_limits_or_the_one_that_loses_least() -> None:
    losses_T2 = np.array([[0.0, 0.0], [0.1, 0.2], [0.1, 0.6], [0.3, 0.1]])
    costs_T = np.array([9.0, 5.0, 3.0, 1.0])
    assert cheapest(losses_T2, costs_T, np.array([0.1, 0.5])) == 1
    assert cheapest(losses_T2, costs_T, np.array([0.1, 0.7])) == 2
    assert cheapest(losses_T2 + 1, costs_T, np.array([0.1, 0.5])) == 0


def trial(cost_us: float, loss: float) -> Trial:
    return Trial(None, "exact", Figures({}, 0), cost_us, losses=np.full((2, 3), loss))


def test_microseconds_that_nobody_notices_buy_accuracy() -> None:
    cheap, good, better, dear = trial(8, 0.12), trial(10, 0.03), trial(8 + FREE_US, 0.02), trial(9 + FREE_US, 0.0)
    assert best_of_cheap([cheap, dear]) is cheap
    assert best_of_cheap([dear, good, cheap]) is good
    assert best_of_cheap([cheap, good, better, dear]) is better
    assert best_of_cheap([trial(12, 0.02), better, trial(13, 0.02)]).cost_us == 12, "of equal ones, the cheapest"
