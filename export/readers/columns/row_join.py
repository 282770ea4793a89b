"""Rows of one label each, joined by their text: `red shoes,shoes` and `red shoes,sale` are one text with two labels."""

from __future__ import annotations

from array import array
from collections.abc import Iterator

import numpy as np

from astec.export.readers.row import Row, tuple_of_weights

NO_LABEL = -1


class RowJoin:
    """Rows with at most one label, kept compactly; numbers stand for texts and labels, in the order of appearance."""

    def __init__(self) -> None:
        self._texts: dict[str, int] = {}
        self._labels: dict[str, int] = {}
        self._text_ids, self._label_ids, self._weights = array("q"), array("i"), array("d")

    @property
    def has_repeated_text(self) -> bool:
        """Whether a text has more than one row."""
        return len(self._texts) < len(self._text_ids)

    def add(self, row: Row) -> None:
        """Add a row whose query is a text and which has one label or none."""
        text = str(row.query)
        self._text_ids.append(self._texts.setdefault(text, len(self._texts)))
        if row.labels:
            (label,) = row.labels
            self._label_ids.append(self._labels.setdefault(label, len(self._labels)))
        else:
            self._label_ids.append(NO_LABEL)
        self._weights.append(1.0 if row.weights is None else row.weights[0])

    def rows(self) -> Iterator[Row]:
        """Yield the rows as they were added."""
        texts, labels = list(self._texts), list(self._labels)
        for text, label, weight in zip(self._text_ids, self._label_ids, self._weights, strict=True):
            own = () if label == NO_LABEL else (labels[label],)
            yield Row(texts[text], own, tuple_of_weights([weight] * len(own)))

    def joined(self) -> Iterator[Row]:
        """Yield a row for each text, with its labels in the order of their first row and the sums of their weights."""
        texts, labels = list(self._texts), list(self._labels)
        text_ids = np.frombuffer(self._text_ids, np.int64)
        order = np.argsort(text_ids, kind="stable")
        ends = np.cumsum(np.bincount(text_ids, minlength=len(texts))).tolist()
        label_ids = np.frombuffer(self._label_ids, np.int32)[order]
        weights = np.frombuffer(self._weights, np.float64)[order]
        begin = 0
        for text, end in zip(texts, ends, strict=True):
            sums: dict[str, float] = {}
            for label, weight in zip(label_ids[begin:end].tolist(), weights[begin:end].tolist(), strict=True):
                if label != NO_LABEL:
                    sums[labels[label]] = sums.get(labels[label], 0.0) + weight
            begin = end
            yield Row(text, tuple(sums), tuple_of_weights(sums.values()))
