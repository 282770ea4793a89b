"""The queries of a CSV file: one column, chosen by the names in the first row."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from astec.export.console import Advance
from astec.export.readers.columns.column_choice import choose_column
from astec.export.readers.errors import BadLineError, DataError
from astec.export.readers.lines import decode_line, read_lines
from astec.export.readers.read_options import AS_FOUND, ReadOptions


def is_csv(path: Path) -> bool:
    """Return whether the file is CSV, judged by its name: the lines of a CSV file look like any other text."""
    return path.name.lower().removesuffix(".gz").endswith(".csv")


@dataclass(frozen=True, slots=True)
class CsvColumn:
    """One column of a CSV file: the file's path and the column's position, counted from 0."""

    path: Path
    position: int

    @classmethod
    def open(cls, path: Path, column: str | None) -> CsvColumn:
        """Read the names of the columns and choose one with `choose_column`.

        Raises:
            DataError: there is no such column, or the file is empty or cannot be read.
        """
        names = next((row for _, row in csv_rows(path)), None)
        if names is None:
            raise DataError(path, None, "the file is empty", "Pass a CSV file whose first row has the names of columns")
        return cls(path, choose_column(path, names, column))

    def queries(self, advance: Advance) -> Iterator[str]:
        """Stream the texts of the column; rows without any field, which are empty lines, are left out.

        Raises:
            DataError: a row is not valid CSV, is not UTF-8 or ends before the column; names the first such row.
        """
        rows = csv_rows(self.path, advance)
        next(rows)
        for line, row in rows:
            if len(row) <= self.position:
                problem = f"the row has {len(row)} fields, and the query is field {self.position + 1}"
                raise DataError(self.path, line, problem, "Fix or remove the row")
            yield row[self.position].strip()


def csv_rows(
    path: Path, advance: Advance | None = None, options: ReadOptions = AS_FOUND
) -> Iterator[tuple[int, list[str]]]:
    """Yield every row that is not empty, after the number of the line on which it ends.

    Args:
        path: the file.
        advance: called with the number of bytes just read.
        options: the user's, of which the delimiter counts; by default it is a comma.

    Raises:
        DataError: a row is not valid CSV or not UTF-8; names the first such row.
    """
    # A line break inside quotes is part of its field, so the parser gets the lines with their line breaks.
    lines = (decode_line(line) + "\n" for line in read_lines(path, advance))
    reader = csv.reader(lines, strict=True, delimiter=options.delimiter or ",")
    try:
        for row in reader:
            if row:
                yield reader.line_num, row
    except csv.Error as error:
        remedy = "Quote fields with commas, quotes or line breaks, and double the quotes inside"
        raise DataError(path, reader.line_num, f"malformed CSV: {error}", remedy) from None
    except BadLineError as error:
        raise DataError(path, reader.line_num + 1, str(error), "Fix or remove the line") from None
