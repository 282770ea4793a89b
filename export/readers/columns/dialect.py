"""How the columns of a CSV file are separated, found in its first rows."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from astec.export.readers.errors import DataError

DELIMITERS: Final = (",", ";", "\t", "|")
_NAMES: Final = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_HEAD_ROWS: Final = 20


class Dialect(NamedTuple):
    """What separates the columns, and whether the file says so in its first line, as Excel does: `sep=;`."""

    delimiter: str
    has_sep_line: bool = False


def find_dialect(path: Path, lines: Sequence[str], named: str | None) -> Dialect:
    """Find what separates the columns of a CSV file.

    It is the delimiter with which the first rows have the same number of fields, and more than one. Where there is
    none, the one that the first row holds most often: rows with another number of fields are refused where they stand.

    Args:
        path: names the file in errors.
        lines: the first lines of the file.
        named: the delimiter that the user names, one character.

    Raises:
        DataError: several delimiters would do, or the one named is not one character.
    """
    if named is not None:
        return Dialect(_checked(path, named), _sep_line(lines) is not None)
    if (said := _sep_line(lines)) is not None:
        return Dialect(said, has_sep_line=True)
    widths = {delimiter: _widths(lines, delimiter) for delimiter in DELIMITERS}
    good = [delimiter for delimiter, found in widths.items() if found and found[0] > 1 and len(set(found)) == 1]
    if len(good) > 1:
        names = " and ".join(_NAMES[delimiter] for delimiter in good)
        remedy = f"Name it, for example --delimiter {good[0]!r}"
        raise DataError(path, None, f"the columns may be separated by {names}", remedy)
    if good:
        return Dialect(good[0])
    return Dialect(max(DELIMITERS, key=lambda delimiter: widths[delimiter][0] if widths[delimiter] else 0))


def looks_like_table(lines: Sequence[str], usual_names: Sequence[str]) -> bool:
    """Return whether the first line names columns, one of them a usual name of queries, and the rows are as wide.

    Where tabs separate the names, the rows may be of any width: texts hold no tabs.
    """
    for delimiter in DELIMITERS:
        widths = _widths(lines, delimiter)
        if len(widths) > 1 and widths[0] > 1 and (len(set(widths)) == 1 or delimiter == "\t"):
            names = [name.strip() for name in next(csv.reader(lines[:1], delimiter=delimiter))]
            if any(name in usual_names or name.lower() in usual_names for name in names):
                return True
    return False


def _checked(path: Path, named: str) -> str:
    delimiter = "\t" if named in ("\\t", "tab") else named
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise DataError(path, None, f"--delimiter {named!r} is not one character", "Pass one, or tab")
    return delimiter


def _sep_line(lines: Sequence[str]) -> str | None:
    first = lines[0].strip("\r\n ") if lines else ""
    return first[4] if len(first) == 5 and first.lower().startswith("sep=") else None


def _widths(lines: Sequence[str], delimiter: str) -> list[int]:
    """Count the fields of the first rows; the last of several is left out: it may go on after the lines."""
    rows = csv.reader((line + "\n" for line in lines), delimiter=delimiter)
    try:
        widths = [len(row) for row in rows if row]
    except csv.Error:  # a field of over 128 KiB
        return []
    return widths[:-1] if len(lines) >= _HEAD_ROWS else widths
