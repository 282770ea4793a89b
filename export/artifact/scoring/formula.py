"""The formula of a score, for one candidate label: the weighted sum of what its parts give.

| part | logit | probability |
|---|---|---|
| classifier | w_l . x-hat + b_l | sigmoid of it |
| similarity | s_l | sigmoid of it |
| sparse term | u_l . x + c_l | sigmoid of twice as much |
| votes | the vote itself | the vote, which is between 0 and 1 already |
| re-ranker | w~_l . x-tilde + b~_l | sigmoid of it |

The paper weighs probabilities. Where logits are weighed, the score is the sigmoid of their sum and a bias.

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
def value_of(logit: np.float32, as_logits: bool) -> np.float32:
    """Return what a part gives to the sum: its logit, or its probability."""
    return logit if as_logits else sigmoid(logit)


@njit(nogil=True, fastmath=True, inline="always")
def sparse_value_of(logit: np.float32, as_logits: bool) -> np.float32:
    """Return what the sparse term gives to the sum."""
    return logit if as_logits else sparse_probability(logit)


@njit(nogil=True, fastmath=True, inline="always")
def weighted(weight: float, value: np.float32) -> np.float32:
    """Return what a part adds to the sum, which begins with the votes, as every candidate has them."""
    addend: np.float32 = np.float32(weight) * value
    return addend
