"""Kernels for a block of labels on the CPU: their classifiers' rows, and the gradient of their 1-vs-all losses.

Each reads and writes an array once. They use numba's threads, so that only the training thread may call them.

Shapes: n rows of a table, D dimensions, C labels of a block, B texts, P positive pairs of the block.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from astec.trainer.numerics.bfloat16 import narrow, widen

# NaN and infinity stay what they are: by them the loop of the training sees that a loss has diverged. The kernels also
# need numpy's error model, without a check before each division, or their loops would not be vectorised.
_FASTMATH = {"reassoc", "contract", "arcp", "nsz"}


@njit(cache=True, parallel=True)
def gather_rows(table: NDArray[np.float32], rows_C: NDArray[np.int64], found_CD: NDArray[Any]) -> None:
    """Write some rows of a table [n, D] to `found_CD`, rounded if that is bfloat16."""
    for i in prange(len(rows_C)):
        row = rows_C[i]
        for d in range(found_CD.shape[1]):
            found_CD[i, d] = narrow(table[row, d], found_CD)


@njit(cache=True, parallel=True, error_model="numpy", fastmath=_FASTMATH)
def to_gradients(
    logits_CB: NDArray[Any],
    bias_C: NDArray[np.float32],
    weights_B: NDArray[np.float32],
    bounds: NDArray[np.int64],
    texts_P: NDArray[np.int64],
    weights_P: NDArray[np.float32],
    losses_C: NDArray[np.float32],
    bias_gradient_C: NDArray[np.float32],
) -> None:
    """Replace logits by the gradient of the loss that `one_vs_all_loss` defines, and write losses and bias gradients.

    A text of weight m with a pair of weight w has the loss m log(1 + exp(z)) - w z, and the gradient m sigmoid(z) - w.

    Args:
        logits_CB: w_l . x without the bias, which is added here; then the gradient.
        bias_C: the bias of each label.
        weights_B: the weight m of each text.
        bounds: where the positive pairs of each label begin, and end, [C + 1].
        texts_P: the text of each positive pair, in the order of the labels.
        weights_P: its weight w.
        losses_C: gets the loss of each label.
        bias_gradient_C: gets the gradient of each bias.
    """
    for label in prange(len(logits_CB)):
        bias, loss, sum_ = bias_C[label], np.float32(0), np.float32(0)
        begin, end = bounds[label], bounds[label + 1]
        logits_p = np.empty(end - begin, np.float32)
        for i in range(begin, end):
            logits_p[i - begin] = widen(logits_CB[label, texts_P[i]]) + bias
        for text in range(logits_CB.shape[1]):
            logit, weight = widen(logits_CB[label, text]) + bias, weights_B[text]
            small = _exp_of_negative(-abs(logit))
            gradient = weight * _sigmoid(logit, small)
            loss += weight * (np.float32(0.5) * (logit + abs(logit)) + _log_of_one_plus(small))
            sum_ += gradient
            logits_CB[label, text] = narrow(gradient, logits_CB)
        for i in range(begin, end):
            logit, text = logits_p[i - begin], texts_P[i]
            gradient = weights_B[text] * _sigmoid(logit, _exp_of_negative(-abs(logit))) - weights_P[i]
            loss -= weights_P[i] * logit
            sum_ -= weights_P[i]
            logits_CB[label, text] = narrow(gradient, logits_CB)
        losses_C[label], bias_gradient_C[label] = loss, sum_


@njit(cache=True, inline="always", error_model="numpy", fastmath=_FASTMATH)
def _sigmoid(logit: np.float32, small: np.float32) -> np.float32:
    """Return 1 / (1 + exp(-z)); `small` is exp(-|z|), so that nothing overflows."""
    return (np.float32(1) if logit >= 0 else small) / (np.float32(1) + small)


@njit(cache=True, inline="always", error_model="numpy", fastmath=_FASTMATH)
def _exp_of_negative(x: np.float32) -> np.float32:
    """Return exp(x) for x <= 0, to 3e-7 of it, and 2^-126 for what is smaller.

    It is 2^n 2^f with an integer n and |f| <= 1/2; the polynomial of 2^f goes through Chebyshev's points. The
    mathematical library's function would be called for one number at a time.
    """
    power = max(x * np.float32(1.44269504), np.float32(-126))
    n = np.floor(power + np.float32(0.5))
    f = power - n
    value = np.float32(0.0013390863)
    value = value * f + np.float32(0.009676032)
    value = value * f + np.float32(0.05550357)
    value = value * f + np.float32(0.24022107)
    value = value * f + np.float32(0.6931472)
    value = value * f + np.float32(1.0000001)
    return np.float32(value * np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32))


@njit(cache=True, inline="always", error_model="numpy", fastmath=_FASTMATH)
def _log_of_one_plus(x: np.float32) -> np.float32:
    """Return log(1 + x) for 0 <= x <= 1, to 2e-7 of it: the series of 2 artanh(x / (2 + x))."""
    s = x / (np.float32(2) + x)
    q = s * s
    value = np.float32(2 / 11)
    value = value * q + np.float32(2 / 9)
    value = value * q + np.float32(2 / 7)
    value = value * q + np.float32(2 / 5)
    value = value * q + np.float32(2 / 3)
    value = value * q + np.float32(2)
    return s * value
