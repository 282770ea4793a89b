"""The processes that train together: here a single process; `astec.trainer.parallel.distributed` has several.

Shapes: n rows, B texts of a batch, U labels of a batch, P positive pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # torch takes seconds to load, too long for --help
    from torch import Tensor

Arrays = dict[str, NDArray[Any]]
BLOCK_BYTES = 1 << 26
"""The most bytes of split rows that a process holds besides its own, while the first process reads or writes them."""
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

    def gather_rows(self, own_n: Tensor, num_rows: int, take: Callable[[Tensor], object]) -> None:
        """Pass all of `num_rows` split rows to `take` on the first process, in order, in blocks in main memory.

        Args:
            own_n: the rows of this process.
            num_rows: of all processes together.
            take: is called on the first process only; a block is valid until it returns.
        """
        for rows in self._blocks(num_rows, own_n):
            take(own_n[rows].cpu())

    def scatter_rows(self, all_n: NDArray[Any] | None, own_n: Tensor) -> None:
        """Copy this process's rows into `own_n`, out of all rows, which only the first process has."""
        if all_n is not None:
            for rows in self._blocks(len(all_n), own_n):
                own_n[rows] = own_n.new_tensor(all_n[rows])

    def barrier(self) -> None:
        """Wait until all processes have called this."""

    def apart(self) -> World:
        """Return the same processes with messages of their own, which another thread may exchange at the same time.

        All processes call this at the same point.
        """
        return self

    def _blocks(self, num_rows: int, own_n: Tensor) -> Iterator[slice]:
        """Split rows into blocks that fit into `BLOCK_BYTES` and begin with a row of the first process."""
        row_bytes = own_n[:1].numel() * own_n.element_size() or own_n.element_size()
        step = max(1, BLOCK_BYTES // (row_bytes * self.size)) * self.size
        return (slice(begin, min(begin + step, num_rows)) for begin in range(0, num_rows, step))


ALONE = World()


@dataclass(frozen=True, slots=True)
class SplitRows:
    """An array [n, ...] of which each process holds the rows that it owns.

    Attributes:
        own: the rows of this process.
        num_rows: n.
        owners: the processes.
    """

    own: Tensor
    num_rows: int
    owners: World

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the whole array."""
        return (self.num_rows, *self.own.shape[1:])

    def gather(self, take: Callable[[Tensor], object]) -> None:
        """Pass all rows to `take` on the first process, block by block; all processes call this."""
        self.owners.gather_rows(self.own, self.num_rows, take)

    def fill(self, all_n: NDArray[Any] | None) -> None:
        """Copy the rows of each process into `own`, out of the array of the first process; all processes call this."""
        self.owners.scatter_rows(all_n, self.own)


SplitArrays = Mapping[str, NDArray[Any] | SplitRows]
"""Arrays of which every process has the same, or its own rows."""


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

    def owns_pairs(self, sample: LabelSample) -> NDArray[np.bool_]:
        """Return which positive pairs of a batch `own_pairs` keeps, [P]."""
        labels_U, rows_P, columns_P = sample
        labels_P = columns_P if labels_U is None else labels_U[columns_P]
        return self.texts.owns(rows_P) & self.labels.owns(labels_P)

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
