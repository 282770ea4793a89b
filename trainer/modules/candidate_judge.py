"""The judge of scored candidates: P@k and PSP@k of the best candidates of held-out texts.

Where labels have weights, such as clicks, a text counts by the weight of its heaviest label, and a hit by its grade,
the label's share of that weight. Otherwise parts of a score that follow the clicks would be left out for doing so.

Shapes: R held-out texts, C their candidates, K = 5 ranks, L labels.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from astec.export.artifact.shortlist.candidates import Candidates
from astec.trainer.training.pair_weights import text_weights

_RANKS = (1, 3, 5)
NEGLIGIBLE = 0.1 * len(_RANKS)
"""A part that raises the objective by less is chance: 0.1 points of the mean over the ranks."""


def objective(figures: Mapping[str, float], psp_weight: float) -> float:
    """Return P@1 + P@3 + P@5 plus `psp_weight` times PSP@1 + PSP@3 + PSP@5."""
    return sum(figures[f"P@{k}"] + psp_weight * figures[f"PSP@{k}"] for k in _RANKS)


class CandidateJudge:
    """Computes P@k and PSP@k of scored candidates, in compiled loops over the texts.

    Args:
        candidates: of the R texts.
        relevant_RL: the labels of the texts, and the weights of these pairs.
        weights_L: inverse propensities.

    Attributes:
        hits: the grade of each candidate, float64 [C]: 1 for a relevant one without weights, 0 for others.
        gains: the grades times the inverse propensities, float64 [C].
        worth: the weight of each candidate's text, float64 [C]; 1 without weights.
    """

    def __init__(self, candidates: Candidates, relevant_RL: csr_matrix, weights_L: NDArray[np.float64]) -> None:
        self._offsets = candidates.offsets
        num_texts, num_labels = relevant_RL.shape
        rows_C = np.repeat(np.arange(num_texts), np.diff(candidates.offsets))
        rows_P = np.repeat(np.arange(num_texts), np.diff(relevant_RL.indptr))
        texts_R = text_weights(relevant_RL).astype(np.float64)
        grades_P = relevant_RL.data / texts_R[rows_P]
        self.hits = _look_up(
            rows_C * num_labels + candidates.labels, rows_P * num_labels + relevant_RL.indices, grades_P
        )
        self.gains = self.hits * weights_L[candidates.labels]
        self.worth = texts_R[rows_C]
        self._sum_of_texts = float(texts_R.sum())
        gains_P = relevant_RL.data * weights_L[relevant_RL.indices]
        self._best_gains = _best_gains(gains_P, relevant_RL.indptr.astype(np.int64), _RANKS[-1])

    def figures(self, scores_C: NDArray[np.float32]) -> dict[str, float]:
        """Return P and PSP at 1, 3 and 5, in percent."""
        hits_C, gains_C = self.worth * self.hits, self.worth * self.gains
        hits_K, gains_K = _sum_best(scores_C, self._offsets, hits_C, gains_C, _RANKS[-1])
        precision = {f"P@{k}": 100 * float(hits_K[:k].sum()) / (k * self._sum_of_texts) for k in _RANKS}
        return precision | {f"PSP@{k}": 100 * float(gains_K[:k].sum() / self._best_gains[:k].sum()) for k in _RANKS}


def _look_up(
    keys_C: NDArray[np.int64], relevant_P: NDArray[np.int64], grades_P: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the grade of each candidate by its key; 0 for one that is not relevant."""
    if not len(relevant_P):
        return np.zeros(len(keys_C))
    order_P = np.argsort(relevant_P)
    at_C = np.minimum(np.searchsorted(relevant_P, keys_C, sorter=order_P), len(relevant_P) - 1)
    pairs_C = order_P[at_C]
    grades_C: NDArray[np.float64] = np.where(relevant_P[pairs_C] == keys_C, grades_P[pairs_C], 0.0)
    return grades_C


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
    hits_C: NDArray[np.float64],
    gains_C: NDArray[np.float64],
    num_ranks: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum over the texts, for each rank, the hits and the gains of the candidates ranked by score, [K] each."""
    hits_K, gains_K = np.zeros(num_ranks), np.zeros(num_ranks)
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
