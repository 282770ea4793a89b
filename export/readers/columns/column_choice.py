"""The choice of the column that holds the queries of a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from astec.export.readers.errors import DataError

_USUAL_NAMES: Final = ("query", "text")


def choose_column(path: Path, names: Sequence[str], wanted: str | None) -> int:
    """Return the position of the column `wanted`; where it is None, of `query`, of `text` or of the first column.

    Raises:
        DataError: no column has the name `wanted`.
    """
    if wanted is None:
        return next((names.index(usual) for usual in _USUAL_NAMES if usual in names), 0)
    if wanted not in names:
        problem = f"no column {wanted!r} (columns: {', '.join(map(repr, names))})"
        raise DataError(path, None, problem, "Pass one of them as --column")
    return names.index(wanted)
