"""The hash function of the small hash tables of ids, which several kernels have."""

from __future__ import annotations

from numba import njit

_MULTIPLIER = 0x9E3779B1  # 2**32 divided by the golden ratio: spreads consecutive ids far apart


@njit(cache=True, nogil=True, inline="always")
def first_slot(key: int, mask: int) -> int:
    """Return the slot where the search for an id begins, in a table of `mask + 1` slots, a power of two."""
    return (key * _MULTIPLIER >> 15) & mask
