"""Bringing the mapped files of an artifact into memory, so that no query is the first to wait for a disk."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

# Linux 5.14 or later: read what is not in memory, and fill the page tables.
_MADV_POPULATE_READ = 22
_READ_BYTES = 1 << 20


def prefault(folder: Path) -> int:
    """Read every file of `folder` that this process has mapped, by whichever library; return the bytes mapped.

    A worker calls it after it has mapped everything, because page tables are its own even where pages are shared.

    Raises:
        OSError: a file cannot be read.
    """
    total = 0
    for begin, end, path in _mappings(folder.resolve()):
        _populate(begin, end - begin, path)
        total += end - begin
    return total


def _mappings(folder: Path) -> list[tuple[int, int, Path]]:
    """First and last address, and file, of each mapping of a file directly in `folder`."""
    found = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        addresses, *_, name = line.split(maxsplit=5)
        path = Path(name)
        if path.parent == folder:
            begin, _, end = addresses.partition("-")
            found.append((int(begin, 16), int(end, 16), path))
    return found


def _populate(begin: int, length: int, path: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.madvise(ctypes.c_void_p(begin), ctypes.c_size_t(length), _MADV_POPULATE_READ) == 0:
        return
    if (code := ctypes.get_errno()) != errno.EINVAL:
        raise OSError(code, os.strerror(code), str(path))
    # An older kernel. What is read stays in the page cache, and to map it from there takes no disk.
    with path.open("rb", buffering=0) as stream:
        while stream.read(_READ_BYTES):
            pass
