"""Featurised texts, with and without their labels.

Shapes: N texts, L labels, V features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from astec.export.artifact.text.bags import Bags
from astec.export.artifact.text.words import Sequences


@dataclass(frozen=True, slots=True)
class Texts:
    """Featurised texts.

    Attributes:
        bags: the weighted features of each text.
        sequences: the words or pieces of each text in their order; None unless the encoder reads them.
    """

    bags: Bags
    sequences: Sequences | None = None

    def __len__(self) -> int:
        return len(self.bags)

    def take(self, rows: NDArray[np.int64]) -> Texts:
        """Return the texts `rows`, in that order."""
        return Texts(self.bags.take(rows), None if self.sequences is None else self.sequences.take(rows))


@dataclass(frozen=True, slots=True)
class Examples:
    """Featurised texts and their labels.

    Attributes:
        bags: the weighted features of each text.
        labels: sparse [N, L], with sorted indices; the entries are the weights of the pairs, 1 each without clicks.
        sequences: the words or pieces of each text in their order; None unless the encoder reads them.
    """

    bags: Bags
    labels: csr_matrix
    sequences: Sequences | None = None

    def __len__(self) -> int:
        return len(self.bags)

    @property
    def texts(self) -> Texts:
        """The texts without their labels."""
        return Texts(self.bags, self.sequences)

    def label_counts(self) -> NDArray[np.int64]:
        """Count the texts that carry each label, int64 [L]."""
        return np.bincount(self.labels.indices, minlength=self.labels.shape[1])

    def take(self, rows: NDArray[np.int64]) -> Examples:
        """Return the examples `rows`, in that order."""
        texts = self.texts.take(rows)
        return Examples(texts.bags, self.labels[rows], texts.sequences)

    def features(self, num_features: int) -> csr_matrix:
        """Return the bags as a sparse matrix [N, V]."""
        shape = (len(self.bags), num_features)
        return csr_matrix((self.bags.weights, self.bags.ids, self.bags.offsets), shape=shape)
