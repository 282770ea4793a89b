"""Memory-mapped arrays of numbers in .npy files; anything else that a .npy file can hold is refused.

numpy evaluates a header as a Python literal and trusts the size that it states. The arrays of an artifact have one or
two axes and are written by `np.save`, so that this reader accepts only headers of that form.
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
    """Map the array in `path`, read-only and in C order; an empty array, which cannot be mapped, is created.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file does not hold an array of numbers of one or two axes, holds Python objects or an array in
            Fortran order, or has another number of bytes than its header says.
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


def map_bytes(path: Path) -> NDArray[np.uint8]:
    """Map all bytes of a file, read-only; an empty file, which cannot be mapped, gives an empty array.

    Raises:
        OSError: the file cannot be read.
    """
    if path.stat().st_size:
        return np.asarray(np.memmap(path, np.uint8, "r"))
    empty = np.empty(0, np.uint8)
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
