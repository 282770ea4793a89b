"""The queries of a tab-separated file whose first line names its columns, without quotes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from astec.export.console import Advance
from astec.export.readers.columns.column_choice import choose_column
from astec.export.readers.errors import BadLineError, DataError
from astec.export.readers.formats.header import find_header
from astec.export.readers.lines import decode_line, read_lines
from astec.export.readers.read_options import ReadOptions


@dataclass(frozen=True, slots=True)
class TsvColumn:
    """One column: the file's path, the number of columns, and the column's position, counted from 0."""

    path: Path
    num_columns: int
    position: int
    options: ReadOptions

    @classmethod
    def open(cls, path: Path, column: str | None, options: ReadOptions) -> TsvColumn:
        """Read the names of the columns and choose one: that of the texts of a header, or one with `choose_column`.

        Raises:
            DataError: there is no such column, or none can be chosen.
        """
        _, names = next(_rows(path, options))
        header = find_header(names) if column is None else None
        position = choose_column(path, names, column) if header is None else header.text
        return cls(path, len(names), position, options)

    def queries(self, advance: Advance) -> Iterator[str]:
        """Stream the texts of the column; empty lines are left out.

        Raises:
            DataError: a row has another number of fields than there are columns, or is not UTF-8.
        """
        rows = _rows(self.path, self.options, advance)
        next(rows)
        for line, row in rows:
            if len(row) != self.num_columns:
                problem = f"the row has {len(row)} fields, and the first line names {self.num_columns}"
                raise DataError(self.path, line, problem, "Fix or remove the row")
            yield row[self.position].strip()


def _rows(path: Path, options: ReadOptions, advance: Advance | None = None) -> Iterator[tuple[int, list[str]]]:
    """Yield the fields of every line that is not empty, after its number."""
    for number, line in enumerate(read_lines(path, advance, options.encoding), 1):
        if line.strip():
            try:
                yield number, decode_line(line).split("\t")
            except BadLineError as error:
                raise DataError(path, number, str(error), "Fix or remove the line") from None
