"""Trials of plans, and the choice that they lead to.

Shapes: R held-out texts; 2 losses, of P@k and of PSP@k (means over the ranks 1, 3 and 5), in points.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.manifest import WeightType
from astec.export.search.judge import Figures
from astec.export.search.plan import ShortlistPlan

NUM_REFERENCES = 2
"""Number of trials at the start: all labels scored, and the search with which the shares were chosen."""
_UNKNOWN_2R = np.full((2, 1), np.nan)


@dataclass(frozen=True, slots=True)
class Trial:
    """A trial of a plan, and its outcome.

    Attributes:
        plan: the plan; None where every label was scored.
        index: the backends of the indices; "exact" where the neighbours were found without an index.
        figures: accuracy on the held-out texts.
        cost_us: cost of searching and scoring a query, by a count of operations.
        search_us: measured time of searching, the median of one query at a time; None where no index was searched.
        weights: type of embeddings, classifiers and representatives.
        losses: the expected losses of each text, [2, R], compared with the better of the two reference trials; NaN
            where it was not compared.
    """

    plan: ShortlistPlan | None
    index: str
    figures: Figures
    cost_us: float
    search_us: float | None = None
    weights: WeightType = "float32"
    losses: NDArray[np.float64] = field(default_factory=lambda: _UNKNOWN_2R, compare=False, repr=False)

    @property
    def loss(self) -> tuple[float, float]:
        """The expected losses of P@k and of PSP@k on all held-out texts."""
        precision, propensity_scored = self.losses.mean(axis=1)
        return float(precision), float(propensity_scored)


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen plan, its trial, and all trials in order.

    Without held-out texts there are no trials.

    Attributes:
        within_limits: whether the plan is within the limits of loss.
        fresh_loss: the losses of P@k and of PSP@k on texts that did not choose the plan; None without trials.
    """

    plan: ShortlistPlan
    chosen: Trial | None
    trials: list[Trial]
    within_limits: bool
    fresh_loss: tuple[float, float] | None
