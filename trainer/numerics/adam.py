"""Adam on some rows of a table: one pass over them on the CPU and on a CUDA device, plain torch elsewhere.

As in `torch.optim.SparseAdam`, the moments of a row do not change while the row is not used.

Shapes: n rows of a table, D dimensions, U distinct rows used by a step.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numba
import numpy as np
import torch
from numba import njit, prange
from numpy.typing import NDArray
from torch import Tensor

from astec.export.console import console
from astec.trainer.numerics.bfloat16 import as_array, widen

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8

# numba's default layer could load a second OpenMP runtime besides torch's, which can crash the process. This layer
# aborts if two threads run parallel kernels at once, so only the training thread may run one: here, and in
# `label_block`.
numba.config.THREADING_LAYER = "workqueue"  # type: ignore[attr-defined]

_DeviceStep = Callable[[Tensor, Tensor, Tensor, Tensor | None, Tensor, float], None]


@torch.no_grad()
def step_rows(
    weight: Tensor, mean: Tensor, square: Tensor, rows_U: Tensor | None, gradient_UD: Tensor, rate: float, steps: int
) -> None:
    """Apply one step of Adam to some rows of a table, in place.

    Args:
        weight: the parameters, float32 [n, D].
        mean: the moving average of the gradient, like `weight`.
        square: the moving average of its square.
        rows_U: the distinct rows that the step changes; None: all, in their order.
        gradient_UD: their gradient, contiguous; on the CPU it may be bfloat16.
        rate: the learning rate.
        steps: the number of steps with this one, which corrects the bias of the moments.
    """
    rate = rate * (1 - BETA2**steps) ** 0.5 / (1 - BETA1**steps)
    if weight.device.type == "cpu":
        rows = np.arange(len(weight)) if rows_U is None else rows_U.numpy()
        _step_on_cpu(weight.numpy(), mean.numpy(), square.numpy(), rows, as_array(gradient_UD), np.float32(rate))
    else:
        _device_step(weight.device)(weight, mean, square, rows_U, gradient_UD, rate)


@cache
def _device_step(device: torch.device) -> _DeviceStep:
    """Return the fused kernel for a CUDA device on which Triton can compile it, else the separate operations."""
    if device.type != "cuda":
        return step_by_torch
    try:
        from astec.trainer.numerics.fused_adam import step_fused  # Triton comes only with torch's builds for GPUs

        fused = partial(step_fused, betas=(BETA1, BETA2), epsilon=EPSILON)
        weight, mean, square, gradient = (torch.zeros(1, 1, device=device) for _ in range(4))
        fused(weight, mean, square, None, gradient, 0.0)
    except Exception as error:  # Triton passes on any error of the compilers that it starts
        console.print(f"training without Triton, which is slower: {error}", markup=False, soft_wrap=True)
        return step_by_torch
    return fused


def step_by_torch(
    weight: Tensor, mean: Tensor, square: Tensor, rows_U: Tensor | None, gradient_UD: Tensor, rate: float
) -> None:
    """Do the same as `step_rows` with torch's operations; `rate` includes the correction of the bias."""
    if rows_U is None:
        mean.lerp_(gradient_UD, 1 - BETA1)
        square.mul_(BETA2).addcmul_(gradient_UD, gradient_UD, value=1 - BETA2)
        weight.addcdiv_(mean, square.sqrt().add_(EPSILON), value=-rate)
        return
    mean_UD = mean[rows_U].lerp_(gradient_UD, 1 - BETA1)
    square_UD = square[rows_U].mul_(BETA2).addcmul_(gradient_UD, gradient_UD, value=1 - BETA2)
    mean[rows_U], square[rows_U] = mean_UD, square_UD
    weight.index_add_(0, rows_U, mean_UD.div_(square_UD.sqrt_().add_(EPSILON)), alpha=-rate)


@njit(cache=True, parallel=True, fastmath=True)
def _step_on_cpu(
    weight: NDArray[np.float32],
    mean: NDArray[np.float32],
    square: NDArray[np.float32],
    rows_U: NDArray[np.int64],
    gradient_UD: NDArray[Any],
    rate: np.float32,
) -> None:
    """Apply Adam in one pass over the rows, in a third of the time of separate torch operations."""
    keep_mean, keep_square = np.float32(BETA1), np.float32(BETA2)
    new_mean, new_square = np.float32(1 - BETA1), np.float32(1 - BETA2)
    epsilon = np.float32(EPSILON)
    for i in prange(len(rows_U)):
        row = rows_U[i]
        for d in range(gradient_UD.shape[1]):
            g = widen(gradient_UD[i, d])
            m = keep_mean * mean[row, d] + new_mean * g
            s = keep_square * square[row, d] + new_square * g * g
            mean[row, d], square[row, d] = m, s
            weight[row, d] -= rate * m / (np.sqrt(s) + epsilon)
