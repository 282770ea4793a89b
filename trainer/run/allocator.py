"""Settings of the C library's allocator: a training makes and frees large arrays, of which glibc keeps the memory.

It keeps freed blocks of up to 32 MiB between those still in use, where the arrays of the next stage seldom fit. The
functions here do nothing where the C library has no such functions.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache

_M_MMAP_THRESHOLD = -3  # of malloc.h
# Most arrays that a step makes anew stay below, so that they need not come from the system again.
_RETURNED_BYTES = 12 << 20


def use_huge_pages() -> None:
    """Let torch ask Linux for pages of 2 MiB, not 4 KiB, for arrays of 2 MiB and more; torch must not be loaded yet.

    The arrays of a step over tens of thousands of classes come from the system anew each time, and a fault for each of
    their small pages takes a third of the step. An environment that already says otherwise is left as it is.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def return_large_blocks() -> None:
    """From now on, give blocks of 12 MiB and more back to the system as soon as they are freed."""
    if (mallopt := _c_function("mallopt")) is not None:
        mallopt(_M_MMAP_THRESHOLD, _RETURNED_BYTES)


def return_freed_memory() -> None:
    """Give whatever has been freed so far back to the system."""
    if (trim := _c_function("malloc_trim")) is not None:
        trim(0)


@cache
def _c_function(name: str) -> ctypes._NamedFuncPointer | None:
    try:
        function: ctypes._NamedFuncPointer = getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError, TypeError):  # musl, macOS and Windows
        return None
    return function
