"""Detection of a file's format from its first lines, never from its name."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Final, Literal

from astec.export.readers.dataset import LinesFormat
from astec.export.readers.errors import DataError
from astec.export.readers.formats.fasttext import has_label
from astec.export.readers.formats.sparse_row import largest_ids, looks_like_row, parse_header
from astec.export.readers.lines import read_lines

_HEAD_LINES: Final = 20

QueriesFormat = LinesFormat | Literal["plain"]
_opens_object = re.compile(r'\s*\{\s*(?:"|\}|$)').match
_opens_array = re.compile(r"\s*\[\s*(?:\{|$)").match
_is_sparse_row = re.compile(r"\s*[\d.,+-]*(?:\s+\d+:[\d.eE+-]+)+\s*", re.ASCII).fullmatch
_has_pair = re.compile(r"(?:^|\s)\d+:\S", re.ASCII).search
_ROW_FORMATS: Final[tuple[LinesFormat, ...]] = ("xc-old", "xc-new", "jsonl", "fasttext", "tsv")


def detect_rows_format(path: Path, encoding: str | None = None) -> LinesFormat:
    """Detect the format of a file of queries with labels.

    Raises:
        DataError: the file is empty, cannot be read, or none of its first lines is in a known format.
    """
    lines = read_head(path, encoding)
    votes = _vote(lines)
    best = max(_ROW_FORMATS, key=lambda name: votes[name])
    if votes[best] == 0:
        _refuse_headless_rows(path, lines, encoding)
        problem = "none of its first lines holds labels in a known format"
        remedy = (
            "Write JSON Lines, text<TAB>label;label, fastText's __label__ lines, XC repository sparse rows, Parquet or "
            "CSV whose first row has the names of columns, such as text,labels"
        )
        raise DataError(path, None, problem, remedy)
    return best


def detect_queries_format(path: Path, encoding: str | None = None) -> QueriesFormat:
    """Detect the format of a file of queries, with labels or without; texts without labels are "plain".

    Raises:
        DataError: the file is empty or cannot be read.
    """
    lines = read_head(path, encoding)
    # A file of numbers may begin like a header, too: most of the rows below a header have features.
    if parse_header(lines[0]) and sum(_has_pair(line) is not None for line in lines[1:]) * 2 < len(lines[1:]):
        return "plain"
    name = _vote(lines).most_common(1)[0][0]
    if name == "plain" and all(_is_sparse_row(line) for line in lines):
        _refuse_headless_rows(path, lines, encoding)
    return name


def read_head(path: Path, encoding: str | None = None) -> list[str]:
    """Return the first lines that are not blank, at least one.

    Raises:
        DataError: the file is empty, cannot be read, or holds JSON that is not in lines.
    """
    lines = islice(filter(bytes.strip, read_lines(path, encoding=encoding)), _HEAD_LINES)
    head = [line.decode(errors="replace") for line in lines]
    if not head:
        raise DataError(path, None, "the file is empty", "Pass a file with one row per line")
    if _opens_array(head[0]):
        raise DataError(path, None, "is one JSON array, not JSON Lines", "Convert it: jq -c '.[]' FILE > NEW")
    if head[0].strip() == "{" and len(head) > 1 and not head[1].lstrip().startswith("{"):
        raise DataError(path, None, "holds JSON objects of several lines each", "Convert it: jq -c . FILE > NEW")
    return head


def _vote(lines: list[str]) -> Counter[QueriesFormat]:
    header, rows = parse_header(lines[0]), lines[1:]
    if header and any(map(_has_pair, rows)) and sum(map(looks_like_row, rows)) * 2 >= len(rows):
        return Counter({"xc-old" if len(header) == 3 else "xc-new": len(lines)})
    return Counter(map(_guess, lines))


def _guess(line: str) -> QueriesFormat:
    if _opens_object(line):
        return "jsonl"
    if has_label(line):
        return "fasttext"
    return "tsv" if "\t" in line else "plain"


def _refuse_headless_rows(path: Path, head: list[str], encoding: str | None) -> None:
    """Refuse sparse rows without a header, such as those of libsvm, with the header that is missing.

    Raises:
        DataError: the lines are such rows.
    """
    if not any(map(_has_pair, head)) or sum(_has_pair(line) is not None for line in head) * 2 < len(head):
        return
    num_rows, num_labels, num_features = 0, 0, 0
    for line in read_lines(path, encoding=encoding):
        largest = largest_ids(line.decode(errors="replace"))
        if largest is None:
            problem = f"looks like sparse rows, such as those of libsvm, but {_unreadable(line)}"
            remedy = 'Write rows "3,17 12:0.5 37:1.25" below a header "rows features labels" (whole numbers)'
            raise DataError(path, num_rows + 1, problem, remedy)
        num_rows += 1
        num_labels, num_features = max(num_labels, largest[0] + 1), max(num_features, largest[1] + 1)
    header, counts = "rows features labels", f"{num_rows} {num_features} {num_labels}"
    if not num_labels:  # half of a pair of files
        header, counts = "rows columns", f"{num_rows} {num_features}"
    problem = f'holds sparse rows without the header "{header}" above them'
    remedy = (
        f"Add it: (echo {counts}; cat {shlex.quote(str(path))}) > NEW, with larger numbers if other files of the data "
        f"have larger ids{'' if num_labels else '; the file of labels needs one, too'}"
    )
    raise DataError(path, None, problem, remedy)


def _unreadable(line: bytes) -> str:
    """Return what of a line like those of libsvm cannot be read."""
    if b"#" in line:
        return "has a comment, from # on"
    return "has a query id, qid:" if b"qid:" in line else "labels are not ids such as 3,17"
