"""The size of an artifact or a model on disk."""

from __future__ import annotations

from pathlib import Path


def disk_size_bytes(path: Path) -> int:
    """Return the size of a file, or of all files below a folder."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)
