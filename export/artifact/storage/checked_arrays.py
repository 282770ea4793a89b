"""Memory-mapped arrays of an artifact, opened with the checks that make them safe to use. Errors name the file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.storage.array_file import map_array

_CHUNK_BYTES = 1 << 20  # small enough to stay in the processor's cache while it is read twice


def require(condition: bool, problem: str) -> None:
    """Raise ValueError with the problem unless the condition holds."""
    if not condition:
        raise ValueError(problem)


def open_array(folder: Path, name: str, dtype: type[np.generic], shape: tuple[int, ...]) -> NDArray[Any]:
    """Map an array of a known type and shape.

    Raises:
        ValueError: the file holds something else.
    """
    array = map_array(folder / name)
    require(array.dtype == dtype, f"{name} is {array.dtype}, not {np.dtype(dtype)}")
    require(array.shape == shape, f"{name} has shape {array.shape}, not {shape}")
    return array


def open_finite(folder: Path, name: str, count: int) -> NDArray[np.float32]:
    """Map float32 [count], read it whole and raise ValueError if it holds NaN or infinity."""
    array = open_array(folder, name, np.float32, (count,))
    require(is_finite(array), f"{name} holds NaN or infinity")
    return array


def open_bounds(folder: Path, name: str, count: int) -> NDArray[np.int64]:
    """Map the bounds of `count` ranges, int64 [count + 1], and raise ValueError unless they ascend from 0."""
    bounds = open_array(folder, name, np.int64, (count + 1,))
    # Compare, do not subtract: the difference of two 64-bit numbers may overflow.
    require(int(bounds[0]) == 0 and not np.any(bounds[1:] < bounds[:-1]), f"{name} does not ascend from 0")
    return bounds


def open_label_ids(folder: Path, name: str, count: int, num_labels: int) -> NDArray[np.int32]:
    """Map label ids, int32 [count], and raise ValueError unless all lie between 0 and `num_labels` - 1."""
    ids = open_array(folder, name, np.int32, (count,))
    require_ids(name, ids, "label", num_labels)
    return ids


def require_ids(name: str, ids: NDArray[Any], kind: str, count: int, least: int = 0) -> None:
    """Raise ValueError unless all ids lie between `least` and `count` - 1; `kind` names what they identify."""
    if len(ids):
        lowest, highest = int(ids.min()), int(ids.max())
        require(least <= lowest and highest < count, f"{name}: {kind} ids {lowest}..{highest} of {count} {kind}s")


def require_finite(arrays: Mapping[str, NDArray[np.float32]]) -> None:
    """Read arrays, given by file name, on all CPUs and raise ValueError if one holds NaN or infinity."""
    with ThreadPoolExecutor() as pool:
        for name, finite in zip(arrays, pool.map(is_finite, arrays.values()), strict=True):
            require(finite, f"{name} holds NaN or infinity")


def is_finite(array: NDArray[Any]) -> bool:
    """Return False if the array holds NaN or infinity; it is read in chunks."""
    return all(np.isfinite(extremes).all() for extremes in _extremes(array))


def is_within(array: NDArray[Any], least: float, most: float) -> bool:
    """Return False if the array holds NaN or a number outside of [least, most]; it is read in chunks."""
    return all(least <= lowest and highest <= most for lowest, highest in _extremes(array))


def _extremes(array: NDArray[Any]) -> Iterator[tuple[float, float]]:
    """Yield the least and the largest number of each chunk, or NaN if one is NaN; finding them allocates nothing."""
    num_rows = 1 + _CHUNK_BYTES // max(1, array[:1].nbytes)
    for begin in range(0, len(array), num_rows):
        chunk = array[begin : begin + num_rows]
        yield chunk.min(), chunk.max()
