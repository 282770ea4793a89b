"""Weighted sums of the rows of a table on the CPU, and the gradient of these rows, each in one pass.

The kernels use numba's threads, so that only the training thread may call them.

Shapes: B texts, T tokens of all of them, U rows of the table, D dimensions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit, prange
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import FunctionCtx


def sum_bags(rows_UD: Tensor, ids_T: Tensor, weights_T: Tensor, starts_B: Tensor) -> Tensor:
    """Return the weighted sum of each text's rows, [B, D], as `torch.nn.functional.embedding_bag` does.

    The gradient reaches the rows, not the weights. Torch writes zeros to all rows first, and then adds to each row once
    for each of its tokens.

    Args:
        rows_UD: the table, on the CPU.
        ids_T: the row of each token, int64.
        weights_T: its weight.
        starts_B: where each text begins, int64.
    """
    sums_BD: Tensor = _BagSums.apply(rows_UD, ids_T, weights_T, starts_B)  # type: ignore[no-untyped-call]
    return sums_BD


class _BagSums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, rows_UD: Tensor, ids_T: Tensor, weights_T: Tensor, starts_B: Tensor) -> Tensor:
        ctx.save_for_backward(ids_T, weights_T, starts_B)
        ctx.num_rows = len(rows_UD)  # type: ignore[attr-defined]
        sums_BD = rows_UD.new_empty(len(starts_B), rows_UD.shape[1])
        _sum(rows_UD.detach().numpy(), ids_T.numpy(), weights_T.numpy(), starts_B.numpy(), sums_BD.numpy())
        return sums_BD

    @staticmethod
    def backward(
        ctx: Any,  # noqa: ANN401 - torch's own type lacks it
        gradient_BD: Tensor,
    ) -> tuple[Tensor, None, None, None]:
        ids_T, weights_T, starts_B = (tensor.numpy() for tensor in ctx.saved_tensors)
        gradient_UD = gradient_BD.new_empty(ctx.num_rows, gradient_BD.shape[1])
        bounds, tokens_T = _tokens_by_row(ids_T, ctx.num_rows)
        texts_T = np.repeat(np.arange(len(starts_B)), np.diff(starts_B, append=len(ids_T)))
        gradient = gradient_BD.contiguous().numpy()
        _spread(gradient, bounds, texts_T[tokens_T], weights_T[tokens_T], gradient_UD.numpy())
        return gradient_UD, None, None, None


@njit(cache=True, parallel=True)
def _sum(
    rows_UD: NDArray[np.floating[Any]],
    ids_T: NDArray[np.int64],
    weights_T: NDArray[np.floating[Any]],
    starts_B: NDArray[np.int64],
    sums_BD: NDArray[np.floating[Any]],
) -> None:
    for text in prange(len(starts_B)):
        sums_BD[text] = 0
        end = starts_B[text + 1] if text + 1 < len(starts_B) else len(ids_T)
        for token in range(starts_B[text], end):
            row, weight = ids_T[token], weights_T[token]
            for d in range(sums_BD.shape[1]):
                sums_BD[text, d] += weight * rows_UD[row, d]


@njit(cache=True)
def _tokens_by_row(ids_T: NDArray[np.int64], num_rows: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where the tokens of each row begin, [U + 1], and the tokens by rows, [T], by counting sort."""
    bounds = np.zeros(num_rows + 1, np.int64)
    for row in ids_T:
        bounds[row + 1] += 1
    bounds = np.cumsum(bounds)
    filled, tokens_T = bounds[:-1].copy(), np.empty(len(ids_T), np.int64)
    for token in range(len(ids_T)):
        tokens_T[filled[ids_T[token]]] = token
        filled[ids_T[token]] += 1
    return bounds, tokens_T


@njit(cache=True, parallel=True)
def _spread(
    gradient_BD: NDArray[np.floating[Any]],
    bounds: NDArray[np.int64],
    texts_T: NDArray[np.int64],
    weights_T: NDArray[np.floating[Any]],
    gradient_UD: NDArray[np.floating[Any]],
) -> None:
    """Write the gradient of each row; texts and weights are those of the tokens by rows."""
    for row in prange(len(gradient_UD)):
        gradient_UD[row] = 0
        for i in range(bounds[row], bounds[row + 1]):
            text, weight = texts_T[i], weights_T[i]
            for d in range(gradient_UD.shape[1]):
                gradient_UD[row, d] += weight * gradient_BD[text, d]
