"""A file of arrays that is written block by block and read as a memory map.

The format is safetensors. Its own writer needs all arrays in memory; this one also writes arrays whose rows are split
over processes, of which the first, which writes, never holds more than a block.
"""

from __future__ import annotations

import json
import mmap
import os
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from astec.trainer.parallel.world import Arrays, SplitArrays, SplitRows

# Arrays begin at a multiple of this many bytes as far as their sizes allow, as arrays in memory do.
_ALIGNMENT = 64
_LENGTH_BYTES = 8
_NAMES = {
    np.dtype(kind): name
    for kind, name in [
        ("bool", "BOOL"), ("u1", "U8"), ("i1", "I8"), ("u2", "U16"), ("i2", "I16"), ("u4", "U32"), ("i4", "I32"),
        ("u8", "U64"), ("i8", "I64"), ("f2", "F16"), ("f4", "F32"), ("f8", "F64"),
    ]
}  # fmt: skip
_KINDS = {name: kind for kind, name in _NAMES.items()}


def write_arrays(path: Path, arrays: SplitArrays) -> None:
    """Write arrays to a file; a kill at any moment leaves the old file or the new one.

    Where there are split rows, the other processes call `send_rows` meanwhile.

    Raises:
        OSError: the disk is full.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as stream:
            stream.write(_header(arrays))
            for name in _order(arrays):
                _write(stream, arrays[name])
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def send_rows(arrays: SplitArrays) -> None:
    """Send this process's split rows to the first process, which is in `write_arrays` with arrays of the same names."""
    for name in _order(arrays):
        array = arrays[name]
        if isinstance(array, SplitRows):
            array.gather(lambda block: None)


def map_arrays(path: Path) -> Arrays:
    """Map a file that `write_arrays` wrote; changes to the arrays do not reach the file.

    Raises:
        OSError: the file cannot be read.
        SafetensorError: it is damaged.
    """
    with safe_open(path, "numpy"):  # checks the header and the size of the file
        pass
    with path.open("rb") as stream:
        mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
    begin = _LENGTH_BYTES + int.from_bytes(mapped[:_LENGTH_BYTES], "little")
    content = np.frombuffer(mapped, np.uint8)
    arrays = {}
    for name, entry in json.loads(mapped[_LENGTH_BYTES:begin]).items():
        if name != "__metadata__":
            first, last = (begin + offset for offset in entry["data_offsets"])
            arrays[name] = content[first:last].view(_KINDS[entry["dtype"]]).reshape(entry["shape"])
    return arrays


def _order(arrays: SplitArrays) -> list[str]:
    """Return the names in an order in which every array is aligned: by falling size of the elements."""
    return sorted(arrays, key=lambda name: (-_dtype(arrays[name]).itemsize, name))


def _header(arrays: SplitArrays) -> bytes:
    entries, end = {}, 0
    for name in _order(arrays):
        dtype, shape = _dtype(arrays[name]), arrays[name].shape
        begin, end = end, end + dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        entries[name] = {"dtype": _NAMES[dtype], "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(entries).encode()
    text += b" " * (-(len(text) + _LENGTH_BYTES) % _ALIGNMENT)
    return len(text).to_bytes(_LENGTH_BYTES, "little") + text


def _dtype(array: NDArray[Any] | SplitRows) -> np.dtype[Any]:
    return array.own[:0].cpu().numpy().dtype if isinstance(array, SplitRows) else np.asarray(array).dtype


def _write(stream: IO[bytes], array: NDArray[Any] | SplitRows) -> None:
    if isinstance(array, SplitRows):
        array.gather(lambda block: stream.write(block.numpy().data))
    else:
        stream.write(np.asarray(array, order="C").reshape(-1).view(np.uint8).data)
