"""The first bytes of a file, by which some formats are told."""

from __future__ import annotations

from pathlib import Path

from astec.export.readers.streams.stored_file import stored


def begins_with(path: Path, magic: bytes) -> bool:
    """Return whether the file begins with these bytes; False for a file that cannot be opened."""
    try:
        with stored(path).open("rb") as stream:
            return stream.read(len(magic)) == magic
    except OSError:
        return False
