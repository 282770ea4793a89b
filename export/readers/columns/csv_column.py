"""The queries of a CSV file: one column, chosen by the names in the first row."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from astec.export.console import Advance
from astec.export.readers.columns.column_choice import choose_column
from astec.export.readers.columns.dialect import find_dialect
from astec.export.readers.errors import BadLineError, DataError
from astec.export.readers.lines import decode_line, read_lines
from astec.export.readers.read_options import AS_FOUND, ReadOptions
from astec.export.readers.streams.compression import plain_name

_HEAD_LINES: Final = 20
_TAB: Final = "\t"


def is_csv(path: Path) -> bool:
    """Return whether the file is CSV, judged by its name: the lines of a CSV file look like any other text."""
    return plain_name(path.name).lower().endswith(".csv")


@dataclass(frozen=True, slots=True)
class CsvColumn:
    """One column of a CSV file: the file's path, the number of columns, and the column's position, counted from 0."""

    path: Path
    num_columns: int
    position: int
    options: ReadOptions

    @classmethod
    def open(cls, path: Path, column: str | None, options: ReadOptions = AS_FOUND) -> CsvColumn:
        """Read the names of the columns and choose one with `choose_column`.

        Raises:
            DataError: there is no such column, or none can be chosen, or the file is empty or cannot be read.
        """
        names = next((row for _, row in csv_rows(path, options=options)), None)
        if names is None:
            raise DataError(path, None, "the file is empty", "Pass a CSV file whose first row has the names of columns")
        return cls(path, len(names), choose_column(path, names, column), options)

    def queries(self, advance: Advance) -> Iterator[str]:
        """Stream the texts of the column; rows without any field, which are empty lines, are left out.

        Raises:
            DataError: a row is not valid CSV, is not UTF-8, ends before the column, has more fields than there are
                columns, or fewer that tabs separate; names the first such row.
        """
        rows = csv_rows(self.path, advance, self.options)
        next(rows)
        for line, row in rows:
            if len(row) <= self.position:
                problem = f"the row has {len(row)} fields, and the query is field {self.position + 1}"
                raise DataError(self.path, line, problem, "Fix or remove the row")
            if len(row) > self.num_columns and any(row[self.num_columns :]):  # Which field is cut in two is unknown.
                problem = f"the row has {len(row)} fields, and the first row names {self.num_columns}"
                raise DataError(self.path, line, problem, "Quote fields that hold the delimiter, or pass --delimiter")
            if len(row) < self.num_columns and _TAB in row[self.position]:  # Other columns are part of the text.
                problem = f"the row has tabs and {len(row)} of the {self.num_columns} fields that the first row names"
                raise DataError(self.path, line, problem, "Separate all rows in the same way, or pass --delimiter")
            yield row[self.position].strip()


def csv_rows(
    path: Path, advance: Advance | None = None, options: ReadOptions = AS_FOUND
) -> Iterator[tuple[int, list[str]]]:
    """Yield every row that is not empty, after the number of the line on which it ends.

    Args:
        path: the file.
        advance: called with the number of bytes just read.
        options: the user's, of which the delimiter and the encoding count; by default both are found in the file.

    Raises:
        DataError: a row is not valid CSV or not UTF-8; names the first such row. Or it is unclear what separates
            columns.
    """
    head = [line.decode(errors="replace") for line in islice(read_lines(path, encoding=options.encoding), _HEAD_LINES)]
    dialect = find_dialect(path, head, options.delimiter)
    # A line break inside quotes is part of its field, so the parser gets the lines with their line breaks.
    lines = (decode_line(line) + "\n" for line in read_lines(path, advance, options.encoding))
    reader = csv.reader(lines, delimiter=dialect.delimiter, strict=True)
    done = 0
    try:
        if dialect.has_sep_line:
            next(reader)
        for row in reader:
            done = reader.line_num
            if row:
                yield done, row
    except csv.Error as error:
        remedy = "Quote fields with delimiters, quotes or line breaks, and double the quotes inside"
        goes_on = f" in the row that goes on to line {reader.line_num}" if reader.line_num > done + 1 else ""
        raise DataError(path, done + 1, f"malformed CSV: {error}{goes_on}", remedy) from None
    except BadLineError as error:
        raise DataError(path, reader.line_num + 1, str(error), "Fix or remove the line") from None
