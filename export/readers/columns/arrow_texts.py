"""The texts of a column of an Arrow table."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # pyarrow is loaded only for Parquet files and Arrow tables.
    from pyarrow import Array, ChunkedArray


def to_texts(column: Array | ChunkedArray) -> list[str]:
    """Return the texts of a column of strings, without white space around them; a null is an empty text."""
    return ["" if text is None else text.strip() for text in column.to_pylist()]
