"""Label metadata: attributes of labels (advertiser, country, status) by which requests filter, without Python objects.

One table holds the distinct values of all columns, column after column, in ascending order within a column. Each value
has the list of its labels. So the cost of a filter grows with the labels that it selects, not with the columns.

Shapes: L labels, U distinct values of all columns together.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.labels.label_sets import LabelSetFiles, LabelSets
from astec.export.artifact.labels.text_table import TextTable
from astec.export.artifact.manifest import LabelColumn, ValueKind
from astec.export.artifact.storage.checked_arrays import require

LABEL_VALUES_STEM = "label_values"
LABEL_VALUES_FILES = LabelSetFiles("label_values.indptr.npy", "label_values.labels.npy")

LabelValue = str | bool | int
Conditions = tuple[tuple[str, tuple[str, ...]], ...]
"""Names of columns, in ascending order, each with values as `to_text` writes them, in ascending order."""


class Selection(NamedTuple):
    """The labels that a request may be answered with. Everything is sorted, so that equal selections compare equal.

    A label must have one of the values of each column in `filter`, and none of the values in `exclude`.
    """

    filter: Conditions
    exclude: Conditions


@dataclass(frozen=True, slots=True)
class LabelMetadata:
    """Columns of label metadata.

    Attributes:
        columns: the name, the kind and the number of distinct values of each.
        values: the U values as texts: the values of the first column in ascending order, then of the second, and so on.
        labels: the labels that have each value, U label sets.
        num_labels: L.
    """

    columns: tuple[LabelColumn, ...]
    values: TextTable
    labels: LabelSets
    num_labels: int

    def select(self, selection: Selection) -> NDArray[np.bool_]:
        """Return which labels the selection allows, bool [L]. A value that no label has matches none and is no error.

        Raises:
            KeyError: there is no such column.
        """
        allowed_L = np.ones(self.num_labels, np.bool_)
        for name, values in selection.filter:
            named_L = np.zeros(self.num_labels, np.bool_)
            for labels in self._labels_of(name, values):
                named_L[labels] = True
            allowed_L &= named_L
        for name, values in selection.exclude:
            for labels in self._labels_of(name, values):
                allowed_L[labels] = False
        return allowed_L

    def take(self, labels: NDArray[np.int64]) -> LabelMetadata:
        """Return the metadata of these labels, ids in ascending order, which get the ids 0, 1 and so on.

        All values stay, also those that no label has any more.
        """
        new_ids_L = np.full(self.num_labels, -1, np.int32)
        new_ids_L[labels] = np.arange(len(labels), dtype=np.int32)
        ids = new_ids_L[self.labels.indices]
        kept = np.concatenate([[0], np.cumsum(ids >= 0)])
        return LabelMetadata(
            self.columns, self.values, LabelSets(kept[self.labels.indptr].astype(np.int64), ids[ids >= 0]), len(labels)
        )

    def require_order(self) -> None:
        """Raise ValueError unless the values of every column ascend, because a look-up would miss some."""
        for column in self.columns:
            begin, end = self._bounds(column.name)
            texts = (self.values[value] for value in range(begin, end))
            if any(left >= right for left, right in pairwise(texts)):
                raise ValueError(f"the values of the label metadata's column {column.name!r} do not ascend")

    @classmethod
    def open(cls, folder: Path, columns: Sequence[LabelColumn], num_labels: int) -> LabelMetadata:
        """Map label metadata; `require_order` is left to the caller, because it reads every value.

        Raises:
            ValueError: the files have another number of values than the columns, or a label id is out of range.
        """
        count = sum(column.values for column in columns)
        values = TextTable.open(folder, LABEL_VALUES_STEM)
        require(len(values) == count, f"{LABEL_VALUES_STEM}: {len(values)} values, not {count}")
        labels = LabelSets.open(folder, LABEL_VALUES_FILES, count, num_labels)
        return cls(tuple(columns), values, labels, num_labels)

    def save(self, folder: Path) -> None:
        """Write the files that `open` reads; the columns are written to the manifest."""
        self.values.save(folder, LABEL_VALUES_STEM)
        self.labels.save(folder, LABEL_VALUES_FILES)

    def _labels_of(self, name: str, values: tuple[str, ...]) -> list[NDArray[np.int32]]:
        begin, end = self._bounds(name)
        found = []
        for text in values:
            value = bisect_left(self.values, text, begin, end)
            if value < end and self.values[value] == text:
                found.append(self.labels.indices[self.labels.indptr[value] : self.labels.indptr[value + 1]])
        return found

    def _bounds(self, name: str) -> tuple[int, int]:
        """Return the begin and the end of a column's values."""
        begin = 0
        for column in self.columns:
            if column.name == name:
                return begin, begin + column.values
            begin += column.values
        raise KeyError(name)


def kind_of(value: LabelValue) -> ValueKind:
    """Return the kind of a value, as the manifest names it."""
    if isinstance(value, bool):
        return "boolean"
    return "integer" if isinstance(value, int) else "string"


def to_text(value: LabelValue) -> str:
    """Return a value as the table holds it; two values of one kind have the same text only if they are equal."""
    return str(value).lower() if isinstance(value, bool) else str(value)
