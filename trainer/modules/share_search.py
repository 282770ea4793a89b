"""The search for the best shares of a score's parts, on held-out texts (paper, section 4 and A.1).

Shapes: R held-out texts, C their candidates, K = 5 ranks, L labels, T trials.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from scipy.sparse import csr_matrix

from astec.export.artifact.scoring.parts import Parts
from astec.export.artifact.scoring.shares import Shares
from astec.export.artifact.shortlist.candidates import Candidates
from astec.trainer.modules.candidate_judge import NEGLIGIBLE, CandidateJudge, objective
from astec.trainer.settings.config import MixSection

ALPHAS = BETAS = tuple(round(0.1 * step, 1) for step in range(11))
GAMMAS = DELTAS = tuple(round(0.05 * step, 2) for step in range(9))
"""Smaller steps: the sparse term and votes range over all of [0, 1], while a similarity varies by about a tenth."""
_ALL_PARTS = MixSection()


@dataclass(frozen=True, slots=True)
class ShareChoice:
    """The best shares, the objective that they reach, and the shares and figures in percent of every trial."""

    shares: Shares
    objective: float
    trials: list[dict[str, float]]


def choose_shares(
    parts: Parts,
    candidates: Candidates,
    relevant_RL: csr_matrix,
    weights_L: NDArray[np.float64],
    psp_weight: float,
    allowed: MixSection = _ALL_PARTS,
) -> ShareChoice:
    """Try a grid of shares on held-out texts, then the shares of the re-ranker beside the best of the grid.

    The best trial has the highest mean of P@1, P@3 and P@5 plus `psp_weight` times the mean of PSP@1, PSP@3 and PSP@5.
    A trial is judged by the mean of itself and its neighbours on the grid: with few held-out texts, a single high value
    among low ones is chance. Of trials that are at most 0.1 points worse than the best, one with the fewest parts is
    chosen: a part that is worth less than that is chance, too, and costs every query time.

    Args:
        parts: the parts of the candidates' scores.
        candidates: of the R texts.
        relevant_RL: the labels of the texts, and the weights of these pairs.
        weights_L: inverse propensities.
        psp_weight: how many points of P a point of PSP is worth.
        allowed: the parts that may have a share.
    """
    judge, probabilities = CandidateJudge(candidates, relevant_RL, weights_L), parts.probabilities()
    alphas, gammas = ALPHAS if allowed.similarity else (1.0,), GAMMAS if parts.sparse is not None else (0.0,)
    axes = (alphas, gammas, DELTAS if allowed.votes else (0.0,))
    grid = [Shares(alpha, gamma=gamma, delta=delta) for alpha, gamma, delta in product(*axes)]
    trials = [_named(shares) | judge.figures(probabilities.sums(shares.weights())) for shares in grid]
    shape = tuple(len(axis) for axis in axes)
    num_parts = np.array([_num_parts(shares) for shares in grid])
    position, reached = _plateau(_objectives(trials, psp_weight).reshape(shape), num_parts)
    if parts.reranker is None:
        return ShareChoice(grid[position], reached, trials)
    line = [replace(grid[position], beta=beta) for beta in BETAS]
    reranked = [_named(shares) | judge.figures(probabilities.sums(shares.weights())) for shares in line]
    num_parts = np.array([_num_parts(shares) for shares in line])
    position, reached = _plateau(_objectives(reranked, psp_weight), num_parts)
    return ShareChoice(line[position], reached, trials + reranked)


def _named(shares: Shares) -> dict[str, float]:
    """Return the shares by name, in the order of the lines in a run's history."""
    return {name: getattr(shares, name) for name in ("alpha", "gamma", "delta", "beta")}


def _objectives(trials: list[dict[str, float]], psp_weight: float) -> NDArray[np.float64]:
    return np.array([objective(trial, psp_weight) for trial in trials])


def _num_parts(shares: Shares) -> int:
    """Count the parts that have a share; the classifiers have one if `alpha` is above 0, the similarity if below 1."""
    return sum((shares.alpha > 0, shares.alpha < 1, shares.beta > 0, shares.gamma > 0, shares.delta > 0))


def _plateau(figures: NDArray[np.float64], num_parts_T: NDArray[np.int64]) -> tuple[int, float]:
    """Return the position of the best of the simplest trials that are nearly as good as any, and its figure.

    Args:
        figures: of the trials on their grid; each is judged by the mean with its neighbours.
        num_parts_T: number of parts of each trial.
    """
    # Unrounded, the means of equal plateaus would differ in their last bits.
    means_T = uniform_filter(figures, size=3, mode="nearest").round(6).ravel()
    good_T = means_T >= means_T.max() - NEGLIGIBLE
    simplest_T = good_T & (num_parts_T == num_parts_T[good_T].min())
    position = int(np.where(simplest_T, means_T, -np.inf).argmax())
    return position, float(means_T[position])
