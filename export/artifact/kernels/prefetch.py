"""Asking memory for what a kernel will read next, which it gets while it computes on what it has.

What a query reads of weights lies anywhere in gigabytes, so that the processor cannot guess it. Of a million labels of
300 dimensions, 80 candidates were scored in 10 instead of 19 us.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic
from numpy.typing import NDArray

_CACHE_LINE_BYTES = 64


def _lower(_typing: object, address: types.Type) -> tuple[object, Callable[..., object]]:
    """LLVM's prefetch of the cache line at an address: to read, into all caches, of data."""

    def generate(_context: object, builder: ir.IRBuilder, _signature: object, arguments: Sequence[ir.Value]) -> object:
        pointer, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer, flag, flag, flag])
        name = "llvm.prefetch.p0"
        function: Any = get_or_insert_function(builder.module, kind, name)  # type: ignore[no-untyped-call, unused-ignore]
        return builder.call(function, [builder.inttoptr(arguments[0], pointer), flag(0), flag(3), flag(1)])

    return types.void(address), generate


# numba gives the first argument itself.
_prefetch_line = cast("Callable[[int], None]", intrinsic(_lower))


@njit(nogil=True, inline="always")
def prefetch(array: NDArray[Any], begin: int | np.uint64, end: int | np.uint64) -> None:
    """Ask for `array[begin:end]`, of a contiguous array of one axis or more, and do not wait."""
    start, stride = array.ctypes.data, array.strides[0]
    for address in range(start + begin * stride, start + end * stride, _CACHE_LINE_BYTES):
        _prefetch_line(address)
