"""What is known of labels beside their texts (advertiser, country, status), to choose labels by; no object for each.

The distinct values of all columns are in one table, column after column, those of a column in ascending order; each has
the list of its labels. So what a filter costs is the labels that it names, not the columns that there are.

Shapes: L labels, U distinct values of all columns together.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.labels.label_sets import LabelSets
from astec.export.artifact.labels.text_table import TextTable
from astec.export.artifact.manifest import LabelColumn, ValueKind

LabelValue = str | bool | int
Conditions = tuple[tuple[str, tuple[str, ...]], ...]
"""Names of columns, in ascending order, each with values as `to_text` writes them, in ascending order."""


class Selection(NamedTuple):
    """Which labels may be answered: what makes two of the same labels equal is that all in it is sorted.

    Of each column of `filter` a label must have one of the values, of those of `exclude` none.
    """

    filter: Conditions
    exclude: Conditions


@dataclass(frozen=True, slots=True)
class LabelMetadata:
    """Columns of label metadata.

    Attributes:
        columns: their names, kinds and numbers of distinct values.
        values: the U values as texts: those of the first column in ascending order, then of the second, and so on.
        labels: of each value the labels that have it, U things.
        num_labels: L.
    """

    columns: tuple[LabelColumn, ...]
    values: TextTable
    labels: LabelSets
    num_labels: int

    def select(self, selection: Selection) -> NDArray[np.bool_]:
        """Whether each label may be answered, bool [L]. A value that no label has is no label's, and no error.

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

    def require_order(self) -> None:
        """Raise ValueError where the values of a column do not ascend, so that some would not be found."""
        for column in self.columns:
            begin, end = self._bounds(column.name)
            texts = (self.values[value] for value in range(begin, end))
            if any(left >= right for left, right in pairwise(texts)):
                raise ValueError(f"the values of the label metadata's column {column.name!r} do not ascend")

    def _labels_of(self, name: str, values: tuple[str, ...]) -> list[NDArray[np.int32]]:
        begin, end = self._bounds(name)
        found = []
        for text in values:
            value = bisect_left(self.values, text, begin, end)
            if value < end and self.values[value] == text:
                found.append(self.labels.indices[self.labels.indptr[value] : self.labels.indptr[value + 1]])
        return found

    def _bounds(self, name: str) -> tuple[int, int]:
        """Where the values of a column begin and end."""
        begin = 0
        for column in self.columns:
            if column.name == name:
                return begin, begin + column.values
            begin += column.values
        raise KeyError(name)


def kind_of(value: LabelValue) -> ValueKind:
    """What a value is, in the manifest's words."""
    if isinstance(value, bool):
        return "boolean"
    return "integer" if isinstance(value, int) else "string"


def to_text(value: LabelValue) -> str:
    """A value as the table has it; values of one kind have the same text only where they are equal."""
    return str(value).lower() if isinstance(value, bool) else str(value)
