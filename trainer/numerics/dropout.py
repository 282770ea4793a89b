"""Dropout on the CPU from 16 random bits a number: torch draws a number of its own for each, ten times as slowly.

Shapes: B texts, D dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor

_LEVELS = 1 << 16


def dropout_mask(num_rows: int, dim: int, share: float) -> Tensor:
    """Return a factor for each number, float32 [B, D]: 0 for the share that is dropped, else what makes up for it.

    The random numbers are those of torch's default generator.
    """
    dropped = round(share * _LEVELS)
    size = num_rows * dim
    words = torch.empty(-(-size // 4), dtype=torch.int64).random_(-(1 << 63), None)
    is_kept = words.view(torch.int16)[:size] >= dropped - _LEVELS // 2
    return is_kept.view(num_rows, dim) * (_LEVELS / max(_LEVELS - dropped, 1))
