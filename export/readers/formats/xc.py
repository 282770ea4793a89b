"""The sparse formats of the extreme classification repository.

Old: one file, header `rows features labels`, rows `3,17 12:0.5 37:1.25` (label ids, then features).
New: two files in step, `trn_X_Xf.txt` of features and `trn_X_Y.txt` of labels, each with header `rows columns` and rows
`12:0.5 37:1.25`. The values of labels are weights. In both, `Xf.txt` and `Y.txt` beside them name features and labels.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from astec.export.console import Advance
from astec.export.readers.dataset import BadLine, Dataset
from astec.export.readers.errors import BadLineError, DataError
from astec.export.readers.formats.id_names import read_names_beside
from astec.export.readers.formats.sparse_file import RowCountError, SparseFile
from astec.export.readers.formats.sparse_row import MAX_FEATURES, check_ids, parse_bag, parse_row, shortened
from astec.export.readers.lines import decode_line
from astec.export.readers.row import Row, check_weight, distinct_labels, tuple_of_weights
from astec.export.readers.streams.compression import find_beside, plain_name

OLD_HEADER: Final = "rows features labels"
NEW_HEADER: Final = "rows columns"
_is_label_list = re.compile(r"(?:\d{1,18}+(?:,\d{1,18}+)*+)?+", re.ASCII).fullmatch


class XcDataset(Dataset):
    """The base class of both sparse formats: bags of features, and labels by id."""

    query_kind = "bag"
    num_features: int

    def __init__(self, path: Path, num_features: int, num_labels: int, encoding: str | None) -> None:
        if num_features > MAX_FEATURES:
            problem = f"the header counts {num_features} features, more than {MAX_FEATURES}"
            raise DataError(path, 1, problem, "Renumber the features that occur")
        self.num_features = num_features
        self.num_labels = num_labels
        self.feature_names = read_names_beside(path, "Xf", num_features, encoding)
        self.label_names = read_names_beside(path, "Y", num_labels, encoding)

    def _entries(self, advance: Advance) -> Iterator[Row | BadLine]:
        try:
            yield from self._sparse_rows(advance)
        except RowCountError as error:
            if len(self.paths) > 1:  # No line can be skipped: it is unknown which labels belong to which row.
                raise DataError(error.path, error.line, str(error), "Copy or download both files again") from None
            yield BadLine(error.path, error.line, str(error))

    @abstractmethod
    def _sparse_rows(self, advance: Advance) -> Iterator[Row | BadLine]:
        """Yield every row or refused line, as `_entries` does; may raise RowCountError at the end."""

    def _label_texts(self, label_ids: list[int]) -> tuple[str, ...]:
        check_ids(label_ids, self.num_labels, "label")
        names = self.label_names
        return distinct_labels(map(str, label_ids) if names is None else [names[i] for i in label_ids])


class OldXcDataset(XcDataset):
    """The old format: one file of label ids and features."""

    format_name = "xc-old"

    def __init__(self, path: Path, encoding: str | None = None) -> None:
        self.paths = (path,)
        self._file = SparseFile.open(path, OLD_HEADER, encoding)
        _, num_features, num_labels = self._file.counts
        super().__init__(path, num_features, num_labels, encoding)

    def _sparse_rows(self, advance: Advance) -> Iterator[Row | BadLine]:
        for number, line in self._file.lines(advance):
            yield self._row(number, line)

    def _row(self, number: int, line: bytes) -> Row | BadLine:
        try:
            label_list, features = split_labels(decode_line(line))
            bag = parse_bag(features, self.num_features)
            return Row(bag, self._label_texts(_parse_label_list(label_list)))
        except BadLineError as error:
            return BadLine(self._file.path, number, str(error))


class NewXcDataset(XcDataset):
    """The new format: a file of features and a file of labels, one line of each for a row."""

    format_name = "xc-new"

    def __init__(self, path: Path, encoding: str | None = None) -> None:
        self.paths = (path, _label_half(path))
        self._features, self._labels = (SparseFile.open(half, NEW_HEADER, encoding) for half in self.paths)
        num_rows, num_features = self._features.counts
        num_label_rows, num_labels = self._labels.counts
        if num_rows != num_label_rows:
            problem = f"the header counts {num_label_rows} rows, that of {path.name} {num_rows}"
            raise DataError(self._labels.path, 1, problem, "Use two files of the same data set and split")
        super().__init__(path, num_features, num_labels, encoding)

    def _sparse_rows(self, advance: Advance) -> Iterator[Row | BadLine]:
        pairs = zip(self._features.lines(advance), self._labels.lines(advance), strict=True)
        for (number, features), (_, labels) in pairs:
            yield self._row(number, features, labels)

    def _row(self, number: int, features: bytes, labels: bytes) -> Row | BadLine:
        path = self._features.path
        try:
            bag = parse_bag(decode_line(features), self.num_features)
            path = self._labels.path
            label_ids, values = parse_row(decode_line(labels), self.num_labels, "label")
            relevant = {label: value for label, value in zip(label_ids, values, strict=True) if value > 0}
            weights = [check_weight(value, f"the value of label id {label}") for label, value in relevant.items()]
        except BadLineError as error:
            return BadLine(path, number, str(error))
        return Row(bag, self._label_texts(list(relevant)), tuple_of_weights(weights))


def split_labels(line: str) -> tuple[str, str]:
    """Split a row of the old format into its label ids and its features; a row without labels starts with a space."""
    label_list, _, features = line.partition(" ")
    return ("", line) if ":" in label_list else (label_list, features)


def _parse_label_list(label_list: str) -> list[int]:
    if not _is_label_list(label_list):
        raise BadLineError(f"{shortened(label_list)} is not a list of label ids such as 3,17")
    return list(map(int, filter(None, label_list.split(","))))


def _label_half(path: Path) -> Path:
    name = path.name.replace("_Xf", "_Y")
    if name == path.name:
        problem = "one half of a pair of sparse files, without _Xf in its name"
        raise DataError(
            path, None, problem, "Pass the feature half trn_X_Xf.txt with trn_X_Y.txt beside it, or the folder"
        )
    half = path.with_name(name) if path.with_name(name).is_file() else find_beside(path, plain_name(name))
    if half is not None:
        return half
    raise DataError(path, None, f"{name}, its label half, is missing", "Put the label half beside it")
