"""The labels of many texts in one flat array."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.kernels.ragged import take_rows
from astec.export.artifact.kernels.weight_rows import read_only


@dataclass(frozen=True, slots=True)
class LabelSets:
    """Labels of things: thing n owns `indices[indptr[n] : indptr[n + 1]]`, int32, with `indptr` int64 [n + 1]."""

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]

    def take(self, things: NDArray[np.int64]) -> LabelSets:
        """Some of the things, in that order."""
        positions, indptr = take_rows(self.indptr, things)
        return LabelSets(indptr, self.indices[positions])

    @classmethod
    def one_each(cls, labels: NDArray[np.int32]) -> LabelSets:
        """Thing n has the single label `labels[n]`."""
        return cls(read_only(np.arange(len(labels) + 1, dtype=np.int64)), labels)
