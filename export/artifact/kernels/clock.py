"""A clock for numba kernels, which time their stages themselves because Python does not run between them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, cast

from llvmlite import ir
from numba import types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic


def _lower(_typing: object) -> tuple[object, Callable[..., object]]:
    """Generate a call of `clock_gettime`, which writes two 64-bit integers: seconds and nanoseconds."""

    def generate(_context: object, builder: ir.IRBuilder, _signature: object, _arguments: Sequence[ir.Value]) -> object:
        word, number = ir.IntType(64), ir.DoubleType()
        pair = ir.LiteralStructType([word, word])
        place = builder.alloca(pair)
        kind = ir.FunctionType(ir.IntType(32), [ir.IntType(32), pair.as_pointer()])
        function: Any = get_or_insert_function(builder.module, kind, "clock_gettime")  # type: ignore[no-untyped-call, unused-ignore]
        builder.call(function, [ir.IntType(32)(time.CLOCK_MONOTONIC), place])
        now = builder.load(place)
        seconds = builder.sitofp(builder.extract_value(now, 0), number)
        nanoseconds = builder.sitofp(builder.extract_value(now, 1), number)
        return builder.fadd(seconds, builder.fmul(nanoseconds, number(1e-9)))

    return types.float64(), generate


# numba passes the first argument itself.
now_s = cast("Callable[[], float]", intrinsic(_lower))
"""Return the seconds of a monotonic clock, float64; for kernels only."""
