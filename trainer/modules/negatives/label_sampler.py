"""The labels that a batch is trained on: positives, hard negatives and random negatives (paper, section 4).

Shapes: N training texts, L labels, S negatives of a text, B texts of a batch, U distinct labels of a batch.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from astec.trainer.settings.config import ShortlistSection
from astec.trainer.training.pair_weights import PairWeights

# The labels of a batch are filled up to a multiple with further random negatives: torch keeps a kernel for every shape
# of a product, so that there should be few shapes, not one for each batch.
LABELS_MULTIPLE = 512


class LabelSampler:
    """Samples the labels that a batch is trained on: its positives, and some of its hard and of random negatives.

    Every text is scored against the labels of the whole batch: one matrix product serves the batch, and each text gets
    the labels of the other texts as further negatives at no cost. A batch whose texts have more distinct negatives than
    fit takes a part of each text's, others in every batch.

    Args:
        labels_NL: the positive pairs, and their weights.
        negatives_NS: hard negatives of each text, -1 where it has fewer.
        settings: numbers of random negatives of a text and of labels of a batch.
        seed: of the random numbers.
    """

    def __init__(
        self, labels_NL: csr_matrix, negatives_NS: NDArray[np.int32], settings: ShortlistSection, seed: int
    ) -> None:
        self._indptr = labels_NL.indptr.astype(np.int64)
        self._indices = labels_NL.indices.astype(np.int32, copy=False)
        self._negatives_NS = negatives_NS
        self._settings, self._seed = settings, seed
        num_texts, self.num_labels = labels_NL.shape
        self.prior = labels_NL.nnz / (num_texts * self.num_labels)
        self.weights = PairWeights.of(labels_NL)
        self._columns = np.full(self.num_labels, -1, np.int64)

    def begin(self, epoch: int) -> None:
        """Do nothing: the negatives are the same in every epoch."""

    def sample(
        self, rows_B: NDArray[np.int64], step: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return the labels of a batch of texts; the same step draws the same random numbers.

        Returns:
            Distinct labels int64 [U], and for each positive pair its text in the batch and its column in these labels.
        """
        generator, settings = np.random.default_rng((self._seed, step)), self._settings
        num_hard, most = self._negatives_NS.shape[1], settings.labels_per_batch
        random, ranks_S = draw_for_batch(len(rows_B), num_hard, self.num_labels, settings, generator)
        sources = self._indptr, self._indices, self._negatives_NS
        return _collect(rows_B, *sources, ranks_S, random, most, self._columns, LABELS_MULTIPLE, generator)


def draw_for_batch(
    num_texts: int, num_hard: int, num_labels: int, settings: ShortlistSection, generator: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw the random negatives of a batch, and the order in which the ranks of hard negatives are taken, int64 [S].

    Of a batch that has no place for all negatives, the random ones get the same share as of one that has.
    """
    num_random, most = settings.num_random_negatives, settings.labels_per_batch
    share = min(num_random * num_texts, most * num_random // max(num_hard + num_random, 1))
    return generator.integers(0, num_labels, share), generator.permutation(num_hard)


@njit(cache=True, nogil=True)
def _collect(
    rows_B: NDArray[np.int64],
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    negatives_NS: NDArray[np.int32],
    ranks_S: NDArray[np.int64],
    random: NDArray[np.int64],
    most: int,
    columns: NDArray[np.int64],
    multiple: int,
    generator: np.random.Generator,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Collect a batch's labels for `LabelSampler.sample`; `columns` [L] is scratch space, all -1 before and after."""
    num_positives = 0
    for row in rows_B:
        num_positives += indptr[row + 1] - indptr[row]
    labels = np.empty(min(num_positives + most + multiple, len(columns)), np.int64)
    positive_rows, positive_columns = np.empty(num_positives, np.int64), np.empty(num_positives, np.int64)
    size, positive = 0, 0
    for position in range(len(rows_B)):
        row = rows_B[position]
        for i in range(indptr[row], indptr[row + 1]):
            size = _add(indices[i], columns, labels, size)
            positive_rows[positive], positive_columns[positive] = position, columns[indices[i]]
            positive += 1
    for label in random:
        if size < most:
            size = _add(label, columns, labels, size)
    for rank in ranks_S:  # rank by rank, so that each text brings as many as the others
        if size >= most:
            break
        for row in rows_B:
            label = negatives_NS[row, rank]
            if label >= 0 and size < most:
                size = _add(label, columns, labels, size)
    while size % multiple and size < len(columns):
        size = _add(int(generator.integers(0, len(columns))), columns, labels, size)
    for i in range(size):
        columns[labels[i]] = -1
    return labels[:size].copy(), positive_rows, positive_columns


@njit(cache=True, nogil=True, inline="always")
def _add(label: int, columns: NDArray[np.int64], labels: NDArray[np.int64], size: int) -> int:
    if columns[label] >= 0:
        return size
    columns[label] = size
    labels[size] = label
    return size + 1
