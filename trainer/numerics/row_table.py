"""Tables of which a training step uses a few rows: its time and memory follow the rows, not the table.

Shapes: n rows of a table, D dimensions, U distinct rows used by a batch.
"""

from __future__ import annotations

import numba
import numpy as np
import torch
from numba import njit, prange
from numpy.typing import NDArray
from torch import Tensor

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8

# A second OpenMP runtime beside torch's in one process is asking for trouble. This layer aborts when two threads enter
# parallel kernels at once: only `RowTable.step`, on the training thread, may run one.
numba.config.THREADING_LAYER = "workqueue"  # type: ignore[attr-defined]


class RowTable:
    """Parameters updated by Adam, row by row.

    `gather` hands rows out as a leaf tensor; once it has a gradient, `step` applies Adam to those rows only. The
    moments of a row stand still while it is not used, as in `torch.optim.SparseAdam`, but without its sort of every
    gradient.

    Args:
        weight: the table, float32 [n, D]; updated in place.
        rate_share: of the learning rate that its steps are told.
    """

    def __init__(self, weight: Tensor, rate_share: float = 1.0) -> None:
        self.weight, self._rate_share = weight, rate_share
        self._mean = torch.zeros_like(weight)
        self._square = torch.zeros_like(weight)
        self._steps = 0
        self._used: tuple[Tensor, Tensor] | None = None

    def gather(self, rows_U: Tensor | None) -> Tensor:
        """The distinct rows `rows_U`, or all, as a leaf [U, D] that wants a gradient; all rows are not copied."""
        if rows_U is None:
            rows_U = torch.arange(len(self.weight), device=self.weight.device)
            leaf = self.weight.detach().requires_grad_()
        else:
            leaf = self.weight[rows_U].requires_grad_()
        self._used = (rows_U, leaf)
        return leaf

    @property
    def gradient(self) -> Tensor:
        """Of the rows last gathered, [U, D] in one piece; changed in place, it changes what `step` does.

        Raises:
            RuntimeError: there are none with a gradient.
        """
        return self._last_used()[1]

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """One Adam step on the rows last gathered.

        Raises:
            RuntimeError: there are none with a gradient.
        """
        rows_U, gradient = self._last_used()
        self._used = None
        self._steps += 1
        rate = self._rate_share * learning_rate * (1 - _BETA2**self._steps) ** 0.5 / (1 - _BETA1**self._steps)
        if self.weight.device.type == "cpu":
            moments = self._mean.numpy(), self._square.numpy()
            _adam_rows(self.weight.numpy(), *moments, rows_U.numpy(), gradient.numpy(), np.float32(rate))
        else:
            self._step_on_device(rows_U, gradient, rate)

    def state(self) -> dict[str, Tensor]:
        """What `restore` needs to go on as if nothing had happened; views, not copies."""
        return {"weight": self.weight, "mean": self._mean, "square": self._square, "steps": torch.tensor(self._steps)}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` returned, on the device of this table."""
        for own, saved in ((self.weight, "weight"), (self._mean, "mean"), (self._square, "square")):
            own.copy_(state[saved])
        self._steps = int(state["steps"])

    def _last_used(self) -> tuple[Tensor, Tensor]:
        rows_U, leaf = self._used or (None, None)
        if rows_U is None or leaf is None or leaf.grad is None:
            raise RuntimeError("a step needs a gather() whose rows have a gradient")
        leaf.grad = leaf.grad.contiguous()
        return rows_U, leaf.grad

    def _step_on_device(self, rows_U: Tensor, gradient: Tensor, rate: float) -> None:
        mean = self._mean[rows_U].lerp_(gradient, 1 - _BETA1)
        square = self._square[rows_U].mul_(_BETA2).addcmul_(gradient, gradient, value=1 - _BETA2)
        self._mean[rows_U], self._square[rows_U] = mean, square
        self.weight.index_add_(0, rows_U, mean / square.sqrt_().add_(_EPSILON), alpha=-rate)


@njit(cache=True, parallel=True, fastmath=True)
def _adam_rows(
    weight: NDArray[np.float32],
    mean: NDArray[np.float32],
    square: NDArray[np.float32],
    rows_U: NDArray[np.int64],
    gradient_UD: NDArray[np.float32],
    rate: np.float32,
) -> None:
    """Adam in one pass over the rows: a third of the time of torch's operation by operation."""
    keep_mean, keep_square = np.float32(_BETA1), np.float32(_BETA2)
    new_mean, new_square = np.float32(1 - _BETA1), np.float32(1 - _BETA2)
    epsilon = np.float32(_EPSILON)
    for i in prange(len(rows_U)):
        row = rows_U[i]
        for d in range(gradient_UD.shape[1]):
            g = gradient_UD[i, d]
            m = keep_mean * mean[row, d] + new_mean * g
            s = keep_square * square[row, d] + new_square * g * g
            mean[row, d], square[row, d] = m, s
            weight[row, d] -= rate * m / (np.sqrt(s) + epsilon)
