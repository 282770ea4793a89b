"""A data set: the rows of a file, or of a pair of files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from astec.export.console import Advance, byte_progress
from astec.export.readers.errors import BadLinesError
from astec.export.readers.row import Row
from astec.export.readers.streams.stored_file import stored_bytes

LinesFormat = Literal["jsonl", "tsv", "fasttext", "xc-old", "xc-new"]
FormatName = LinesFormat | Literal["npy", "csv", "parquet", "xc-text"]
MAX_BAD_LINES: Final = 100
"""Reading stops at more bad lines than this: such a file probably has another format than the one detected."""


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that was refused: its place, and the problem with it."""

    path: Path
    line: int
    problem: str


class Dataset(ABC):
    """The rows of a data set; each call of `rows` reads the files again.

    Attributes:
        format_name: the format of the files.
        paths: the files that hold the rows.
        query_kind: "text", or "bag" where rows hold feature ids.
        num_features: number of feature ids of pre-featurised data; None for texts.
        feature_names: the names of the features, [num_features], where they are known.
        label_names: the texts of all labels by label id, where the format has such a list.
        bad_lines: number of lines refused by the latest iteration.
    """

    format_name: FormatName
    paths: tuple[Path, ...]
    query_kind: Literal["text", "bag"] = "text"
    num_features: int | None = None
    feature_names: list[str] | None = None
    label_names: list[str] | None = None
    bad_lines: int = 0

    def rows(self, *, skip_bad_lines: bool = False, progress: bool = True) -> Iterator[Row]:
        """Yield every good row.

        Args:
            skip_bad_lines: count bad lines in `bad_lines` and go on, instead of refusing the file.
            progress: show a progress bar, on a terminal.

        Raises:
            BadLinesError: there are bad lines; raised after the last row, or as soon as there are over 100.
            DataError: a file cannot be read, for example a truncated gzip.
        """
        self.bad_lines = 0
        read = 0
        first: BadLine | None = None
        total_bytes = sum(map(stored_bytes, self.paths))
        others = f" and {len(self.paths) - 1} more" if len(self.paths) > 1 else ""
        with byte_progress(f"reading {self.paths[0].name}{others}", total_bytes, shown=progress) as advance:
            for entry in self._entries(advance):
                read += 1
                if isinstance(entry, Row):
                    yield entry
                    continue
                first = first or entry
                self.bad_lines += 1
                if self.bad_lines > MAX_BAD_LINES and not skip_bad_lines:
                    break
        if first is not None and not skip_bad_lines:
            raise BadLinesError(first.path, first.line, first.problem, bad=self.bad_lines, read=read)

    @abstractmethod
    def _entries(self, advance: Advance) -> Iterator[Row | BadLine]:
        """Yield every row or refused line, in the order of the file."""
