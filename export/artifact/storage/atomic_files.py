"""Writing and checking the files of a folder: aside first then renamed, hashed before they are trusted."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import file_digest
from pathlib import Path
from typing import IO


@contextmanager
def write_folder_atomically(target: Path) -> Iterator[Path]:
    """A temporary folder beside `target` that takes its name when the block ends well and vanishes when it does not.

    Raises:
        FileExistsError: `target` exists already.
    """
    require_absent(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{target.name}.partial-", dir=target.parent))
    try:
        yield partial
        _sync_folder(partial)
        partial.chmod(0o755)
        partial.rename(target)
        _sync_path(target.parent)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def require_absent(target: Path) -> None:
    """Raises FileExistsError where there is something at `target`."""
    if target.exists() or target.is_symlink():
        raise FileExistsError(f"{target} exists already; choose another path, or remove it first")


def write_file_atomically(target: Path, content: bytes) -> None:
    """Write `content` aside, then rename: a reader sees the old file or the new one, whole."""
    with open_atomically(target) as stream:
        stream.write(content)


@contextmanager
def open_atomically(target: Path) -> Iterator[IO[bytes]]:
    """A new file that takes the name `target` when the block ends well and vanishes when it does not."""
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.partial-", dir=target.parent)
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


def sha256_of(path: Path) -> str:
    """SHA-256 of the file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return file_digest(stream, "sha256").hexdigest()


def _sync_folder(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(0o644)
            _sync_path(path)
    _sync_path(folder)


def _sync_path(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
