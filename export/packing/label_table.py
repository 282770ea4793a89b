"""Reading label metadata from a table, whose rows are checked against the labels of the model."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.labels.label_sets import LabelSets
from astec.export.artifact.labels.metadata import LabelMetadata, LabelValue, kind_of, to_text
from astec.export.artifact.labels.text_table import TextTable
from astec.export.artifact.manifest import MAX_COLUMN_NAME_CHARS, MAX_LABEL_COLUMNS, LabelColumn, ValueKind
from astec.export.readers.errors import BadLineError, DataError
from astec.export.readers.formats.jsonl import check_encodable, type_name
from astec.export.readers.records import read_records

LABEL_COLUMN: Final = "label"
LABEL_ID_COLUMN: Final = "label_id"
MAX_VALUE_CHARS: Final = 512
_MOST_ID_DIGITS: Final = 10
_LEAST_INTEGER, _MOST_INTEGER = -(2**63), 2**63 - 1


@dataclass(frozen=True, slots=True)
class LabelTable:
    """The label metadata in a file.

    Attributes:
        metadata: for the artifact.
        rows: the number of rows in the file.
        unknown: the number of rows about labels that the model does not have; these are left out.
        described: whether each label has a row, bool [L].
    """

    metadata: LabelMetadata
    rows: int
    unknown: int
    described: NDArray[np.bool_]


def read_label_metadata(path: Path, labels: TextTable) -> LabelTable:
    """Read a table with a row for each label: JSON Lines, CSV or Parquet; the first two may be gzipped.

    A row names its label by its text in a column `label`, or by its number in `label_id`; each other column is an
    attribute. Values are strings, booleans, integers or lists of strings, of one kind in a column (in CSV all are
    strings). A label without a row has no values; null, an empty string and an empty list are no value.

    Raises:
        DataError: a line is malformed, is a second row of a label, has a value of another kind than the column or too
            many columns (the first such line is named); or no row is about a label of the model.
    """
    ids = {text: label for label, text in enumerate(labels)}
    columns: dict[str, _Column] = {}
    is_described_L = np.zeros(len(labels), np.bool_)
    rows, unknown = 0, 0
    for line, record in read_records(path):
        rows += 1
        try:
            label = _label_of(record, ids)
            _add(columns, record, label)
        except BadLineError as error:
            raise DataError(path, line, str(error), "Fix or remove the row") from None
        if label is None:
            unknown += 1
        elif is_described_L[label]:
            raise DataError(path, line, f"the label {labels[label]!r} has a row already", "Join or remove its rows")
        else:
            is_described_L[label] = True
    if rows == unknown:
        problem = f"none of its {rows} rows is about one of the {len(labels)} labels of the model"
        raise DataError(path, None, problem, f'Name labels as in training, in a column "{LABEL_COLUMN}"')
    if not columns:
        raise DataError(path, None, "it has no column beside that of the labels", "Add one, or leave the file out")
    return LabelTable(_to_metadata(columns, len(labels)), rows, unknown, is_described_L)


class _Column:
    """A column while it is read; distinct values are numbered in the order of their first occurrence."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.kind: ValueKind | None = None
        self._codes: dict[str, int] = {}
        self._values = array("i")
        self._labels = array("i")

    def add(self, value: object, label: int | None) -> None:
        """Add the value of a label, or only check it where the model does not have the label (None).

        Raises:
            BadLineError: it is not a valid value, or of another kind than the values before it.
        """
        for text in dict.fromkeys(map(self._to_text, _values_of(self.name, value))):
            if label is not None:
                self._values.append(self._codes.setdefault(text, len(self._codes)))
                self._labels.append(label)

    def sorted(self) -> tuple[list[str], NDArray[np.int32], NDArray[np.int64]]:
        """Return the distinct values in ascending order, the labels of each, value after value, and their numbers."""
        texts = sorted(self._codes)
        ranks = np.empty(len(texts), np.int32)
        ranks[[self._codes[text] for text in texts]] = np.arange(len(texts))
        values, labels = ranks[np.array(self._values, np.int32)], np.array(self._labels, np.int32)
        counts = np.bincount(values, minlength=len(texts))
        return texts, labels[np.lexsort((labels, values))], counts

    def _to_text(self, value: LabelValue) -> str:
        kind = kind_of(value)
        self.kind = self.kind or kind
        if kind != self.kind:
            raise BadLineError(f"column {self.name!r} has {_a(kind)} here, and {_a(self.kind)} before")
        text = to_text(value)
        if text not in self._codes:
            _check_value(self.name, value, text)
        return text


def _label_of(record: Mapping[str, Any], ids: Mapping[str, int]) -> int | None:
    """Return the label that a row is about; None if the model does not have it."""
    if (LABEL_COLUMN in record) == (LABEL_ID_COLUMN in record):
        raise BadLineError(f'the row must have one of the columns "{LABEL_COLUMN}" and "{LABEL_ID_COLUMN}"')
    if LABEL_COLUMN in record:
        text = record[LABEL_COLUMN]
        if not isinstance(text, str):
            raise BadLineError(f'"{LABEL_COLUMN}" is {type_name(text)}, not a string')
        return ids.get(text.strip())
    label = record[LABEL_ID_COLUMN]
    if isinstance(label, str) and label.isdecimal() and len(label) <= _MOST_ID_DIGITS:  # CSV holds texts only
        label = int(label)
    if not isinstance(label, int) or isinstance(label, bool):
        raise BadLineError(f'"{LABEL_ID_COLUMN}" is {type_name(label)}, not an integer')
    return label if 0 <= label < len(ids) else None


def _add(columns: dict[str, _Column], record: Mapping[str, Any], label: int | None) -> None:
    for name, value in record.items():
        if name in (LABEL_COLUMN, LABEL_ID_COLUMN):
            continue
        if name not in columns:
            _check_name(name, len(columns))
            columns[name] = _Column(name)
        columns[name].add(value, label)


def _check_name(name: str, num_columns: int) -> None:
    if not 1 <= len(name) <= MAX_COLUMN_NAME_CHARS:
        raise BadLineError(f"the name of a column has {len(name)} characters; it needs 1 to {MAX_COLUMN_NAME_CHARS}")
    check_encodable(name)
    if num_columns == MAX_LABEL_COLUMNS:
        raise BadLineError(f"column {name!r} is one more than the limit of {MAX_LABEL_COLUMNS}")


def _values_of(name: str, value: object) -> list[LabelValue]:
    """Return the values of a field; null, an empty string and an empty list are no value."""
    if isinstance(value, list):
        for entry in value:
            if not isinstance(entry, str):
                raise BadLineError(f"column {name!r} has a list that holds {type_name(entry)}, not only strings")
        return [entry for entry in value if entry]
    if value is None or value == "":
        return []
    if not isinstance(value, str | bool | int):
        held = type(value).__name__  # Parquet has more types than JSON
        raise BadLineError(f"column {name!r} has a {held}, not a string, a boolean, an integer or a list of strings")
    return [value]


def _check_value(name: str, value: LabelValue, text: str) -> None:
    """Raise BadLineError if a new value is too large, too long or not valid Unicode."""
    if kind_of(value) == "integer" and not _LEAST_INTEGER <= int(value) <= _MOST_INTEGER:
        raise BadLineError(f"column {name!r} has an integer that 64 bits do not hold")
    if len(text) > MAX_VALUE_CHARS:
        problem = f"column {name!r} has a value of {len(text)} characters; the limit is {MAX_VALUE_CHARS}"
        raise BadLineError(problem)
    check_encodable(text)


def _a(kind: ValueKind) -> str:
    return f"an {kind}" if kind == "integer" else f"a {kind}"


def _to_metadata(columns: Mapping[str, _Column], num_labels: int) -> LabelMetadata:
    parts = {name: column.sorted() for name, column in columns.items()}
    described = tuple(
        LabelColumn(name=name, kind=columns[name].kind or "string", values=len(texts))
        for name, (texts, _, _) in parts.items()
    )
    texts = TextTable.from_texts(text for values, _, _ in parts.values() for text in values)
    counts = np.concatenate([[0], *(counts for _, _, counts in parts.values())])
    labels = np.concatenate([labels for _, labels, _ in parts.values()])
    return LabelMetadata(described, texts, LabelSets(np.cumsum(counts, dtype=np.int64), labels), num_labels)
