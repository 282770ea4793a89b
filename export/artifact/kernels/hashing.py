"""Where small hash tables of ids start to look: the same in every kernel that has one."""

from __future__ import annotations

from numba import njit

_MULTIPLIER = 0x9E3779B1  # 2**32 over the golden ratio: ids that follow one another land far apart


@njit(cache=True, nogil=True, inline="always")
def first_slot(key: int, mask: int) -> int:
    """The slot of an id in a table of `mask + 1` slots, a power of two, unless it is taken."""
    return (key * _MULTIPLIER >> 15) & mask
