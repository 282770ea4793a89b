"""A file of sparse rows below a header that gives their number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from astec.export.console import Advance
from astec.export.readers.errors import BadLineError, DataError
from astec.export.readers.formats.sparse_row import parse_header
from astec.export.readers.lines import decode_line, read_lines


class RowCountError(BadLineError):
    """The error of a file with fewer or more rows than its header says.

    Attributes:
        path: the file.
        line: the last line of a file that is too short, or the first surplus line of one that is too long.
    """

    def __init__(self, path: Path, line: int, problem: str) -> None:
        self.path = path
        self.line = line
        super().__init__(problem)


@dataclass(frozen=True, slots=True)
class SparseFile:
    """A sparse file: its path and the counts of its header, the number of rows first."""

    path: Path
    counts: tuple[int, ...]
    encoding: str | None = None

    @classmethod
    def open(cls, path: Path, columns: str, encoding: str | None = None) -> SparseFile:
        """Read the header.

        Args:
            path: the file.
            columns: the names of the counts, such as "rows features labels".
            encoding: of the file; None for UTF-8, or what a byte order mark says.

        Raises:
            DataError: the first line is not such a header.
        """
        try:
            counts = parse_header(decode_line(next(read_lines(path, encoding=encoding), b"")))
        except BadLineError:
            counts = ()
        if len(counts) != len(columns.split()):
            remedy = "Pass a file of the extreme classification repository as it is published"
            raise DataError(path, 1, f'the header "{columns}" (whole numbers) is missing', remedy)
        return cls(path, counts, encoding)

    def lines(self, advance: Advance | None = None) -> Iterator[tuple[int, bytes]]:
        """Yield the line number and the bytes of every row; a blank line is a row without entries.

        Raises:
            RowCountError: the header gives another number of rows; raised after the last row.
        """
        number, num_rows = 1, self.counts[0]
        lines = enumerate(read_lines(self.path, advance, self.encoding), 1)
        next(lines)
        for number, line in lines:
            if number <= num_rows + 1:
                yield number, line
            elif line.strip():
                raise RowCountError(self.path, number, f"the header says {num_rows} rows, but here is one more")
        if number <= num_rows:
            problem = f"the header says {num_rows} rows, but the file ends after {number - 1}"
            raise RowCountError(self.path, number, problem)
