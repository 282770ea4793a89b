"""Merging a table of label metadata into that of an artifact."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.labels.label_sets import LabelSets
from astec.export.artifact.labels.metadata import LabelMetadata
from astec.export.artifact.labels.text_table import TextTable
from astec.export.artifact.manifest import MAX_LABEL_COLUMNS, LabelColumn
from astec.export.packing.label_table import LabelTable

_Values = dict[str, list[NDArray[np.int32]]]


def merge_metadata(old: LabelMetadata | None, table: LabelTable) -> LabelMetadata:
    """Return the metadata in which the labels of the table's rows have the values of their rows, and no others.

    Labels without a row keep their values. Columns that either has are columns of both.

    Raises:
        ValueError: a column has another kind than before, or there are too many columns.
    """
    new = table.metadata
    if old is None:
        return new
    kinds = {column.name: column.kind for column in old.columns}
    columns: dict[str, _Values] = {name: {} for name in kinds}
    for column in new.columns:
        if kinds.setdefault(column.name, column.kind) != column.kind:
            raise ValueError(
                f"column {column.name!r} of the label metadata is {column.kind}, and in the artifact "
                f"{kinds[column.name]}; write values of that kind, or name the column otherwise"
            )
        columns.setdefault(column.name, {})
    if len(columns) > MAX_LABEL_COLUMNS:
        raise ValueError(
            f"the artifact would have {len(columns)} columns of label metadata, the limit is {MAX_LABEL_COLUMNS}; "
            "leave some out"
        )
    for name, text, labels in _values(old):
        columns[name].setdefault(text, []).append(labels[~table.described[labels]])
    for name, text, labels in _values(new):
        columns[name].setdefault(text, []).append(labels)
    described, texts, sets = [], list[str](), list[NDArray[np.int32]]()
    for name, values in columns.items():
        joined = {text: np.sort(np.concatenate(parts)) for text, parts in sorted(values.items())}
        held = {text: labels for text, labels in joined.items() if len(labels)}
        described.append(LabelColumn(name=name, kind=kinds[name], values=len(held)))
        texts += held
        sets += held.values()
    indptr = np.cumsum([0, *map(len, sets)], dtype=np.int64)
    indices = np.concatenate([np.empty(0, np.int32), *sets])
    return LabelMetadata(tuple(described), TextTable.from_texts(texts), LabelSets(indptr, indices), new.num_labels)


def _values(metadata: LabelMetadata) -> Iterator[tuple[str, str, NDArray[np.int32]]]:
    """Yield each value: its column, its text and its labels."""
    value = 0
    for column in metadata.columns:
        for _ in range(column.values):
            bounds = metadata.labels.indptr[value : value + 2]
            yield column.name, metadata.values[value], metadata.labels.indices[bounds[0] : bounds[1]]
            value += 1
