"""The texts that are asked."""

from __future__ import annotations

from pathlib import Path

from astec.export.readers.split_file import find_file
from astec.loadtest.generator.queries import read_pool
from astec.loadtest.scale.errors import ScaleError


def read_texts(place: Path) -> list[str]:
    """Return the distinct texts of a file, or of the test file of a folder.

    Raises:
        DataError: the file cannot be read.
        ScaleError: it holds no text.
    """
    try:
        pool = read_pool(find_file(place, "test") if place.is_dir() else place)
    except ValueError as error:
        raise ScaleError(str(error)) from error
    texts = [query for query in pool if isinstance(query, str)]
    if not texts:
        raise ScaleError(f"{place} holds feature ids or vectors. Give a file of texts")
    return texts
