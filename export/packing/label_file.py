"""Reading files of labels to add or to remove."""

from __future__ import annotations

from pathlib import Path

from astec.export.readers import open_queries


def read_labels(path: Path) -> list[str]:
    """Return the labels of a file, one text each, in its order; blank lines are skipped.

    Raises:
        DataError: the file is empty, cannot be opened, or has a bad line.
    """
    return [str(text) for text in open_queries(path) if text != ""]
