"""The search for the best shares of a score's parts, on held-out texts (paper, section 4 and A.1).

Shapes: R held-out texts, C their candidates, K = 5 ranks, L labels, T trials.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from scipy.sparse import csr_matrix

from astec.export.artifact.scoring.parts import Parts
from astec.export.artifact.scoring.shares import Shares
from astec.export.artifact.shortlist.candidates import Candidates
from astec.trainer.settings.config import MixSection

ALPHAS = BETAS = tuple(round(0.1 * step, 1) for step in range(11))
GAMMAS = DELTAS = tuple(round(0.05 * step, 2) for step in range(9))
"""Smaller steps: the sparse term and votes range over all of [0, 1], while a similarity varies by about a tenth."""
_RANKS = (1, 3, 5)
_NEGLIGIBLE = 0.1 * len(_RANKS)  # 0.1 points of the mean over the ranks, as `astec-export --max-loss` allows by default
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
        relevant_RL: the labels of the texts.
        weights_L: inverse propensities.
        psp_weight: how many points of P a point of PSP is worth.
        allowed: the parts that may have a share.
    """
    judge = _Judge(candidates, relevant_RL, weights_L)
    alphas, gammas = ALPHAS if allowed.similarity else (1.0,), GAMMAS if parts.sparse is not None else (0.0,)
    axes = (alphas, gammas, DELTAS if allowed.votes else (0.0,))
    grid = [Shares(alpha, gamma=gamma, delta=delta) for alpha, gamma, delta in product(*axes)]
    trials = [_named(shares) | judge.figures(parts.scores(shares)) for shares in grid]
    shape = tuple(len(axis) for axis in axes)
    num_parts = np.array([_num_parts(shares) for shares in grid])
    position, objective = _plateau(_objectives(trials, psp_weight).reshape(shape), num_parts)
    if parts.reranker is None:
        return ShareChoice(grid[position], objective, trials)
    line = [replace(grid[position], beta=beta) for beta in BETAS]
    reranked = [_named(shares) | judge.figures(parts.scores(shares)) for shares in line]
    num_parts = np.array([_num_parts(shares) for shares in line])
    position, objective = _plateau(_objectives(reranked, psp_weight), num_parts)
    return ShareChoice(line[position], objective, trials + reranked)


def _named(shares: Shares) -> dict[str, float]:
    """Return the shares by name, in the order of the lines in a run's history."""
    return {name: getattr(shares, name) for name in ("alpha", "gamma", "delta", "beta")}


class _Judge:
    """Computes P@k and PSP@k of scored candidates, in compiled loops over the texts."""

    def __init__(self, candidates: Candidates, relevant_RL: csr_matrix, weights_L: NDArray[np.float64]) -> None:
        self._offsets = candidates.offsets
        num_texts, num_labels = relevant_RL.shape
        rows_C = np.repeat(np.arange(num_texts), np.diff(candidates.offsets))
        relevant = np.repeat(np.arange(num_texts), np.diff(relevant_RL.indptr)) * num_labels + relevant_RL.indices
        self._hits_C = np.isin(rows_C * num_labels + candidates.labels, relevant)
        self._gains_C = np.where(self._hits_C, weights_L[candidates.labels], 0.0)
        self._num_texts = num_texts
        gains = csr_matrix((weights_L[relevant_RL.indices], relevant_RL.indices, relevant_RL.indptr), relevant_RL.shape)
        self._best_gains = _best_gains(gains.data, gains.indptr.astype(np.int64), _RANKS[-1])

    def figures(self, scores_C: NDArray[np.float32]) -> dict[str, float]:
        """Return P and PSP at 1, 3 and 5, in percent."""
        hits_K, gains_K = _sum_best(scores_C, self._offsets, self._hits_C, self._gains_C, _RANKS[-1])
        precision = {f"P@{k}": 100 * float(hits_K[:k].sum()) / (k * self._num_texts) for k in _RANKS}
        return precision | {f"PSP@{k}": 100 * float(gains_K[:k].sum() / self._best_gains[:k].sum()) for k in _RANKS}


def _objectives(trials: list[dict[str, float]], psp_weight: float) -> NDArray[np.float64]:
    return np.array([sum(trial[f"P@{k}"] + psp_weight * trial[f"PSP@{k}"] for k in _RANKS) for trial in trials])


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
    good_T = means_T >= means_T.max() - _NEGLIGIBLE
    simplest_T = good_T & (num_parts_T == num_parts_T[good_T].min())
    position = int(np.where(simplest_T, means_T, -np.inf).argmax())
    return position, float(means_T[position])


@njit(cache=True)
def _best_gains(gains: NDArray[np.float64], indptr: NDArray[np.int64], num_ranks: int) -> NDArray[np.float64]:
    """Sum over the texts, for each rank, the gains of a ranking that puts the rarest labels first, float64 [K]."""
    best_K = np.zeros(num_ranks)
    for row in range(len(indptr) - 1):
        falling = -np.sort(-gains[indptr[row] : indptr[row + 1]])
        for rank in range(min(len(falling), num_ranks)):
            best_K[rank] += falling[rank]
    return best_K


@njit(cache=True)
def _sum_best(
    scores_C: NDArray[np.float32],
    offsets: NDArray[np.int64],
    hits_C: NDArray[np.bool_],
    gains_C: NDArray[np.float64],
    num_ranks: int,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Sum over the texts, for each rank, the hits and the gains of the candidates ranked by score, [K] each."""
    hits_K, gains_K = np.zeros(num_ranks, np.int64), np.zeros(num_ranks)
    best = np.empty(num_ranks, np.int64)
    for row in range(len(offsets) - 1):
        found = 0
        for candidate in range(offsets[row], offsets[row + 1]):
            if found == num_ranks and scores_C[candidate] <= scores_C[best[-1]]:
                continue
            rank = min(found, num_ranks - 1)
            while rank > 0 and scores_C[best[rank - 1]] < scores_C[candidate]:
                best[rank] = best[rank - 1]
                rank -= 1
            best[rank] = candidate
            found = min(found + 1, num_ranks)
        for rank in range(found):
            hits_K[rank] += hits_C[best[rank]]
            gains_K[rank] += gains_C[best[rank]]
    return hits_K, gains_K
