"""A file with named columns: CSV, Parquet or JSON Lines. It yields the cells of the columns that are read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from astec.export.console import Advance
from astec.export.readers.columns.cells import NO_WEIGHT, Cells
from astec.export.readers.columns.csv_column import csv_rows
from astec.export.readers.columns.parquet_column import is_parquet, parquet_batches, parquet_schema
from astec.export.readers.columns.parquet_types import holds_labels, holds_text, holds_weights
from astec.export.readers.columns.table_columns import TableColumns
from astec.export.readers.dataset import BadLine
from astec.export.readers.errors import BadLineError, DataError
from astec.export.readers.formats.jsonl import parse_object
from astec.export.readers.lines import decode_line, read_lines
from astec.export.readers.notices import say_repeated_header
from astec.export.readers.read_options import ReadOptions

if TYPE_CHECKING:
    from pyarrow import DataType

TableFormat = Literal["csv", "parquet", "jsonl"]


class TableFile(ABC):
    """A file of rows with named columns.

    Attributes:
        format_name: its format.
        path: its path.
        names: the names of its columns.
    """

    format_name: ClassVar[TableFormat]

    def __init__(self, path: Path, names: list[str]) -> None:
        self.path = path
        self.names = names

    def check_types(self, columns: TableColumns) -> None:  # noqa: B027 - only Parquet has typed columns
        """Check that columns which have a type have one that can be read.

        Raises:
            DataError: one has not.
        """

    @abstractmethod
    def open_like(self, path: Path) -> TableFile:
        """Open another file of the same format, a further part of the data.

        Raises:
            DataError: it has another format, or is damaged.
        """

    @abstractmethod
    def cells(self, columns: TableColumns, advance: Advance) -> Iterator[Cells | BadLine]:
        """Yield the cells of every row.

        Raises:
            DataError: the file is damaged.
        """


class CsvTable(TableFile):
    """CSV, whose first row names the columns. A field is a string, or None where it is empty."""

    format_name = "csv"

    def __init__(self, path: Path, options: ReadOptions) -> None:
        self._options = options
        names = next((row for _, row in csv_rows(path, options=options)), None)
        if names is None:
            raise DataError(path, None, "the file is empty", "Pass a CSV file whose first row has the names of columns")
        super().__init__(path, [name.strip() for name in names])

    def open_like(self, path: Path) -> CsvTable:
        """Open another file with the same options."""
        return CsvTable(path, self._options)

    def cells(self, columns: TableColumns, advance: Advance) -> Iterator[Cells | BadLine]:
        """Yield the cells of every row; one with too few or too many fields is refused.

        A row that repeats the names, as files that were joined have it, is left out, and said.
        """
        rows = csv_rows(self.path, advance, self._options)
        _, names = next(rows)
        repeated = 0
        text, labels = self.names.index(columns.text), self.names.index(columns.labels)
        weight = None if columns.weight is None else self.names.index(columns.weight)
        num_fields = len(self.names)
        for line, row in rows:
            if row == names:
                repeated += 1
            elif len(row) != num_fields:
                count = f"{len(row)} field{'s' * (len(row) != 1)}"
                problem = f"the row has {count}, and the first row names {num_fields}"
                remedy = "quote fields that hold the delimiter, or name another with --delimiter"
                yield BadLine(self.path, line, f"{problem} ({remedy})")
            else:
                yield Cells(
                    line, row[text] or None, row[labels] or None, NO_WEIGHT if weight is None else row[weight] or None
                )
        if repeated:
            say_repeated_header(self.path, repeated)


class ParquetTable(TableFile):
    """Parquet; the number of a line is that of the row, from 1."""

    format_name = "parquet"

    def __init__(self, path: Path) -> None:
        self._schema = parquet_schema(path)
        super().__init__(path, list(self._schema.names))

    def open_like(self, path: Path) -> ParquetTable:
        """Open another file, which must be Parquet too."""
        if not is_parquet(path):
            raise DataError(path, None, "is no Parquet, as the other parts are", "Write all parts in one format")
        return ParquetTable(path)

    def check_types(self, columns: TableColumns) -> None:
        """Refuse columns of types that cannot be read, before the first row is."""
        self._check(columns.text, holds_text, "strings", "--text-column")
        expected = "strings or integers, nor lists of these, nor a map from strings to numbers"
        self._check(columns.labels, holds_labels, expected, "--label-column")
        if columns.weight is not None:
            self._check(columns.weight, holds_weights, "numbers or lists of numbers", "--weight-column")

    def cells(self, columns: TableColumns, advance: Advance) -> Iterator[Cells | BadLine]:
        """Yield the cells of every row."""
        import pyarrow.types

        is_map = pyarrow.types.is_map(self._schema.field(columns.labels).type)
        line = 0
        for batch in parquet_batches(self.path, advance, columns.names):
            text, labels = batch.column(columns.text).to_pylist(), batch.column(columns.labels).to_pylist()
            if is_map:
                labels = [None if pairs is None else dict(pairs) for pairs in labels]
            weights = [NO_WEIGHT] * len(text) if columns.weight is None else batch.column(columns.weight).to_pylist()
            for cells in zip(text, labels, weights, strict=True):
                line += 1
                yield Cells(line, *cells)

    def _check(self, name: str, holds: Callable[[DataType], bool], expected: str, option: str) -> None:
        found = self._schema.field(name).type
        if not holds(found):
            problem = f"column {name!r} holds {found}, not {expected}"
            raise DataError(self.path, None, problem, f"Pass another as {option}, or convert it")


class JsonTable(TableFile):
    """JSON Lines with keys of the user's choice; the keys of the first line are taken for the columns."""

    format_name = "jsonl"

    def __init__(self, path: Path, encoding: str | None = None) -> None:
        self._encoding = encoding
        first = next((line for line in read_lines(path, encoding=encoding) if line.strip()), b"{}")
        try:
            names = list(parse_object(decode_line(first)))
        except BadLineError as error:
            raise DataError(path, 1, str(error), "Fix the line, whose keys are taken for the columns") from None
        super().__init__(path, names)

    def open_like(self, path: Path) -> JsonTable:
        """Open another file of JSON Lines."""
        return JsonTable(path, self._encoding)

    def cells(self, columns: TableColumns, advance: Advance) -> Iterator[Cells | BadLine]:
        """Yield the cells of every object; one that lacks a key is refused."""
        for number, line in enumerate(read_lines(self.path, advance, self._encoding), 1):
            if line.strip():
                entry: Cells | BadLine
                try:
                    entry = self._cells(number, line, columns)
                except BadLineError as error:
                    entry = BadLine(self.path, number, str(error))
                yield entry

    def _cells(self, number: int, line: bytes, columns: TableColumns) -> Cells:
        record = parse_object(decode_line(line), _example(columns))
        for name in columns.names:
            if name not in record:
                raise BadLineError(f'"{name}" is missing')
        weight = NO_WEIGHT if columns.weight is None else record[columns.weight]
        return Cells(number, record[columns.text], record[columns.labels], weight)


def _example(columns: TableColumns) -> str:
    return f'{{"{columns.text}": ..., "{columns.labels}": ...}}'
