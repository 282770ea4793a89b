"""The files of dense weights: `STEM.npy` holds the rows, and `STEM.scales.npy` their scales where they are in int8."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.kernels.weight_rows import NO_SCALES, Weights
from astec.export.artifact.storage.checked_arrays import open_array, open_finite


def rows_file(stem: str) -> str:
    """Return the name of the file of the rows."""
    return f"{stem}.npy"


def scales_file(stem: str) -> str:
    """Return the name of the file of the scales."""
    return f"{stem}.scales.npy"


def save_weights(folder: Path, stem: str, rows_RD: Weights, scales_R: NDArray[np.float32]) -> None:
    """Write rows [R, D] in float32, or in int8 with scales float32 [R]."""
    np.save(folder / rows_file(stem), rows_RD)
    if rows_RD.dtype == np.int8:
        np.save(folder / scales_file(stem), scales_R)


def open_weights(folder: Path, stem: str, shape: tuple[int, int], *, int8: bool) -> tuple[Weights, NDArray[np.float32]]:
    """Map rows of shape [R, D] and their scales, float32 [R] for int8, else [0].

    Raises:
        ValueError: a file has another type or shape, or a scale is NaN or infinite. The rows are not read.
    """
    if not int8:
        return open_array(folder, rows_file(stem), np.float32, shape), NO_SCALES
    return open_array(folder, rows_file(stem), np.int8, shape), open_finite(folder, scales_file(stem), shape[0])
