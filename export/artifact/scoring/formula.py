"""The formula of a score, for one candidate label: the weighted sum of the probabilities that the parts give.

| part | probability |
|---|---|
| classifier | sigmoid(w_l . x-hat + b_l) |
| similarity | sigmoid(s_l) |
| sparse term | sigmoid(2 (u_l . x + c_l)) |
| votes | the vote, which is between 0 and 1 already |
| re-ranker | sigmoid(w~_l . x-tilde + b~_l) |

`astec.export.artifact.scoring.shares` has the weights (paper, section 4). The kernels that serve and the trainer's
choice of the shares inline these functions.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from astec.export.artifact.scoring.sparse import SPARSE_SLOPE

_SPARSE_SLOPE = np.float32(SPARSE_SLOPE)


@njit(nogil=True, fastmath=True, inline="always")
def sigmoid(x: np.float32) -> np.float32:
    """Return the probability of a classifier's or re-ranker's logit, or of a cosine similarity."""
    probability: np.float32 = np.float32(1) / (np.float32(1) + np.exp(-x))
    return probability


@njit(nogil=True, fastmath=True, inline="always")
def sparse_probability(logit: np.float32) -> np.float32:
    """Return the probability of a logit of the sparse term, whose margins are made steeper first."""
    probability: np.float32 = sigmoid(_SPARSE_SLOPE * logit)
    return probability


@njit(nogil=True, fastmath=True, inline="always")
def weighted(weight: float, probability: np.float32) -> np.float32:
    """Return what a part adds to the score. The sum begins with the votes, which every candidate has."""
    addend: np.float32 = np.float32(weight) * probability
    return addend
