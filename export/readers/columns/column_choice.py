"""The choice of the column that holds the queries of a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from astec.export.readers.errors import DataError

USUAL_NAMES: Final = ("query", "text")


def choose_column(path: Path, names: Sequence[str], wanted: str | None) -> int:
    """Return the position of the column `wanted`; where it is None, of `query`, of `text` or of the only column.

    Raises:
        DataError: no column has the name `wanted`; or it is None, and none of several columns has a usual name.
    """
    shown = ", ".join(map(repr, names))
    if wanted is not None:
        if wanted not in names:
            raise DataError(path, None, f"no column {wanted!r} (columns: {shown})", "Pass one of them as --column")
        return names.index(wanted)
    plain = [name.strip().lower() for name in names]
    usual = next((plain.index(name) for name in USUAL_NAMES if name in plain), None)
    if usual is None and len(names) > 1:
        problem = f"none of the columns is called query or text (columns: {shown})"
        raise DataError(path, None, problem, "Pass the one that holds the queries as --column")
    return usual or 0
