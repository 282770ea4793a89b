"""The expected hits of a ranking: the probabilities that its labels are right, added up.

Two ways to search differ in a few labels of a few texts. Whether just these labels are right is mostly chance, so that
a difference of hits says little, and the best of many such differences less. Here the probability that a label is right
stands for the outcome. It is learnt from all texts, and the standard error of a difference falls to a quarter.

Shapes: R held-out texts, M ranks of the exhaustive ranking, K ranks of another, L labels, P pairs of a text and label.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from astec.export.calibration.fit import MIN_TEXTS, cross_fit
from astec.export.calibration.scored_pairs import ScoredPairs
from astec.export.search.judge import RANKS, Ranking

PROBABLE_RANKS = 20
"""M: labels of lower ranks in the exhaustive ranking, which are hardly ever right, count as wrong."""
# At the same score, a label of a better rank is more often right: each range of ranks is calibrated by itself. So are
# the labels that the search of the training does not find, which are less often right, without regard to their ranks.
_FIRST_RANKS = (1, 3, 5)
_NOT_FOUND = len(_FIRST_RANKS) + 1


class ExpectedHits:
    """The probability that a label is right for a text, for the best labels of every text.

    The probabilities of a text are learnt from other texts.

    Args:
        everything: the ranking of all labels, of M ranks.
        found: the ranking of the labels that the search of the training finds, of M ranks.
        relevant: the right labels of each text, at least one.
        inverse_propensities_L: the weight of each label in PSP@k.
    """

    def __init__(
        self,
        everything: Ranking,
        found: Ranking,
        relevant: Sequence[NDArray[np.integer]],
        inverse_propensities_L: NDArray[np.float64],
    ) -> None:
        self._labels_RM = everything.labels
        is_found_RM = (self._labels_RM[:, :, None] == found.labels[:, None, :]).any(axis=2)
        ranges_M = np.searchsorted(_FIRST_RANKS, np.arange(self._labels_RM.shape[1]), side="right")
        groups_RM = np.where(is_found_RM, ranges_M, _NOT_FOUND)
        self._probabilities_RM = np.zeros(self._labels_RM.shape)
        is_label_RM = self._labels_RM >= 0
        pairs = ScoredPairs.of(self._labels_RM, everything.scores, relevant)
        self._probabilities_RM[is_label_RM] = _probabilities(pairs, groups_RM[is_label_RM])
        self._inverse_propensities_L = inverse_propensities_L
        self._precision_K = _rank_weights(np.array(RANKS))
        self._propensity_scored_K = _rank_weights(_best_sums(relevant, inverse_propensities_L))

    def gains(self, labels_RK: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return what each text adds to P@k and to PSP@k (means over the ranks 1, 3 and 5), in points, [2, R].

        The mean over the texts is the expected P@k or PSP@k of the ranking. Ranks after the fifth do not count.
        """
        labels_RK = labels_RK[:, : RANKS[-1]]
        is_same_RKM = labels_RK[:, :, None] == self._labels_RM[:, None, :]
        probabilities_RK = (is_same_RKM * self._probabilities_RM[:, None, :]).sum(axis=2)
        weighted_RK = probabilities_RK * self._inverse_propensities_L[labels_RK]
        count = labels_RK.shape[1]
        return np.stack([probabilities_RK @ self._precision_K[:count], weighted_RK @ self._propensity_scored_K[:count]])


def _probabilities(pairs: ScoredPairs, groups_P: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the probability of each pair, from a calibration of its group on other texts.

    The pairs of a group of few texts all get the share of right pairs in the group.
    """
    probabilities_P = np.empty(len(groups_P))
    for group in np.unique(groups_P):
        is_member_P = groups_P == group
        members = pairs.take(is_member_P)
        probabilities_P[is_member_P] = cross_fit(members) if members.num_texts >= MIN_TEXTS else members.hits.mean()
    return probabilities_P


def _rank_weights(sums_per_text: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the points that a right label adds at each of the first five ranks, [5].

    Args:
        sums_per_text: what the sum over the first k ranks is divided by, for k of 1, 3 and 5.
    """
    counts_K3 = np.arange(RANKS[-1])[:, None] < np.array(RANKS)
    return np.asarray(100 / len(RANKS) * (counts_K3 / sums_per_text).sum(axis=1))


def _best_sums(
    relevant: Sequence[NDArray[np.integer]], inverse_propensities_L: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the largest sum of weights that the first k ranks of a text can reach, the mean over texts, [3]."""
    best_RK = np.zeros((len(relevant), RANKS[-1]))
    for best_K, labels in zip(best_RK, relevant, strict=True):
        weights = -np.sort(-inverse_propensities_L[np.unique(labels)])[: RANKS[-1]]
        best_K[: len(weights)] = weights
    return np.asarray(best_RK.cumsum(axis=1)[:, np.array(RANKS) - 1].mean(axis=0))
