"""The labels of many texts or vectors in one flat array."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.kernels.ragged import take_rows
from astec.export.artifact.kernels.weight_rows import NO_SCALES, read_only
from astec.export.artifact.storage.checked_arrays import open_bounds, open_finite, open_label_ids, require

NO_WEIGHTS = NO_SCALES
"""The empty weights of label sets in which all labels weigh the same."""


class LabelSetFiles(NamedTuple):
    """The names of the files of label sets; `weights` None: they never have weights."""

    indptr: str
    indices: str
    weights: str | None = None


@dataclass(frozen=True, slots=True)
class LabelSets:
    """The labels of n things: thing i owns `indices[indptr[i] : indptr[i + 1]]`.

    Shapes: `indptr` int64 [n + 1]; `indices` int32 [all labels of all things]; `weights` of these, float32 and above 0,
    or [0] where all weigh the same.
    """

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    weights: NDArray[np.float32] = field(default_factory=lambda: NO_WEIGHTS)

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def take(self, things: NDArray[np.int64]) -> LabelSets:
        """Return the label sets of the given things, in their order."""
        positions, indptr = take_rows(self.indptr, things)
        return LabelSets(indptr, self.indices[positions], self.weights[positions] if len(self.weights) else NO_WEIGHTS)

    def and_one_each(self, labels: NDArray[np.int32]) -> LabelSets:
        """Return these label sets with further things behind them, of one label and of weight 1 each."""
        bounds = self.indptr[-1] + np.arange(1, len(labels) + 1)
        ones = np.ones(len(labels) if len(self.weights) else 0, np.float32)
        weights = np.append(self.weights, ones) if len(ones) else self.weights
        return LabelSets(np.append(self.indptr, bounds), np.append(self.indices, labels), weights)

    @classmethod
    def one_each(cls, labels: NDArray[np.int32]) -> LabelSets:
        """Make label sets of one label each: thing i has `labels[i]`."""
        return cls(read_only(np.arange(len(labels) + 1, dtype=np.int64)), labels)

    @classmethod
    def open(
        cls, folder: Path, files: LabelSetFiles, count: int, num_labels: int, *, weighted: bool = False
    ) -> LabelSets:
        """Map the label sets of `count` things.

        Raises:
            ValueError: a file has another type or shape, or a bound or label id is out of range, or a weight is not
                finite and above 0.
        """
        indptr = open_bounds(folder, files.indptr, count)
        indices = open_label_ids(folder, files.indices, int(indptr[-1]), num_labels)
        if not weighted or files.weights is None:
            return cls(indptr, indices)
        weights = open_finite(folder, files.weights, len(indices))
        require(not np.any(weights <= 0), f"{files.weights} holds a weight that is not above 0")
        return cls(indptr, indices, weights)

    def save(self, folder: Path, files: LabelSetFiles) -> None:
        """Write the files that `open` reads.

        Raises:
            ValueError: there are weights, and no file for them.
        """
        np.save(folder / files.indptr, self.indptr)
        np.save(folder / files.indices, self.indices)
        if len(self.weights):
            if files.weights is None:
                raise ValueError(f"the label sets of {files.indptr} have weights, which have no file")
            np.save(folder / files.weights, self.weights)
