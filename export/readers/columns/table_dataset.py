"""The rows of a table, or of a table in parts, for training and evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from astec.export.console import Advance
from astec.export.readers.columns.cells import Cells, to_row
from astec.export.readers.columns.row_join import RowJoin
from astec.export.readers.columns.table_columns import TableColumns
from astec.export.readers.columns.table_file import TableFile
from astec.export.readers.dataset import BadLine, Dataset
from astec.export.readers.errors import BadLineError, DataError
from astec.export.readers.formats.label_cell import DEFAULT_SEPARATOR, LabelSplitter
from astec.export.readers.notices import Notices, say
from astec.export.readers.read_options import ReadOptions
from astec.export.readers.row import Row

SEPARATED_COLUMN: Final = "labels"
"""A column of this name holds separated labels; a column of another name may hold one label a row."""


class _Place(NamedTuple):
    """A row and its place; `single` is False where its labels are a list, or more than one."""

    path: Path
    line: int
    row: Row
    single: bool


class TableDataset(Dataset):
    """Rows of CSV, Parquet or JSON Lines with columns of any name.

    If no row has more than one label, rows of equal texts are joined: then the file has a row for each pair of a text
    and a label. This shows only at the end of the data, so such rows are kept, as numbers, until then.

    Args:
        paths: the parts of the table, at least one.
        first: the first part, opened.
        options: the user's.

    Raises:
        DataError: a column that is needed is missing or has a wrong type.
    """

    def __init__(self, paths: Sequence[Path], first: TableFile, options: ReadOptions) -> None:
        self.format_name = first.format_name
        self.paths = tuple(paths)
        self._first = first
        self._columns = TableColumns.choose(first.path, first.names, options)
        first.check_types(self._columns)
        self._notices = Notices()
        self._is_separated = (
            options.label_separator is not None or self._columns.labels.strip().casefold() == SEPARATED_COLUMN
        )
        self._splitter = LabelSplitter(options.label_separator, self._notices)
        say(first.path, self._columns.note(first.names))

    def _entries(self, advance: Advance) -> Iterator[Row | BadLine]:
        places = self._places(advance)
        singles = RowJoin()
        for place in places:
            if isinstance(place, BadLine):
                yield place
            elif place.single:
                singles.add(place.row)
            else:
                self._check_separator(place, singles)
                yield from singles.rows()
                yield place.row
                break
        else:
            yield from singles.joined()
            return
        del singles
        for place in places:
            yield place if isinstance(place, BadLine) else place.row

    def _check_separator(self, place: _Place, before: RowJoin) -> None:
        """Refuse a label that holds the usual separator, where the rows before look like one label a row.

        Raises:
            DataError: nothing says whether it is one label or several.
        """
        if before.has_repeated_text and not self._is_separated and len(place.row.labels) > 1:
            labels = DEFAULT_SEPARATOR.join(place.row.labels)
            problem = (
                f"the rows before have one label each, some for the same text, and here is {labels[:80]!r}: one label "
                f"that holds {DEFAULT_SEPARATOR!r}, or several"
            )
            remedy = f"Pass --label-separator '' if it is one label, --label-separator '{DEFAULT_SEPARATOR}' if several"
            raise DataError(place.path, place.line, problem, remedy)

    def _places(self, advance: Advance) -> Iterator[_Place | BadLine]:
        """Yield the rows of all parts."""
        for table in self._parts():
            for cells in table.cells(self._columns, advance):
                entry: _Place | BadLine
                if isinstance(cells, BadLine):
                    entry = cells
                else:
                    try:
                        row = to_row(cells, self._splitter)
                        entry = _Place(table.path, cells.line, row, _is_single(cells, row))
                    except BadLineError as error:
                        entry = BadLine(table.path, cells.line, str(error))
                yield entry
            self._notices.say(table.path)

    def _parts(self) -> Iterator[TableFile]:
        yield self._first
        for path in self.paths[1:]:
            part = self._first.open_like(path)
            self._columns.require(path, part.names)
            part.check_types(self._columns)
            yield part


def _is_single(cells: Cells, row: Row) -> bool:
    return len(row.labels) < 2 and not isinstance(cells.labels, (list, dict))
