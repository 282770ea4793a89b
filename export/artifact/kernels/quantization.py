"""Weights in 8 bits: a quarter of the memory, at a rounding error of at most 1/254 of a row's largest weight.

Shapes: L rows, D dimensions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.kernels.weight_rows import NO_SCALES, Weights, read_only

LARGEST = 127
"""The largest code. -128 is not used, so that codes are symmetric about 0."""
_CHUNK_ROWS = 65_536


def quantize_int8(weights_LD: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round each row to multiples of its own scale.

    Returns:
        Codes int8 [L, D] and scales float32 [L]: a weight is about its code times the scale of its row. The scale of a
        row of zeros is 0.

    Raises:
        ValueError: a weight is NaN or infinite.
    """
    codes_LD, scales_L = np.empty(weights_LD.shape, np.int8), np.empty(len(weights_LD), np.float32)
    for begin in range(0, len(weights_LD), _CHUNK_ROWS):  # a copy of all rows in float64 may not fit in memory
        rows = slice(begin, begin + _CHUNK_ROWS)
        codes_LD[rows], scales_L[rows] = _quantize(weights_LD[rows])
    return codes_LD, scales_L


def quantize_rows(rows_LD: NDArray[np.float32], *, int8: bool) -> tuple[Weights, NDArray[np.float32]]:
    """Return rows as an artifact holds them, read-only: in float32 without scales, or rounded by `quantize_int8`."""
    if not int8:
        return read_only(rows_LD), NO_SCALES
    codes_LD, scales_L = quantize_int8(rows_LD)
    return read_only(codes_LD), read_only(scales_L)


def _quantize(weights_LD: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    largest_L = np.abs(weights_LD).max(axis=1, initial=0)
    if not np.isfinite(largest_L).all():
        raise ValueError("the weights hold NaN or infinity, which int8 cannot; export with --weights float32")
    scales_L = (largest_L / LARGEST).astype(np.float32)
    # A row whose scale underflows becomes zeros.
    divisors_L = np.where(scales_L > 0, scales_L, np.inf).astype(np.float64)
    return np.clip(np.rint(weights_LD / divisors_L[:, None]), -LARGEST, LARGEST), scales_L
