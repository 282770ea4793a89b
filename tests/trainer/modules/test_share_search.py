"""The choice of the shares, against figures of a slow reference.

Shapes: R held-out texts, L labels, C candidates of all texts together, K ranks.
"""

from dataclasses import astuple, replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from astec.export.artifact.scoring.parts import Parts
from astec.export.artifact.scoring.shares import Shares
from astec.export.artifact.shortlist.candidates import Candidates
from astec.export.ranking_metrics import RankingMetrics
from astec.trainer.modules.share_search import ALPHAS, BETAS, DELTAS, GAMMAS, ShareChoice, choose_shares

NUM_TEXTS, NUM_LABELS = 60, 15
FIGURES = ("P@1", "P@3", "P@5", "PSP@1", "PSP@3", "PSP@5")


@pytest.fixture(name="candidates", scope="module")
def candidates_fixture() -> Candidates:
    """Candidates of the texts: none, few or all labels for each."""
    generator = np.random.default_rng(0)
    sizes = generator.integers(0, NUM_LABELS + 1, NUM_TEXTS)
    labels = np.concatenate([generator.permutation(NUM_LABELS)[:size] for size in sizes]).astype(np.int32)
    unused = np.zeros(len(labels), np.float32)
    return Candidates(labels, unused, unused, np.concatenate([[0], np.cumsum(sizes)]))


@pytest.fixture(name="relevant_RL", scope="module")
def relevant_fixture() -> csr_matrix:
    relevant = np.random.default_rng(1).random((NUM_TEXTS, NUM_LABELS)) < 0.3
    relevant[:, 0] = True
    return csr_matrix(relevant.astype(np.float32))


@pytest.fixture(name="weights_L", scope="module")
def weights_fixture() -> NDArray[np.float64]:
    return np.linspace(1, 4, NUM_LABELS)


def random_parts(candidates: Candidates, *, sparse: bool = False, reranker: bool = False) -> Parts:
    """Return parts without equal values, so that scores have no ties, except by chance."""
    generator = np.random.default_rng(2)
    names = ["classifier", "similarity", "votes", *["sparse"] * sparse, *["reranker"] * reranker]
    return Parts(**{name: generator.random(len(candidates.labels), np.float32) for name in names})


def expected_figures(
    scores_C: NDArray[np.float32], candidates: Candidates, relevant_RL: csr_matrix, weights_L: NDArray[np.float64]
) -> dict[str, float]:
    """Compute the figures with the metrics of the evaluation."""
    ranked_RK = np.full((NUM_TEXTS, 5), -1, np.int64)
    for row, (begin, end) in enumerate(zip(candidates.offsets[:-1], candidates.offsets[1:], strict=True)):
        best = np.argsort(-scores_C[begin:end], kind="stable")[:5]
        ranked_RK[row, : len(best)] = candidates.labels[begin:end][best]
    metrics = RankingMetrics((1, 3, 5), weights_L)
    metrics.update(ranked_RK, np.split(relevant_RL.indices.astype(np.int64), relevant_RL.indptr[1:-1]))
    result = metrics.result()
    return {name: result[name] for name in FIGURES}


def shares_of(trial: dict[str, float]) -> Shares:
    return Shares(trial["alpha"], trial["beta"], trial["gamma"], trial["delta"])


def objective(trial: dict[str, float], psp_weight: float) -> float:
    return sum(trial[f"P@{k}"] + psp_weight * trial[f"PSP@{k}"] for k in (1, 3, 5))


def smoothed(figures: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of each trial and its neighbours on the grid; values at the border repeat beyond it."""
    padded = np.pad(figures, 1, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3,) * figures.ndim)
    return windows.mean(axis=tuple(range(figures.ndim, 2 * figures.ndim)))


@pytest.mark.parametrize("sparse", [False, True])
def test_trials_are_a_grid_with_the_figures_of_evaluation(
    candidates: Candidates, relevant_RL: csr_matrix, weights_L: NDArray[np.float64], sparse: bool
) -> None:
    parts = random_parts(candidates, sparse=sparse)
    trials = choose_shares(parts, candidates, relevant_RL, weights_L, 0.5).trials
    gammas = GAMMAS if sparse else (0.0,)
    grid = [(alpha, 0.0, gamma, delta) for alpha in ALPHAS for gamma in gammas for delta in DELTAS]
    assert [astuple(shares_of(trial))[:4] for trial in trials] == grid
    for trial in trials:
        expected = expected_figures(parts.scores(shares_of(trial).weights()), candidates, relevant_RL, weights_L)
        assert {name: trial[name] for name in FIGURES} == pytest.approx(expected)
    assert len({trial["PSP@3"] for trial in trials}) > 5


@pytest.mark.parametrize("psp_weight", [0.0, 0.5, 20.0])
def test_the_best_neighbourhood_of_the_grid_wins(
    candidates: Candidates, relevant_RL: csr_matrix, weights_L: NDArray[np.float64], psp_weight: float
) -> None:
    parts = random_parts(candidates, sparse=True)
    choice = choose_shares(parts, candidates, relevant_RL, weights_L, psp_weight)
    grid = [shares_of(trial) for trial in choice.trials]
    figures = np.array([objective(trial, psp_weight) for trial in choice.trials])
    means = smoothed(figures.reshape(len(ALPHAS), len(GAMMAS), len(DELTAS))).ravel()
    assert means[grid.index(choice.shares)] == pytest.approx(means.max())


def test_the_share_of_the_reranker_is_chosen_for_the_best_mix_of_the_rest(
    candidates: Candidates, relevant_RL: csr_matrix, weights_L: NDArray[np.float64]
) -> None:
    without = choose_shares(random_parts(candidates, sparse=True), candidates, relevant_RL, weights_L, 0.5)
    parts = random_parts(candidates, sparse=True, reranker=True)
    choice = choose_shares(parts, candidates, relevant_RL, weights_L, 0.5)
    assert choice.trials[: len(without.trials)] == without.trials
    tried = choice.trials[len(without.trials) :]
    best = without.shares
    assert [shares_of(trial) for trial in tried] == [replace(best, beta=beta) for beta in BETAS]
    for trial in tried:
        expected = expected_figures(parts.scores(shares_of(trial).weights()), candidates, relevant_RL, weights_L)
        assert {name: trial[name] for name in FIGURES} == pytest.approx(expected)
    means = smoothed(np.array([objective(trial, 0.5) for trial in tried]))
    assert means[BETAS.index(choice.shares.beta)] == pytest.approx(means.max())


def two_labels(relevant: int, psp_weight: float, **parts: list[float]) -> ShareChoice:
    """Choose shares for one text with two candidates, one of them relevant; parts not given score both alike."""
    candidates = Candidates(
        np.array([0, 1], np.int32), np.zeros(2, np.float32), np.zeros(2, np.float32), np.array([0, 2])
    )
    needed = {"classifier": [0.5, 0.5], "similarity": [0.5, 0.5], "votes": [0.5, 0.5]} | parts
    relevant_RL = csr_matrix(np.eye(2, dtype=np.float32)[[relevant]])
    given = Parts(**{name: np.array(values, np.float32) for name, values in needed.items()})
    return choose_shares(given, candidates, relevant_RL, np.array([1.0, 4.0]), psp_weight)


def test_the_side_that_is_right_gets_the_weight() -> None:
    """Label 0 is more similar, and the classifier prefers label 1 by far."""
    sides = {"classifier": [0.01, 0.99], "similarity": [0.73, 0.69]}
    assert two_labels(0, 0.5, **sides).shares == Shares(0.0)
    assert two_labels(1, 0.5, **sides).shares.alpha > 0


@pytest.mark.parametrize(("part", "share"), [("votes", "delta"), ("sparse", "gamma"), ("reranker", "beta")])
def test_a_part_has_a_say_only_where_it_is_right(part: str, share: str) -> None:
    sides = {"classifier": [0.6, 0.4], "similarity": [0.6, 0.4], part: [0.0, 1.0]}
    assert getattr(two_labels(1, 0.5, **sides).shares, share) > 0
    assert getattr(two_labels(0, 0.5, **sides).shares, share) == 0


def test_a_plateau_wins_over_a_lone_higher_peak() -> None:
    """One text comes right for beta 0.1 to 0.5, two texts for 0.8 alone: their label lies between two others'."""
    bounds = [(0.05, 0.55), (0.75, 0.85), (0.75, 0.85)]
    plain = np.array([(0.5, 0.5 + 0.4 * low, 0.5 - 0.4 * high) for low, high in bounds], np.float32).ravel()
    reranker = np.array([(0.5, 0.1 + 0.4 * low, 0.9 - 0.4 * high) for low, high in bounds], np.float32).ravel()
    labels = np.tile(np.arange(3, dtype=np.int32), 3)
    candidates = Candidates(labels, np.zeros(9, np.float32), np.zeros(9, np.float32), np.arange(0, 10, 3))
    relevant_RL = csr_matrix(np.array([[1, 0, 0]] * 3, np.float32))
    choice = choose_shares(Parts(plain, plain, plain, None, reranker), candidates, relevant_RL, np.ones(3), 0.5)
    figures = {trial["beta"]: trial["P@1"] for trial in choice.trials[-len(BETAS) :]}
    right = dict.fromkeys(BETAS, 0.0) | dict.fromkeys(BETAS[1:6], 100 / 3) | {0.8: 200 / 3}
    assert figures == pytest.approx(right)
    assert choice.shares.beta == 0.2


@pytest.mark.parametrize(("num_better", "has_share"), [(1, False), (9, True)])
def test_a_part_that_is_worth_less_than_a_tenth_of_a_point_has_no_share(num_better: int, has_share: bool) -> None:
    """The similarity is right on 2,000 texts; the votes are right on a few more, and say nothing about the others."""
    num_texts = 2_000
    candidates = Candidates(
        np.tile(np.arange(2, dtype=np.int32), num_texts),
        np.zeros(2 * num_texts, np.float32),
        np.zeros(2 * num_texts, np.float32),
        np.arange(0, 2 * num_texts + 1, 2),
    )
    odds = np.log(np.array([0.6 / 0.4, 0.7 / 0.3], np.float32))
    similarity, votes = np.tile(odds, num_texts), np.zeros(2 * num_texts, np.float32)
    similarity[: 2 * num_better] = np.tile(odds[::-1], num_better)
    votes[1 : 2 * num_better : 2] = 1
    plain = np.full(2 * num_texts, 0.5, np.float32)
    relevant_RL = csr_matrix(np.tile(np.array([[0, 1]], np.float32), (num_texts, 1)))
    choice = choose_shares(Parts(plain, similarity, votes), candidates, relevant_RL, np.ones(2), 0.0)
    best = max(objective(trial, 0.0) for trial in choice.trials)
    none = max(objective(trial, 0.0) for trial in choice.trials if trial["delta"] == 0)
    assert best - none == pytest.approx(100 * num_better / num_texts)  # P@1; P@3 and P@5 are the same
    assert (choice.shares.delta > 0) == has_share


def test_texts_without_candidates_find_nothing() -> None:
    nothing = np.empty(0, np.float32)
    candidates = Candidates(np.empty(0, np.int32), nothing, nothing, np.zeros(3, np.int64))
    relevant_RL = csr_matrix(np.eye(2, dtype=np.float32))
    choice = choose_shares(Parts(nothing, nothing, nothing), candidates, relevant_RL, np.ones(2), 0.5)
    assert choice.shares == Shares(0.0)
    assert all(trial[name] == 0 for trial in choice.trials for name in FIGURES)
