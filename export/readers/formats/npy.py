"""Vectors made by another model: `train.npy`, one row for each, and `train_labels.txt`, one line `label;label` each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.storage.array_file import map_array
from astec.export.artifact.text.bags import Bag, Query
from astec.export.console import Advance
from astec.export.readers.dataset import BadLine, Dataset
from astec.export.readers.errors import BadLineError, DataError
from astec.export.readers.formats.label_cell import LabelSplitter
from astec.export.readers.lines import decode_line, read_lines
from astec.export.readers.magic_bytes import begins_with
from astec.export.readers.notices import Notices
from astec.export.readers.read_options import AS_FOUND, ReadOptions
from astec.export.readers.row import Row
from astec.export.readers.streams.compression import find_beside
from astec.export.readers.streams.stored_file import stored

_MAGIC: Final = b"\x93NUMPY"


def is_npy(path: Path) -> bool:
    """Return whether numpy wrote the file; False for a file that cannot be opened."""
    return begins_with(path, _MAGIC)


class Vectors:
    """The rows of a `.npy` file, memory-mapped: floats of any width, [N, F].

    Attributes:
        path: the file.
        num_features: F.

    Raises:
        DataError: the file does not hold such an array.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._rows_NF = map_array(stored(path))
        except ValueError as error:
            raise DataError(path, None, str(error), _REMEDY) from None
        if self._rows_NF.dtype.kind != "f" or self._rows_NF.ndim != 2 or not self._rows_NF.size:
            problem = f"holds {self._rows_NF.dtype} {self._rows_NF.shape}, not rows of floats"
            raise DataError(path, None, problem, _REMEDY)
        self.num_features = int(self._rows_NF.shape[1])
        self._ids = np.arange(self.num_features, dtype=np.int32)

    def __len__(self) -> int:
        return len(self._rows_NF)

    def bag(self, row: int) -> Bag:
        """Return one row as a bag of all F features.

        Raises:
            BadLineError: a number of the row is not finite.
        """
        weights: NDArray[np.float32] = self._rows_NF[row].astype(np.float32)
        if not np.isfinite(weights).all():
            raise BadLineError("the vector holds NaN, infinity or what float32 cannot")
        return Bag(self._ids, weights)

    def queries(self, advance: Advance) -> Iterator[Query]:
        """Yield all rows.

        Raises:
            DataError: a number is not finite; names the first such row, counted from 1.
        """
        for row in range(len(self)):
            try:
                bag = self.bag(row)
            except BadLineError as error:
                raise DataError(self.path, row + 1, str(error), "Make the vector again, or leave it out") from None
            advance(self._rows_NF.itemsize * self.num_features)
            yield bag


class NpyDataset(Dataset):
    """Vectors with a file of labels, one line for each vector; bad lines are numbered by row, from 1."""

    format_name = "npy"
    query_kind = "bag"

    def __init__(self, path: Path, options: ReadOptions = AS_FOUND) -> None:
        self._vectors = Vectors(path)
        self._encoding, self._notices = options.encoding, Notices()
        self._splitter = LabelSplitter(options.label_separator, self._notices)
        self.num_features = self._vectors.num_features
        self.paths = (path, _labels_beside(path))

    def _entries(self, advance: Advance) -> Iterator[Row | BadLine]:
        labels_path = self.paths[1]
        num_rows, num_lines = len(self._vectors), 0
        for row, line in enumerate(read_lines(labels_path, advance, self._encoding)):
            num_lines += 1
            if row < num_rows:
                yield self._row(row, line)
        if num_lines != num_rows:  # No line can be skipped: it is unknown which labels belong to which vector.
            problem = f"there are {num_lines} lines of labels and {num_rows} vectors"
            raise DataError(labels_path, num_lines, problem, "Write both files again")
        self._notices.say(labels_path)

    def _row(self, row: int, line: bytes) -> Row | BadLine:
        path, labels_path = self.paths
        try:
            labels = self._splitter.split(decode_line(line))
        except BadLineError as error:
            return BadLine(labels_path, row + 1, str(error))
        try:
            return Row(self._vectors.bag(row), labels)
        except BadLineError as error:
            return BadLine(path, row + 1, str(error))


_REMEDY = "Write it with numpy.save, as an array of floats [rows, features]"


def _labels_beside(path: Path) -> Path:
    stem = path.name.removesuffix(".npy")
    labels = find_beside(path, f"{stem}_labels.txt")
    if labels is not None:
        return labels
    problem = f"{stem}_labels.txt, the labels of its rows, is missing"
    raise DataError(path, None, problem, "Put it beside, a line label;label for each row")
