"""Files that can be read from the start again and again: of what a pipe gives, a copy is made."""

from __future__ import annotations

import os
import re
import shutil
import stat
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import Final

from astec.export.readers.errors import DataError

STDIN: Final = Path("/dev/stdin")
_descriptor_of = re.compile(r"/(?:dev|proc/self)/fd/(\d+)").fullmatch
_NULL_DEVICE: Final = os.makedev(1, 3)


def named_input(path: Path) -> Path:
    """Return the path of an input: `/dev/stdin` for `-`, every other path as it is."""
    return STDIN if str(path) == "-" else path


def is_piped(path: Path) -> bool:
    """Return whether a path gives its bytes only once: a pipe or a socket, as `/dev/stdin` or `<(...)` often are."""
    try:
        mode = _status(path).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def stored(path: Path) -> Path:
    """Return a path whose content can be read again: `path` itself, or a copy of what a pipe gives.

    The copy is made once in the life of this process. It has no name in any folder, so it is gone with the process.

    Raises:
        DataError: the path is a terminal or another device.
        OSError: there is no such file, or no room for the copy.
    """
    status = _status(path)
    if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode) or status.st_rdev == _NULL_DEVICE:
        return path
    if not is_piped(path):
        what = "a terminal, into which nothing is piped" if _is_terminal(path) else "a device"
        raise DataError(path, None, f"is {what}", "Pass a file, or pipe its content: ... | COMMAND -")
    return Path(f"/proc/self/fd/{_copy(path, status.st_dev, status.st_ino)}")


def stored_bytes(path: Path) -> int:
    """Return the size of what `stored` returns; 0 if it cannot be opened, which reading it will say."""
    try:
        return stored(path).stat().st_size
    except OSError:
        return 0


@cache
def _copy(path: Path, device: int, inode: int) -> int:
    """Copy what the pipe with this device and inode gives; the arguments tell one pipe from every other.

    Returns:
        The descriptor of the copy, which stays open for the life of the process.
    """
    descriptor = _descriptor(path)
    with (
        TemporaryFile(prefix="astec-") as copy,
        path.open("rb") if descriptor is None else os.fdopen(os.dup(descriptor), "rb") as pipe,
    ):
        shutil.copyfileobj(pipe, copy, 1 << 20)
        copy.flush()
        return os.dup(copy.fileno())


def _status(path: Path) -> os.stat_result:
    descriptor = _descriptor(path)
    return path.stat() if descriptor is None else os.fstat(descriptor)


def _descriptor(path: Path) -> int | None:
    """Return the open file that the path names by its number; a socket cannot be opened by its path."""
    if path == STDIN:
        return 0
    match = _descriptor_of(str(path))
    return int(match[1]) if match else None


def _is_terminal(path: Path) -> bool:
    descriptor = _descriptor(path)
    return descriptor is not None and os.isatty(descriptor)
