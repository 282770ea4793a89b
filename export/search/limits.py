"""The limits of what searching may lose, as they hold on texts that did not choose.

The cheapest of many plans that seem to lose little loses more on other texts: it was chosen for the chance of the texts
that it was compared on, too. By how much is measured by cross-fitting: a plan is chosen on half of the texts, and its
losses on both halves are compared. The limits are lowered by the difference.

Shapes: T trials, R held-out texts; 2 losses, of P@k and of PSP@k, in points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astec.export.search.trial import Trial

FREE_US = 6.0
"""Microseconds that nobody notices: about a tenth of what a request costs beside searching and scoring."""
_DRAWS = 20


@dataclass(frozen=True, slots=True)
class Limits:
    """The largest losses of P@k and PSP@k on texts that did not choose, and the optimism of the choice.

    Attributes:
        largest: the two limits.
        optimism: by how much the loss is larger on texts that did not choose than on those that did.
    """

    largest: tuple[float, float]
    optimism: tuple[float, float] = (0.0, 0.0)

    def lowered_for(self, trials: Sequence[Trial]) -> Limits:
        """Return the limits with the optimism of choosing the cheapest of some trials."""
        losses_T2R = np.stack([trial.losses for trial in trials])
        costs_T = np.array([trial.cost_us for trial in trials])
        precision, propensity_scored = optimism(losses_T2R, costs_T, np.array(self.largest))
        return Limits(self.largest, (float(precision), float(propensity_scored)))

    def fresh_loss(self, trial: Trial) -> tuple[float, float]:
        """Return the two losses of a chosen trial on texts that did not choose it."""
        return trial.loss[0] + self.optimism[0], trial.loss[1] + self.optimism[1]

    def allow(self, trial: Trial) -> bool:
        """Return whether both losses of a trial are within the limits on texts that did not choose it."""
        return all(loss <= most for loss, most in zip(self.fresh_loss(trial), self.largest, strict=True))


def best_of_cheap(trials: Sequence[Trial]) -> Trial:
    """Return the trial that loses the least P@k of the cheapest and those that cost at most `FREE_US` more.

    Where all are cheap, as with a few hundred labels, accuracy given up for the last microseconds gains nothing.

    Args:
        trials: one or more trials that are within the limits of loss.
    """
    most_us = min(trial.cost_us for trial in trials) + FREE_US
    return min((trial for trial in trials if trial.cost_us <= most_us), key=lambda trial: (trial.loss, trial.cost_us))


def optimism(
    losses_T2R: NDArray[np.float64], costs_T: NDArray[np.float64], largest_2: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return by how much a chosen trial loses more on texts that did not choose it, [2]; at least 0.

    A half of the texts, drawn at random, chooses, and the other half does not; the mean over twenty draws. In the end
    all texts choose, which leaves less to chance: the optimism is rather too large than too small.
    """
    rng = np.random.default_rng(0)
    num_texts = losses_T2R.shape[2]
    gaps = np.zeros((_DRAWS, 2))
    for draw in range(_DRAWS if num_texts > 1 else 0):
        own_R, others_R = np.split(rng.permutation(num_texts), [num_texts // 2])
        own_T2 = losses_T2R[:, :, own_R].mean(axis=2)
        chosen = cheapest(own_T2, costs_T, largest_2)
        gaps[draw] = losses_T2R[chosen][:, others_R].mean(axis=1) - own_T2[chosen]
    return np.asarray(np.maximum(gaps.mean(axis=0), 0))


def cheapest(losses_T2: NDArray[np.float64], costs_T: NDArray[np.float64], largest_2: NDArray[np.float64]) -> int:
    """Return the cheapest trial within the limits; the one that loses the least P@k where none is."""
    is_within_T = (losses_T2 <= largest_2).all(axis=1)
    if not is_within_T.any():
        return int(losses_T2[:, 0].argmin())
    return int(np.where(is_within_T, costs_T, np.inf).argmin())
