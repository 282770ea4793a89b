"""Logistic regression by Newton's method, for the few features and many pairs that calibration and mixing have.

Shapes: P pairs of a text and a label, F features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

_NEWTON_STEPS, _LONGEST_STEP, _CONVERGED = 60, 2.0, 1e-7
_MAX_LOGIT = 30.0


@dataclass(frozen=True, slots=True)
class LogisticRegression:
    """The logit of a pair: its features times `weights`, float64 [F], plus `bias`."""

    weights: NDArray[np.float64]
    bias: float


def fit_logistic_regression(
    features_PF: NDArray[np.float64],
    hits_P: NDArray[np.bool_] | NDArray[np.float64],
    worth_P: NDArray[np.float64] | None = None,
    *,
    ridge: float,
    nonnegative: bool = False,
) -> LogisticRegression:
    """Minimise the summed logistic loss plus `ridge` / 2 times the squared weights; the bias has no penalty.

    Args:
        features_PF: the features of the pairs.
        hits_P: the outcome of each pair, or its grade between 0 and 1.
        worth_P: how much the loss of each pair counts; None: all count 1.
        ridge: at least 0.
        nonnegative: a weight that would be negative is 0, and the others are fitted without its feature.
    """
    counted_P = np.ones(len(hits_P)) if worth_P is None else worth_P
    num_features = features_PF.shape[1]
    free = np.ones(num_features + 1, np.bool_)
    fitted = np.zeros(num_features + 1)
    # Begin with the bias that is right without any weight; from elsewhere Newton's steps may diverge.
    share = np.clip((counted_P * hits_P).sum() / counted_P.sum(), 1e-9, 1 - 1e-9)
    fitted[-1] = np.log(share / (1 - share))
    penalty = np.append(np.full(num_features, ridge), 0.0)
    while True:
        _descend(np.ascontiguousarray(features_PF), hits_P, counted_P, penalty, free, fitted)
        negative = nonnegative & (fitted[:-1] < 0)
        if not negative.any():
            return LogisticRegression(fitted[:-1], float(fitted[-1]))
        free[:-1] &= ~negative
        fitted[:-1][negative] = 0


def _descend(
    features_PF: NDArray[np.float64],
    hits_P: NDArray[np.bool_] | NDArray[np.float64],
    worth_P: NDArray[np.float64],
    penalty: NDArray[np.float64],
    free: NDArray[np.bool_],
    fitted: NDArray[np.float64],
) -> None:
    """Take Newton's steps in the free weights and the bias, the last of `fitted`, in place."""
    for _ in range(_NEWTON_STEPS):
        gradient, hessian = _derivatives(features_PF, hits_P, worth_P, fitted)
        gradient += penalty * fitted
        hessian += np.diag(penalty + 1e-9)
        step = np.linalg.solve(hessian[np.ix_(free, free)], gradient[free])
        longest = float(np.abs(step).max())
        fitted[free] -= step * min(1.0, _LONGEST_STEP / max(longest, 1e-9))
        if longest < _CONVERGED:
            return


@njit(cache=True, nogil=True)
def _derivatives(
    features_PF: NDArray[np.float64],
    hits_P: NDArray[np.bool_] | NDArray[np.float64],
    worth_P: NDArray[np.float64],
    fitted: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the gradient [F + 1] and the Hessian [F + 1, F + 1] of the summed loss."""
    num_features = features_PF.shape[1]
    gradient, hessian = np.zeros(num_features + 1), np.zeros((num_features + 1, num_features + 1))
    row = np.ones(num_features + 1)
    for pair in range(len(features_PF)):
        logit = float(fitted[num_features])
        for feature in range(num_features):
            row[feature] = features_PF[pair, feature]
            logit += fitted[feature] * row[feature]
        logit = min(max(logit, -_MAX_LOGIT), _MAX_LOGIT)
        probability = 1 / (1 + np.exp(-logit))
        error = worth_P[pair] * (probability - hits_P[pair])
        curvature = worth_P[pair] * probability * (1 - probability)
        for i in range(num_features + 1):
            gradient[i] += error * row[i]
            for j in range(i + 1):
                hessian[i, j] += curvature * row[i] * row[j]
    for i in range(num_features + 1):
        for j in range(i):
            hessian[j, i] = hessian[i, j]
    return gradient, hessian
