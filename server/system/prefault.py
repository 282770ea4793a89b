"""Loads the memory-mapped files of an artifact into memory, so that no query has to wait for a disk."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

# Needs Linux 5.14 or later. Reads the pages that are not in memory, and fills the page tables.
_MADV_POPULATE_READ = 22
_READ_BYTES = 1 << 20


def prefault(folder: Path) -> int:
    """Read every file in `folder` that this process has mapped, by any library; return the number of mapped bytes.

    A file is also one that a link in the folder leads to; a folder that is gone has none. Each worker calls it after it
    has mapped all files: workers share the pages, but each has page tables of its own.

    Raises:
        OSError: A file cannot be read.
    """
    total = 0
    files = {path.resolve() for path in folder.iterdir()} if folder.is_dir() else set()
    for begin, end, path in _mappings(files):
        _populate(begin, end - begin, path)
        total += end - begin
    return total


def _mappings(files: set[Path]) -> list[tuple[int, int, Path]]:
    """Return begin and end address, and file, of each mapping of one of the files."""
    found = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        addresses, *_, name = line.split(maxsplit=5)
        path = Path(name)
        if path in files:
            begin, _, end = addresses.partition("-")
            found.append((int(begin, 16), int(end, 16), path))
    return found


def _populate(begin: int, length: int, path: Path) -> None:
    """Bring a mapped range of addresses into memory."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.madvise(ctypes.c_void_p(begin), ctypes.c_size_t(length), _MADV_POPULATE_READ) == 0:
        return
    if (code := ctypes.get_errno()) != errno.EINVAL:
        raise OSError(code, os.strerror(code), str(path))
    # The kernel is older. Reading the file puts it into the page cache, from which it is mapped without disk access.
    with path.open("rb", buffering=0) as stream:
        while stream.read(_READ_BYTES):
            pass
