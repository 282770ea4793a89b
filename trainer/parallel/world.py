"""The processes that train together: here the usual one, alone; `astec.trainer.parallel.distributed` has several.

Shapes: n rows, B texts of a batch, U labels of a batch, P positive pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # torch takes seconds to load: not for --help
    from torch import Tensor

Arrays = dict[str, NDArray[Any]]
LabelSample = tuple[NDArray[np.int64] | None, NDArray[np.int64], NDArray[np.int64]]
"""Distinct labels [U] or None for all, and of each positive pair [P] the text in the batch and the column."""


class World:
    """One process, which has no others to agree with.

    Rows that are split over several processes are dealt out like cards: this one owns rows `rank`, `rank + size`, ...

    Attributes:
        rank: of this process, from 0.
        size: how many there are.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    @property
    def leads(self) -> bool:
        """Whether this is the process that prints, records and writes."""
        return self.rank == 0

    @property
    def own(self) -> slice:
        """Of split rows those of this process."""
        return slice(self.rank, None, self.size)

    def owns(self, rows: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
        """Which of some rows belong to this process; row r is its row `r // size`."""
        owned: NDArray[np.bool_] = rows % self.size == self.rank
        return owned

    def sum_(self, *tensors: Tensor) -> None:
        """Replace each tensor by its sum over the processes, the same on all to the last bit."""

    def agree(self, answer: bool) -> bool:
        """The first process's answer, on all."""
        return answer

    def share(self, compute: Callable[[], Arrays]) -> Arrays:
        """What `compute` returns on the first process, on all; the others wait, for hours if need be."""
        return compute()

    def gather_rows(self, own_n: Tensor, num_rows: int) -> Tensor:
        """All of `num_rows` split rows, in order, on the first process; none on the others."""
        return own_n

    def barrier(self) -> None:
        """Wait for all processes."""


ALONE = World()


@dataclass(frozen=True, slots=True)
class Mesh:
    """What a batch is split by: its texts (data parallel) over some processes, the labels over others.

    Processes with the same labels learn the same parameters from different texts; those with the same texts own
    different classifiers, and their memory is divided.
    """

    texts: World = ALONE
    labels: World = ALONE

    def own_texts_first(self, rows_B: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
        """The texts of a batch, own ones first, and how many those are; there may be none."""
        if self.texts.size == 1:
            return rows_B, len(rows_B)
        own = self.texts.owns(np.arange(len(rows_B)))
        return np.concatenate([rows_B[own], rows_B[~own]]), int(own.sum())

    def own_pairs(self, sample: LabelSample) -> LabelSample:
        """Of the labels of a batch those of this process, as rows of its classifiers, and the pairs of its texts."""
        labels_U, rows_P, columns_P = sample
        if self.texts.size > 1:
            own_P = self.texts.owns(rows_P)
            rows_P, columns_P = rows_P[own_P] // self.texts.size, columns_P[own_P]
        if self.labels.size > 1:
            labels_U, rows_P, columns_P = self._own_labels(labels_U, rows_P, columns_P)
        return labels_U, rows_P, columns_P

    def _own_labels(
        self, labels_U: NDArray[np.int64] | None, rows_P: NDArray[np.int64], columns_P: NDArray[np.int64]
    ) -> LabelSample:
        size = self.labels.size
        if labels_U is None:
            own_P = self.labels.owns(columns_P)
            return None, rows_P[own_P], columns_P[own_P] // size
        own_U = self.labels.owns(labels_U)
        own_P, position_U = own_U[columns_P], np.cumsum(own_U) - 1
        return labels_U[own_U] // size, rows_P[own_P], position_U[columns_P[own_P]]


ONE_PROCESS = Mesh()
