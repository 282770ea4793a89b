"""How fast a machine is, by yardsticks that do not change with this project, to compare pages from two machines.

Shapes: B vectors, R rows, D dimensions, C cache lines.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import thread_time
from typing import Final, TypeVar

import numpy as np
from llvmlite.binding import get_host_cpu_features
from numba import njit
from numpy.typing import NDArray

import astec.export  # noqa: F401  (finds a folder for compiled kernels, before any is made here)

_ARRAY_BYTES: Final = 256 << 20
"""More than the caches of most processors, so that nearly every step waits for the memory."""
_LINE_BYTES: Final = 64
_STEPS: Final = 1 << 20
_SHAPE_BRD: Final = (64, 256, 512)
"""The matrices of a product fit into a core's own cache, so that its arithmetic is measured, not the memory."""
_REPEATS: Final = 5
_INSTRUCTIONS: Final = {
    "avx512vnni": "AVX-512 VNNI",
    "avx512bf16": "AVX-512 BF16",
    "avx512f": "AVX-512",
    "amx-int8": "AMX int8",
    "avxvnni": "AVX VNNI",
    "avx2": "AVX2",
    "dotprod": "NEON dot product",
    "i8mm": "NEON int8 matrices",
    "sve": "SVE",
    "neon": "NEON",
}
"""Names of the vector instructions that matter to the kernels, by LLVM's names; the most telling first."""

Number = TypeVar("Number", np.float32, np.int8)


@dataclass(frozen=True, slots=True)
class MachineSpeed:
    """The yardsticks of a machine.

    Attributes:
        instructions: the vector instructions that kernels are compiled for here.
        memory_ns: nanoseconds of a read from memory whose address the read before it gives.
        float32_gflops: billions of operations a second in a fixed product of float32 matrices, on one thread.
        int8_gops: the same of int8 matrices with sums in int32.
        echo_per_s: answers a second of one process that answers a constant; None where that was not measured.
    """

    instructions: list[str]
    memory_ns: float
    float32_gflops: float
    int8_gops: float
    echo_per_s: float | None = None

    def describe(self) -> str:
        """Return the yardsticks as an item of a Markdown list, a line with its end."""
        batch, rows, dim = _SHAPE_BRD
        product = f"[{batch}, {dim}] x [{dim}, {rows}]"
        echo = "" if self.echo_per_s is None else f"echo {self.echo_per_s:,.0f} answers/s (one process, 400 bytes); "
        return (
            f"- speed: {', '.join(self.instructions) or 'no vector instructions known here'}; {echo}"
            f"a read from memory {self.memory_ns:.0f} ns; "
            f"a product {product} on one thread: float32 {self.float32_gflops:.1f} GFLOP/s, "
            f"int8 {self.int8_gops:.1f} GOP/s\n"
        )


def measure_speed() -> MachineSpeed:
    """Measure this machine, in about two seconds; each yardstick is the best of several repeats."""
    return MachineSpeed(
        instructions=vector_instructions(),
        memory_ns=_memory_ns(),
        float32_gflops=_giga_operations_per_s(np.float32, multiply_float32),
        int8_gops=_giga_operations_per_s(np.int8, multiply_int8),
    )


def vector_instructions() -> list[str]:
    """Return the vector instructions that numba compiles kernels for on this machine, the most telling first."""
    features = get_host_cpu_features()  # type: ignore[no-untyped-call, unused-ignore]
    return [name for feature, name in _INSTRUCTIONS.items() if features.get(feature)]


def _memory_ns() -> float:
    """Follow a chain through all lines of an array in random order, so that no read can be foreseen."""
    num_lines, line = _ARRAY_BYTES // _LINE_BYTES, _LINE_BYTES // np.dtype(np.int32).itemsize
    order_C = np.random.default_rng(0).permutation(num_lines).astype(np.int32) * line
    next_place = np.zeros(num_lines * line, np.int32)
    next_place[order_C] = np.roll(order_C, -1)
    _follow(next_place, 1)  # compiled before the clock runs
    return 1e9 * _best_s(lambda: _follow(next_place, _STEPS)) / _STEPS


def _giga_operations_per_s(
    dtype: type[Number],
    multiply: Callable[[NDArray[Number], NDArray[Number]], object],
) -> float:
    batch, rows, dim = _SHAPE_BRD
    rng = np.random.default_rng(0)
    x_BD, weights_RD = (rng.integers(-127, 128, (count, dim)).astype(dtype) for count in (batch, rows))
    multiply(x_BD, weights_RD)
    return 2e-9 * batch * rows * dim / _best_s(lambda: multiply(x_BD, weights_RD))


def _best_s(work: Callable[[], object]) -> float:
    """Return the CPU seconds of the fastest repeat, in which other programs disturbed it least."""

    def once_s() -> float:
        begun_s = thread_time()
        work()
        return thread_time() - begun_s

    return min(once_s() for _ in range(_REPEATS))


@njit(cache=True)
def _follow(next_place: NDArray[np.int32], steps: int) -> int:
    """Return the place after a number of steps along the chain."""
    place = 0
    for _ in range(steps):
        place = next_place[place]
    return place


@njit(cache=True, fastmath=True)
def multiply_float32(x_BD: NDArray[np.float32], weights_RD: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return all dot products, float32 [B, R]."""
    products_BR = np.empty((x_BD.shape[0], weights_RD.shape[0]), np.float32)
    for b in range(x_BD.shape[0]):
        for r in range(weights_RD.shape[0]):
            total = np.float32(0.0)
            for d in range(x_BD.shape[1]):
                total += x_BD[b, d] * weights_RD[r, d]
            products_BR[b, r] = total
    return products_BR


@njit(cache=True)
def multiply_int8(x_BD: NDArray[np.int8], weights_RD: NDArray[np.int8]) -> NDArray[np.int32]:
    """Return all dot products, int32 [B, R]."""
    products_BR = np.empty((x_BD.shape[0], weights_RD.shape[0]), np.int32)
    for b in range(x_BD.shape[0]):
        for r in range(weights_RD.shape[0]):
            total = np.int32(0)
            for d in range(x_BD.shape[1]):
                total = np.int32(total + np.int32(x_BD[b, d]) * np.int32(weights_RD[r, d]))
            products_BR[b, r] = total
    return products_BR
