"""The labels of many texts or vectors in one flat array."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.kernels.ragged import take_rows
from astec.export.artifact.kernels.weight_rows import read_only
from astec.export.artifact.storage.checked_arrays import open_bounds, open_label_ids


class LabelSetFiles(NamedTuple):
    """The names of the two files of label sets."""

    indptr: str
    indices: str


@dataclass(frozen=True, slots=True)
class LabelSets:
    """The labels of n things: thing i owns `indices[indptr[i] : indptr[i + 1]]`.

    Shapes: `indptr` int64 [n + 1]; `indices` int32 [all labels of all things].
    """

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def take(self, things: NDArray[np.int64]) -> LabelSets:
        """Return the label sets of the given things, in their order."""
        positions, indptr = take_rows(self.indptr, things)
        return LabelSets(indptr, self.indices[positions])

    @classmethod
    def one_each(cls, labels: NDArray[np.int32]) -> LabelSets:
        """Make label sets of one label each: thing i has `labels[i]`."""
        return cls(read_only(np.arange(len(labels) + 1, dtype=np.int64)), labels)

    def extended(self, labels: NDArray[np.int32]) -> LabelSets:
        """Return these label sets and then those of things of one label each."""
        bounds = self.indptr[-1] + np.arange(1, len(labels) + 1)
        return LabelSets(np.append(self.indptr, bounds), np.append(self.indices, labels))

    @classmethod
    def open(cls, folder: Path, files: LabelSetFiles, count: int, num_labels: int) -> LabelSets:
        """Map the label sets of `count` things.

        Raises:
            ValueError: a file has another type or shape, or a bound or label id is out of range.
        """
        indptr = open_bounds(folder, files.indptr, count)
        return cls(indptr, open_label_ids(folder, files.indices, int(indptr[-1]), num_labels))

    def save(self, folder: Path, files: LabelSetFiles) -> None:
        """Write the files that `open` reads."""
        np.save(folder / files.indptr, self.indptr)
        np.save(folder / files.indices, self.indices)
