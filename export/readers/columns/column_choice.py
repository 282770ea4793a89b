"""The choice of the column that holds the queries of a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from astec.export.readers.errors import DataError
from astec.export.readers.notices import say

USUAL_NAMES: Final = ("query", "text")


class ColumnError(ValueError):
    """A column that cannot be chosen.

    Attributes:
        problem: what is wrong, without a full stop; the message is the same.
        is_named: True if the column was asked for by a name that no column has.
    """

    def __init__(self, problem: str, *, is_named: bool) -> None:
        self.problem, self.is_named = problem, is_named
        super().__init__(problem)


def find_column(names: Sequence[str], wanted: str | None) -> int:
    """Return the position of the column `wanted`; where it is None, of `query`, of `text` or of the only column.

    Raises:
        ColumnError: no column has the name `wanted`; or it is None, and none of several columns has a usual name.
    """
    shown = ", ".join(map(repr, names))
    if wanted is not None:
        if wanted not in names:
            raise ColumnError(f"no column {wanted!r} (columns: {shown})", is_named=True)
        return names.index(wanted)
    plain = [name.strip().lower() for name in names]
    usual = next((plain.index(name) for name in USUAL_NAMES if name in plain), None)
    if usual is None and len(names) != 1:
        raise ColumnError(f"none of the columns is called query or text (columns: {shown})", is_named=False)
    return usual or 0


def choose_column(path: Path, names: Sequence[str], wanted: str | None) -> int:
    """Return what `find_column` does for the columns of a file; an only column of no usual name is said.

    Raises:
        DataError: there is no such column.
    """
    try:
        position = find_column(names, wanted)
    except ColumnError as error:
        one = "one of them" if error.is_named else "the one that holds the queries"
        raise DataError(path, None, error.problem, f"Pass {one} as --column") from None
    if wanted is None and names[position].strip().lower() not in USUAL_NAMES:
        say(path, f"{names[position]!r} is taken as the name of the only column")
    return position
