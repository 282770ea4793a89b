"""The parts of kernels that write answers: each writes into a buffer, and returns the position after what it wrote."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

_FEWEST_DECIMALS, _MOST_DECIMALS = 6, 17
_ZERO, _POINT = ord("0"), ord(".")


@njit(nogil=True, inline="always")
def put_byte(buffer: NDArray[np.uint8], at: int, byte: int) -> int:
    """Write a byte."""
    buffer[at] = byte
    return at + 1


@njit(nogil=True)
def put_bytes(buffer: NDArray[np.uint8], at: int, content: bytes) -> int:
    """Write several bytes."""
    for i in range(len(content)):
        buffer[at + i] = content[i]
    return at + len(content)


@njit(nogil=True)
def put_integer(buffer: NDArray[np.uint8], at: int, number: int, digits: int) -> int:
    """Write a number that is not negative, with at least so many digits."""
    power, width = 10, 1
    while width < digits or number >= power:
        power *= 10
        width += 1
    for i in range(at + width - 1, at - 1, -1):
        buffer[i] = _ZERO + number % 10
        number //= 10
    return at + width


@njit(nogil=True)
def put_score(buffer: NDArray[np.uint8], at: int, score: np.float32) -> int:
    """Write a number between 0 and 9 as `to_json` says; NaN and negative numbers are written as 0."""
    exact = np.float64(score) if score > 0 else 0.0
    power, decimals = 10**_FEWEST_DECIMALS, _FEWEST_DECIMALS
    scaled = np.int64(np.rint(exact * power))
    while np.float32(scaled / power) != score and decimals < _MOST_DECIMALS:
        power, decimals = 10 * power, decimals + 1
        scaled = np.int64(np.rint(exact * power))
    while decimals > 1 and scaled % 10 == 0:
        scaled, power, decimals = scaled // 10, power // 10, decimals - 1
    at = put_byte(buffer, put_integer(buffer, at, scaled // power, 1), _POINT)
    return put_integer(buffer, at, scaled % power, decimals)
