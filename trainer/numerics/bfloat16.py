"""bfloat16 numbers in numba kernels, which know no such type: the upper 16 bits of a float32, as uint16.

A kernel that reads by `widen` and writes by `narrow` works on float32 arrays, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numba import njit, types
from numba.extending import overload
from numpy.typing import NDArray
from torch import Tensor


def as_array(tensor: Tensor) -> NDArray[Any]:
    """Return the memory of a tensor on the CPU as an array: float32, or uint16 where the tensor is bfloat16."""
    if tensor.dtype != torch.bfloat16:
        return tensor.numpy()
    bits: NDArray[Any] = tensor.view(torch.int16).numpy().view(np.uint16)
    return bits


def widen(number: float) -> np.float32:
    """Return an element of an array of `as_array` as float32; in kernels only."""
    raise NotImplementedError


def narrow(number: np.float32, array: NDArray[Any]) -> Any:  # noqa: ANN401 - as the elements of `array`
    """Return a float32 as an element of an array of `as_array`, rounded to the nearest one; in kernels only."""
    raise NotImplementedError


@overload(widen, inline="always", strict=False)
def _widen(number: types.Type) -> Callable[..., Any]:
    if number == types.uint16:
        return lambda number: np.uint32(np.uint32(number) << np.uint32(16)).view(np.float32)
    return lambda number: number


@overload(narrow, inline="always", strict=False)
def _narrow(number: types.Type, array: types.Array) -> Callable[..., Any]:
    if array.dtype == types.uint16:
        return lambda number, array: _upper_bits(number)
    return lambda number, array: number


@njit(cache=True, inline="always")
def _upper_bits(number: np.float32) -> np.uint16:
    bits = np.float32(number).view(np.uint32)
    # Add half of the last bit that is kept, or just less: a number in the middle is rounded to the even one.
    return np.uint16((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16))
