"""Adam on some rows of a table as one Triton kernel: 7 passes over the rows' numbers, which are the least.

Triton comes with torch's builds for GPUs: this module is imported only where there is a GPU.

Shapes: n rows of a table, D dimensions, U distinct rows used by a step.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_TILE = 1024
_TILE_COLUMNS = 128


def step_fused(
    weight: Tensor,
    mean: Tensor,
    square: Tensor,
    rows_U: Tensor | None,
    gradient_UD: Tensor,
    rate: float,
    betas: tuple[float, float],
    epsilon: float,
) -> None:
    """Do the same as `astec.trainer.numerics.adam.step_rows` in one kernel. All tensors must be contiguous.

    Args:
        weight: the parameters, float32 [n, D].
        mean: the moving average of the gradient, like `weight`.
        square: the moving average of its square.
        rows_U: the distinct rows that the step changes; None: all, in their order.
        gradient_UD: their gradient.
        rate: the learning rate, which includes the correction of the moments' bias.
        betas: the shares of the old averages that are kept.
        epsilon: is added to the root of the averaged square.
    """
    num_rows, dim = gradient_UD.shape
    if not gradient_UD.numel():
        return
    columns = min(triton.next_power_of_2(dim), _TILE_COLUMNS)
    rows = _TILE // columns
    grid = (triton.cdiv(num_rows, rows), triton.cdiv(dim, columns))
    with torch.cuda.device_of(weight):  # type: ignore[no-untyped-call]  # Triton starts kernels on the current device
        _step[grid](
            weight,
            mean,
            square,
            weight if rows_U is None else rows_U,
            gradient_UD,
            num_rows,
            rate,
            DIM=dim,
            LISTED=rows_U is not None,
            KEEP_MEAN=betas[0],
            KEEP_SQUARE=betas[1],
            EPSILON=epsilon,
            ROWS=rows,
            COLUMNS=columns,
        )


@triton.jit(do_not_specialize=["num_rows"])
def _step(  # type: ignore[no-untyped-def]
    weight,
    mean,
    square,
    listed,
    gradient,
    num_rows,
    rate,
    DIM: tl.constexpr,
    LISTED: tl.constexpr,
    KEEP_MEAN: tl.constexpr,
    KEEP_SQUARE: tl.constexpr,
    EPSILON: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
) -> None:
    """Apply Adam to a tile of rows and columns. Row i of `gradient` is row `listed[i]` of the tables, or else row i.

    The width DIM is a constant: so the compiler knows how addresses are aligned, and reads 16 bytes at once.
    """
    position = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    is_row = position < num_rows
    row = tl.load(listed + position, mask=is_row, other=0) if LISTED else position
    inside = is_row[:, None] & (column < DIM)[None, :]
    own = row[:, None] * DIM + column[None, :]
    g = tl.load(gradient + position[:, None] * DIM + column[None, :], mask=inside, other=0.0)
    m = KEEP_MEAN * tl.load(mean + own, mask=inside, other=0.0) + (1 - KEEP_MEAN) * g
    s = KEEP_SQUARE * tl.load(square + own, mask=inside, other=0.0) + (1 - KEEP_SQUARE) * g * g
    w = tl.load(weight + own, mask=inside, other=0.0) - rate * m / (tl.sqrt(s) + EPSILON)
    tl.store(mean + own, m, mask=inside)
    tl.store(square + own, s, mask=inside)
    tl.store(weight + own, w, mask=inside)
