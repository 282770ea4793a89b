"""Detection of a file's format from its first lines, never from its name."""

from __future__ import annotations

import re
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Final, Literal

from astec.export.readers.dataset import LinesFormat
from astec.export.readers.errors import DataError
from astec.export.readers.formats.fasttext import has_label
from astec.export.readers.formats.sparse_row import looks_like_row, parse_header
from astec.export.readers.lines import read_lines

_HEAD_LINES: Final = 20

QueriesFormat = LinesFormat | Literal["plain"]
_opens_object = re.compile(r'\s*\{\s*(?:"|\}|$)').match
_ROW_FORMATS: Final[tuple[LinesFormat, ...]] = ("xc-old", "xc-new", "jsonl", "fasttext", "tsv")


def detect_rows_format(path: Path) -> LinesFormat:
    """Detect the format of a file of queries with labels.

    Raises:
        DataError: the file is empty, cannot be read, or none of its first lines is in a known format.
    """
    votes = _vote(path)
    best = max(_ROW_FORMATS, key=lambda name: votes[name])
    if votes[best] == 0:
        problem = "none of its first lines holds labels in a known format"
        remedy = (
            "Write JSON Lines, text<TAB>label;label, fastText's __label__ lines, XC repository sparse rows, Parquet or "
            "CSV whose first row has the names of columns, such as text,labels"
        )
        raise DataError(path, None, problem, remedy)
    return best


def detect_queries_format(path: Path) -> QueriesFormat:
    """Detect the format of a file of queries, with labels or without; texts without labels are "plain".

    Raises:
        DataError: the file is empty or cannot be read.
    """
    return _vote(path).most_common(1)[0][0]


def _vote(path: Path) -> Counter[QueriesFormat]:
    lines = [line.decode(errors="replace") for line in islice(filter(bytes.strip, read_lines(path)), _HEAD_LINES)]
    if not lines:
        raise DataError(path, None, "the file is empty", "Pass a file with one row per line")
    header, rows = parse_header(lines[0]), lines[1:]
    if header and rows and sum(map(looks_like_row, rows)) * 2 >= len(rows):
        return Counter({"xc-old" if len(header) == 3 else "xc-new": len(lines)})
    return Counter(map(_guess, lines))


def _guess(line: str) -> QueriesFormat:
    if _opens_object(line):
        return "jsonl"
    if has_label(line):
        return "fasttext"
    return "tsv" if "\t" in line else "plain"
