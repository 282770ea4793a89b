"""Atomic writes of files and folders (written under a temporary name, then renamed), and hashes of files."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import file_digest
from pathlib import Path
from typing import IO

_READABLE = 0o644


@contextmanager
def write_folder_atomically(target: Path) -> Iterator[Path]:
    """Yield a temporary folder, which is renamed to `target` after the block, or deleted if the block fails.

    Raises:
        FileExistsError: `target` exists already.
    """
    require_absent(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=_partial_prefix(target), dir=target.parent))
    try:
        yield partial
        _sync_folder(partial)
        partial.chmod(0o755)
        partial.rename(target)
        _sync_path(target.parent)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def remove_leftovers(target: Path) -> None:
    """Remove temporary folders of writers of `target` that were killed; nobody may be writing `target` now."""
    for leftover in target.parent.glob(f"{_partial_prefix(target)}*"):
        shutil.rmtree(leftover)


def require_absent(target: Path) -> None:
    """Raise FileExistsError if there is a file, a folder or a link at `target`."""
    if target.exists() or target.is_symlink():
        raise FileExistsError(f"{target} exists already; choose another path, or remove it first")


def write_file_atomically(target: Path, content: bytes) -> None:
    """Write `content` to a temporary file and rename it: a reader sees the old file or the whole new one."""
    with open_atomically(target) as stream:
        stream.write(content)


@contextmanager
def open_atomically(target: Path) -> Iterator[IO[bytes]]:
    """Yield a temporary file, which is renamed to `target` after the block, or deleted if the block fails."""
    descriptor, name = tempfile.mkstemp(prefix=_partial_prefix(target), dir=target.parent)
    partial = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        partial.chmod(0o644)
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def link_or_copy(source: Path, target: Path) -> None:
    """Make a hard link; copy the file where none can be made, as between file systems or for another user's file."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of the file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return file_digest(stream, "sha256").hexdigest()


def _partial_prefix(target: Path) -> str:
    return f".{target.name}.partial-"


def _sync_folder(folder: Path) -> None:
    """Make every file readable by all, and flush the folder to the disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            if stat.S_IMODE(path.stat().st_mode) != _READABLE:  # A linked file may have another owner.
                path.chmod(_READABLE)
            _sync_path(path)
    _sync_path(folder)


def _sync_path(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
