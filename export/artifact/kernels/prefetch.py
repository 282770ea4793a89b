"""Prefetching: memory fetches what a kernel will read next while the kernel computes.

The weights that a query reads are scattered over gigabytes, so that the processor cannot predict them. With a million
labels of 300 dimensions, 80 candidates were scored in 10 instead of 19 us.
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
    """Generate LLVM's prefetch of the cache line at an address: for reading, into all caches, from the data cache."""

    def generate(_context: object, builder: ir.IRBuilder, _signature: object, arguments: Sequence[ir.Value]) -> object:
        pointer, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer, flag, flag, flag])
        name = "llvm.prefetch.p0"
        function: Any = get_or_insert_function(builder.module, kind, name)  # type: ignore[no-untyped-call, unused-ignore]
        return builder.call(function, [builder.inttoptr(arguments[0], pointer), flag(0), flag(3), flag(1)])

    return types.void(address), generate


# numba passes the first argument itself.
_prefetch_line = cast("Callable[[int], None]", intrinsic(_lower))


@njit(nogil=True, inline="always")
def prefetch(array: NDArray[Any], begin: int | np.uint64, end: int | np.uint64) -> None:
    """Prefetch `array[begin:end]` of a contiguous array of one axis or more; does not wait for memory."""
    start, stride = array.ctypes.data, array.strides[0]
    for address in range(start + begin * stride, start + end * stride, _CACHE_LINE_BYTES):
        _prefetch_line(address)
