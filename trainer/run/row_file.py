"""A file of fixed-size rows that is written block by block and read as a memory map.

Arrays that grow with the number of texts times the number of negatives need not fit into memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray


def write_rows(path: Path, shape: tuple[int, int], blocks: Iterable[NDArray[np.int32]]) -> None:
    """Write the rows of an int32 array of this shape as an npy file; a kill at any moment leaves no half-written file.

    Args:
        path: of the file.
        shape: number of rows and row length.
        blocks: the rows, in order.

    Raises:
        OSError: the disk is full.
        ValueError: the blocks are not of this shape together.
    """
    partial = path.with_name(f".{path.name}.partial")
    written = 0
    try:
        with partial.open("wb") as stream:
            header = {"descr": "<i4", "fortran_order": False, "shape": shape}
            npy_format.write_array_header_1_0(stream, header)
            for block in blocks:
                stream.write(np.ascontiguousarray(block, "<i4").data)
                written += len(block)
            stream.flush()
            os.fsync(stream.fileno())
        if written != shape[0]:
            raise ValueError(f"{written} rows came for {path.name}, which should have {shape[0]}")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def open_rows(path: Path) -> NDArray[np.int32]:
    """Map a file that `write_rows` wrote; changes to the array do not reach the file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged.
    """
    rows: NDArray[np.int32] = np.load(path, mmap_mode="c")
    return rows
