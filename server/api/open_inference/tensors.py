"""Tensors as bytes, by the binary tensor data extension of the Open Inference Protocol.

An element of a BYTES tensor is its length in 4 bytes, followed by so many bytes; elements of other datatypes have a
fixed size. All numbers are little-endian, and the order is row-major.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Datatype = Literal["BYTES", "INT32", "INT64", "FP32"]
Elements = Sequence[str] | Sequence[int] | Sequence[float] | NDArray[np.int64] | NDArray[np.float32]

_LENGTH_BYTES = 4
_NUMBERS = {"INT32": "<i4", "INT64": "<i8", "FP32": "<f4"}


def pack(datatype: Datatype, elements: Elements) -> bytes:
    """Return the elements of a tensor as bytes; texts in UTF-8."""
    if datatype != "BYTES":
        return np.array(elements, _NUMBERS[datatype]).tobytes()
    texts = [str(element).encode() for element in elements]
    return b"".join(part for text in texts for part in (len(text).to_bytes(_LENGTH_BYTES, "little"), text))


def unpack_texts(content: bytes, count: int) -> list[str]:
    """Return the texts of a BYTES tensor.

    Raises:
        ValueError: The tensor has another number of elements, or one is not UTF-8.
    """
    texts: list[str] = []
    begin = 0
    for position in range(count):
        text_begin = begin + _LENGTH_BYTES
        end = text_begin + int.from_bytes(content[begin:text_begin], "little")
        if text_begin > len(content) or end > len(content):
            raise ValueError(f"Element {position} ends after the {len(content)} bytes of the tensor")
        try:
            texts.append(content[text_begin:end].decode())
        except UnicodeDecodeError:
            raise ValueError(f"Element {position} is not UTF-8") from None  # The cause would quote the query.
        begin = end
    if begin < len(content):
        raise ValueError(f"The tensor has {len(content)} bytes, but its elements, {count} by the shape, end at {begin}")
    return texts


def unpack_int32(content: bytes, count: int) -> list[int]:
    """Return the numbers of an INT32 tensor.

    Raises:
        ValueError: The tensor has another number of elements.
    """
    dtype = np.dtype(_NUMBERS["INT32"])
    if len(content) != count * dtype.itemsize:
        raise ValueError(f"The tensor has {len(content)} bytes; its shape takes {count * dtype.itemsize}")
    numbers: list[int] = np.frombuffer(content, dtype).tolist()
    return numbers
