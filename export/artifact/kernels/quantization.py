"""Weights in 8 bits: a quarter of the memory, for a rounding error of at most 1/254 of a row's largest weight.

Shapes: L rows, D dimensions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LARGEST = 127
"""Of the codes. -128 stays out, so that they are symmetric about 0."""
_CHUNK_ROWS = 65_536


def quantize_int8(weights_LD: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round each row to multiples of its own scale.

    Returns:
        Codes int8 [L, D] and scales float32 [L]: a weight is about its code times its row's scale, which is 0 for a row
        of zeros.

    Raises:
        ValueError: a weight is NaN or infinite.
    """
    codes_LD, scales_L = np.empty(weights_LD.shape, np.int8), np.empty(len(weights_LD), np.float32)
    for begin in range(0, len(weights_LD), _CHUNK_ROWS):  # a whole copy in float64 may not fit
        rows = slice(begin, begin + _CHUNK_ROWS)
        codes_LD[rows], scales_L[rows] = _quantize(weights_LD[rows])
    return codes_LD, scales_L


def _quantize(weights_LD: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    largest_L = np.abs(weights_LD).max(axis=1, initial=0)
    if not np.isfinite(largest_L).all():
        raise ValueError("the weights hold NaN or infinity, which int8 cannot; export them as float32")
    scales_L = (largest_L / LARGEST).astype(np.float32)
    # Of a row whose scale underflows nothing is left.
    divisors_L = np.where(scales_L > 0, scales_L, np.inf).astype(np.float64)
    return np.clip(np.rint(weights_LD / divisors_L[:, None]), -LARGEST, LARGEST), scales_L
