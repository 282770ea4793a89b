"""How the parts of a score are mixed: chosen on held-out training texts (paper, section 4 and A.1).

Shapes: R held-out texts, C their candidates, K = 5 ranks, L labels, T trials.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from itertools import product

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from scipy.sparse import csr_matrix

from astec.export.artifact.shortlist.candidates import Candidates
from astec.trainer.settings.config import MixSection

SHARES = tuple(round(0.1 * step, 1) for step in range(11))
SMALL_SHARES = tuple(round(0.05 * step, 2) for step in range(9))
"""Of sparse term and votes, which span all of [0, 1] where a similarity moves by a tenth: small steps count."""
_RANKS = (1, 3, 5)
_ALL_PARTS = MixSection()


@dataclass(frozen=True, slots=True)
class Parts:
    """What a score is made of, each in [0, 1], float32 [C]; None: the model has no such part."""

    classifier: NDArray[np.float32]
    similarity: NDArray[np.float32]
    votes: NDArray[np.float32]
    sparse: NDArray[np.float32] | None = None
    reranker: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class Shares:
    """y = (1 - gamma - delta)(alpha classifier + (1 - alpha) similarity) + gamma sparse + delta votes.

    And then (1 - beta) y + beta reranker: the paper's formula where gamma and delta are 0.
    """

    alpha: float
    gamma: float = 0.0
    delta: float = 0.0
    beta: float = 0.0

    def mix(self, parts: Parts) -> NDArray[np.float32]:
        """Scores of the candidates, float32 [C]."""
        dense = self.alpha * parts.classifier + (1 - self.alpha) * parts.similarity
        scores = (1 - self.gamma - self.delta) * dense + self.delta * parts.votes
        if parts.sparse is not None:
            scores += self.gamma * parts.sparse
        if parts.reranker is not None:
            scores = (1 - self.beta) * scores + self.beta * parts.reranker
        return scores.astype(np.float32)


@dataclass(frozen=True, slots=True)
class MixChoice:
    """The shares that are best, how good they are, and the figures of every trial in percent."""

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
) -> MixChoice:
    """Try the mixes of a grid on held-out texts, then the share of the re-ranker.

    The best has the highest mean of P@1, P@3 and P@5 plus `psp_weight` times that of PSP. A trial is judged with its
    neighbours on the grid: a lone peak on few held-out texts is chance.

    Args:
        parts: of the scores of the candidates.
        candidates: of the R texts.
        relevant_RL: their labels.
        weights_L: inverse propensities.
        psp_weight: what a point of PSP is worth in points of P.
        allowed: what may have a share.
    """
    judge = _Judge(candidates, relevant_RL, weights_L)
    alphas, gammas = SHARES if allowed.similarity else (1.0,), SMALL_SHARES if parts.sparse is not None else (0.0,)
    axes = (alphas, gammas, SMALL_SHARES if allowed.votes else (0.0,))
    grid = [Shares(*shares) for shares in product(*axes)]
    trials = [asdict(shares) | judge.figures(shares.mix(parts)) for shares in grid]
    shape = tuple(len(axis) for axis in axes)
    position, objective = _plateau(_objective(trials, psp_weight).reshape(shape))
    if parts.reranker is None:
        return MixChoice(grid[position], objective, trials)
    line = [replace(grid[position], beta=beta) for beta in SHARES]
    reranked = [asdict(shares) | judge.figures(shares.mix(parts)) for shares in line]
    position, objective = _plateau(_objective(reranked, psp_weight))
    return MixChoice(line[position], objective, trials + reranked)


class _Judge:
    """P@k and PSP@k of scored candidates, without a step of Python per text."""

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
        """P and PSP at 1, 3 and 5, in percent."""
        hits_K, gains_K = _sum_best(scores_C, self._offsets, self._hits_C, self._gains_C, _RANKS[-1])
        precision = {f"P@{k}": 100 * float(hits_K[:k].sum()) / (k * self._num_texts) for k in _RANKS}
        return precision | {f"PSP@{k}": 100 * float(gains_K[:k].sum() / self._best_gains[:k].sum()) for k in _RANKS}


def _objective(trials: list[dict[str, float]], psp_weight: float) -> NDArray[np.float64]:
    return np.array([sum(trial[f"P@{k}"] + psp_weight * trial[f"PSP@{k}"] for k in _RANKS) for trial in trials])


def _plateau(figures: NDArray[np.float64]) -> tuple[int, float]:
    """Position of the best trial of a grid, judged with its neighbours, and their mean."""
    means = uniform_filter(figures, size=3, mode="nearest").round(6)  # unrounded, equal plateaus would differ
    return int(means.argmax()), float(means.max())


@njit(cache=True)
def _best_gains(gains: NDArray[np.float64], indptr: NDArray[np.int64], num_ranks: int) -> NDArray[np.float64]:
    """Gains at each rank, of all texts together, of a ranking that puts the rarest labels first."""
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
    """Hits and gains at each rank, of all texts together."""
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
