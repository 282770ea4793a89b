"""Folders whose files are the parts of one data set: `part-0.parquet`, also in folders such as `date=2026-01-01`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from astec.export.readers.errors import DataError
from astec.export.readers.streams.compression import plain_name

_FAMILIES: Final = {
    ".parquet": "Parquet",
    ".pq": "Parquet",
    ".csv": "CSV",
    ".tsv": "TSV",
    ".jsonl": "JSON Lines",
    ".ndjson": "JSON Lines",
    ".json": "JSON Lines",
}
_UNNAMED: Final = "no name of a format"
_is_part = re.compile(r"part-\d.*").fullmatch


def is_part(path: Path) -> bool:
    """Return whether a file has the name of a part: that of a format, or `part-` and a number, as Spark writes them."""
    return not _is_hidden(path) and (_family(path) != _UNNAMED or _is_part(path.name) is not None)


def holds_parts(folder: Path) -> bool:
    """Return whether there is a part in the folder, or in one of its folders such as `date=2026-01-01`."""
    return any(map(is_part, _visible_files(folder)))


def part_files(folder: Path) -> list[Path]:
    """Return the parts that a folder holds, by sorted path, without empty files.

    Files and folders whose names begin with `_` or `.`, such as `_SUCCESS`, are left out.

    Raises:
        DataError: there is no part, all are empty, they have several formats, or there are other files.
    """
    files = sorted(_visible_files(folder), key=lambda path: path.parts)
    parts = [path for path in files if is_part(path)]
    if not parts:
        remedy = "Pass a folder with files such as part-0.parquet, part-0.csv or part-0.jsonl.gz"
        raise DataError(folder, None, "holds no part of a data set", remedy)
    first = parts[0]
    for path in files:
        if path not in parts or _family(path) != _family(first):
            mixed = (
                f"{path.relative_to(folder)} ({_family(path)}) beside {first.relative_to(folder)} ({_family(first)})"
            )
            remedy = "Move files of other formats away, or begin their names with _"
            raise DataError(folder, None, f"the parts of a data set have one format, and here is {mixed}", remedy)
    filled = [path for path in parts if path.stat().st_size]
    if not filled:
        raise DataError(folder, None, f"all of its {len(parts)} parts are empty", "Pass a folder of parts with rows")
    return filled


def _visible_files(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if not _is_hidden(path):
            if path.is_dir():
                yield from _visible_files(path)
            else:
                yield path


def _is_hidden(path: Path) -> bool:
    return path.name.startswith(("_", "."))


def _family(path: Path) -> str:
    """Return the format that the end of a file's name stands for."""
    return _FAMILIES.get(Path(plain_name(path.name)).suffix.lower(), _UNNAMED)
