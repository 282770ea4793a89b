"""The look-up of labels by their texts, without a Python object for each label of the model.

Shapes: L labels, G given texts, F found labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from astec.export.artifact.labels.text_table import TextTable

_FNV_OFFSET, _FNV_PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)


class FoundLabels(NamedTuple):
    """The ids of the labels that have one of the given texts, ascending, int64 [F], and the texts that no label has."""

    ids: NDArray[np.int64]
    unknown: list[str]


class LabelIds:
    """Finds labels by their texts. Takes 16 bytes for each label, and some milliseconds for 100,000 of them.

    Args:
        labels: the labels of a model.
    """

    def __init__(self, labels: TextTable) -> None:
        self.labels = labels
        hashes_L = _hash_texts(labels.blob, labels.offsets)
        self._order_L = np.argsort(hashes_L, kind="stable")
        self._hashes_L = hashes_L[self._order_L]

    def find(self, texts: Sequence[str]) -> FoundLabels:
        """Return the labels with one of these texts; where several labels have the same text, all of them."""
        given = TextTable.from_texts(texts)
        hashes_G = _hash_texts(given.blob, given.offsets)
        begins = np.searchsorted(self._hashes_L, hashes_G).tolist()
        ends = np.searchsorted(self._hashes_L, hashes_G, side="right").tolist()
        ids: set[int] = set()
        unknown: list[str] = []
        for text, begin, end in zip(texts, begins, ends, strict=True):
            same = [label for label in self._order_L[begin:end].tolist() if self.labels[label] == text]
            ids.update(same)
            if not same:
                unknown.append(text)
        return FoundLabels(np.array(sorted(ids), np.int64), unknown)


@njit(cache=True, nogil=True)
def _hash_texts(blob: NDArray[np.uint8], offsets: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return the FNV-1a hash of each text of a table, uint64 [L]."""
    hashes_L = np.empty(len(offsets) - 1, np.uint64)
    for text in range(len(hashes_L)):
        hash_ = _FNV_OFFSET
        for i in range(offsets[text], offsets[text + 1]):
            hash_ = (hash_ ^ np.uint64(blob[i])) * _FNV_PRIME
        hashes_L[text] = hash_
    return hashes_L
