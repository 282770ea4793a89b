"""Arrays of numbers in numpy's .npy files, mapped; everything else that such a file can hold is refused.

numpy reads a header as a Python literal and takes its word for the size of what follows. What an artifact holds is of
one form, as `np.save` writes arrays of numbers of one axis or two, so that here only that form is understood.
"""

from __future__ import annotations

import re
import struct
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

_MAGIC = b"\x93NUMPY\x01\x00"
_LENGTH = struct.Struct("<H")
_header = re.compile(
    rb"\{'descr': '([<>|][a-zA-Z]\d{0,2})', 'fortran_order': (True|False), "
    rb"'shape': \((\d{1,19}),(?: (\d{1,19}))?\), \} *\n"
).fullmatch


def map_array(path: Path) -> NDArray[Any]:
    """Map the numbers in `path`, read-only and in the order of C; an empty array, which cannot be mapped, is made.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds no array of numbers of one axis or two, Python objects, numbers in the order of Fortran, or
            another number of bytes than its header says.
    """
    with path.open("rb") as stream:
        dtype, shape = _read_header(stream, path.name)
        begin = stream.tell()
    size, expected = path.stat().st_size, begin + dtype.itemsize * prod(shape)
    if size != expected:
        raise ValueError(f"{path.name} has {size} bytes, and its header says {expected}")
    if prod(shape):
        return np.asarray(np.memmap(path, dtype, "r", begin, shape))
    empty = np.empty(shape, dtype)
    empty.setflags(write=False)
    return empty


def _read_header(stream: IO[bytes], name: str) -> tuple[np.dtype[Any], tuple[int, ...]]:
    start = stream.read(len(_MAGIC) + _LENGTH.size)
    if len(start) != len(_MAGIC) + _LENGTH.size or not start.startswith(_MAGIC):
        raise ValueError(f"{name} is no array: it does not begin as files of np.save do")
    (length,) = _LENGTH.unpack(start[len(_MAGIC) :])
    found = _header(stream.read(length))
    if found is None:
        raise ValueError(f"{name} is no array of numbers of one axis or two: its header says something else")
    kind, fortran, *axes = found.groups()
    if kind[1:2] == b"O":
        raise ValueError(f"{name} holds Python objects, which are never loaded")
    if fortran == b"True":
        raise ValueError(f"{name} is in the order of Fortran, not of C")
    try:
        return np.dtype(kind.decode()), tuple(int(axis) for axis in axes if axis is not None)
    except TypeError as error:
        raise ValueError(f"{name} is no array of numbers: {error}") from error
