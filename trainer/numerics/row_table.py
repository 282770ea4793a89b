"""Parameter tables of which a training step changes a few rows, at a cost that depends on these rows alone.

Shapes: n rows of a table, D dimensions, U distinct rows used by a batch.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from astec.trainer.numerics.adam import step_rows


class RowTable:
    """A table of parameters that Adam updates row by row.

    `gather` returns rows as a leaf tensor; once that has a gradient, `step` applies Adam to these rows only. The
    moments of a row do not change while the row is not used, as in `torch.optim.SparseAdam`; that optimiser is slower,
    since it sorts every gradient. The moments take memory only from the first step on: a table that does not learn has
    none.

    Args:
        weight: the table, float32 [n, D], contiguous; updated in place.
        rate_share: factor on the learning rate that is passed to `step`.
    """

    def __init__(self, weight: Tensor, rate_share: float = 1.0) -> None:
        self.weight, self._rate_share = weight, rate_share
        self._moments: tuple[Tensor, Tensor] | None = None
        self._steps = 0
        self._used: tuple[Tensor | None, Tensor] | None = None

    def gather(self, rows_U: Tensor | None) -> Tensor:
        """Return the distinct rows `rows_U` as a leaf [U, D] that requires a gradient; None returns all, uncopied."""
        leaf = (self.weight.detach() if rows_U is None else self.weight.index_select(0, rows_U)).requires_grad_()
        self._used = (rows_U, leaf)
        return leaf

    @property
    def gradient(self) -> Tensor:
        """The gradient of the rows that were gathered last, contiguous [U, D]; `step` uses it with in-place changes.

        Raises:
            RuntimeError: no gathered rows have a gradient.
        """
        return self._last_used()[1]

    def step(self, learning_rate: float) -> None:
        """Apply one Adam step to the rows that were gathered last.

        Raises:
            RuntimeError: no gathered rows have a gradient.
        """
        rows_U, gradient = self._last_used()
        self._used = None
        self.begin_step(learning_rate)(rows_U, gradient)

    def begin_step(self, learning_rate: float) -> Callable[[Tensor | None, Tensor], None]:
        """Begin a step whose rows come in blocks.

        Returns:
            A function that applies the step to distinct rows, given these and their gradient as `step_rows` takes
            them; a row may be in one block only.
        """
        self._steps += 1
        rate, tables = self._rate_share * learning_rate, (self.weight, *self._mean_and_square())
        return lambda rows_U, gradient_UD: step_rows(*tables, rows_U, gradient_UD, rate, self._steps)

    def state(self) -> dict[str, Tensor]:
        """Return what `restore` needs to continue training unchanged; views, not copies."""
        mean, square = self._mean_and_square()
        return {"weight": self.weight, "mean": mean, "square": square, "steps": torch.tensor(self._steps)}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Copy what `state` returned into this table, on its device."""
        for own, saved in zip((self.weight, *self._mean_and_square()), ("weight", "mean", "square"), strict=True):
            own.copy_(state[saved])
        self._steps = int(state["steps"])

    def _mean_and_square(self) -> tuple[Tensor, Tensor]:
        if self._moments is None:
            self._moments = torch.zeros_like(self.weight), torch.zeros_like(self.weight)
        return self._moments

    def _last_used(self) -> tuple[Tensor | None, Tensor]:
        rows_U, leaf = self._used or (None, None)
        if leaf is None or leaf.grad is None:
            raise RuntimeError("a step needs a gather() whose rows have a gradient")
        leaf.grad = leaf.grad.contiguous()
        return rows_U, leaf.grad
