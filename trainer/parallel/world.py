"""The processes that train together: here a single process; `astec.trainer.parallel.distributed` has several.

Shapes: n rows, B texts of a batch, U labels of a batch, P positive pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # torch takes seconds to load, too long for --help
    from torch import Tensor

Arrays = dict[str, NDArray[Any]]
LabelSample = tuple[NDArray[np.int64] | None, NDArray[np.int64], NDArray[np.int64]]
"""The labels that a batch is trained on.

Distinct labels [U], or None for all labels; then for each positive pair its text in the batch [P] and the column of its
label [P]."""


class World:
    """The processes that train together, seen from one of them; this class is for a process on its own.

    Rows that are split over the processes are distributed round-robin: a process owns rows `rank`, `rank + size`, ...

    Attributes:
        rank: number of this process, from 0.
        size: number of processes.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    @property
    def leads(self) -> bool:
        """True for the first process, which alone prints, records and writes files."""
        return self.rank == 0

    @property
    def own(self) -> slice:
        """The slice of split rows that this process owns."""
        return slice(self.rank, None, self.size)

    def owns(self, rows: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
        """Return which of `rows` this process owns; row r is its row `r // size`."""
        owned: NDArray[np.bool_] = rows % self.size == self.rank
        return owned

    def sum_(self, *tensors: Tensor) -> None:
        """Replace each tensor by its sum over the processes, which is the same on all of them to the last bit."""

    def agree(self, answer: bool) -> bool:
        """Return the first process's answer on every process."""
        return answer

    def share(self, compute: Callable[[], Arrays]) -> Arrays:
        """Run `compute` on the first process, while the others wait, and return its result on every process."""
        return compute()

    def gather_rows(self, own_n: Tensor, num_rows: int) -> Tensor:
        """Return all of `num_rows` split rows in order on the first process, and no rows on the others."""
        return own_n

    def barrier(self) -> None:
        """Wait until all processes have called this."""


ALONE = World()


@dataclass(frozen=True, slots=True)
class Mesh:
    """The split of a batch over processes: by its texts (data parallelism), and by its labels.

    Processes that share the labels learn the same parameters from different texts. Processes that share the texts own
    different classifiers, so that each needs a part of the memory.

    Attributes:
        texts: the processes over which the texts are split.
        labels: the processes over which the labels are split.
    """

    texts: World = ALONE
    labels: World = ALONE

    def own_texts_first(self, rows_B: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
        """Reorder the texts of a batch so that this process's come first; return them and the number of its own."""
        if self.texts.size == 1:
            return rows_B, len(rows_B)
        own = self.texts.owns(np.arange(len(rows_B)))
        return np.concatenate([rows_B[own], rows_B[~own]]), int(own.sum())

    def own_pairs(self, sample: LabelSample) -> LabelSample:
        """Restrict a batch to this process's labels, as rows of its classifiers, and to the pairs of its texts."""
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
