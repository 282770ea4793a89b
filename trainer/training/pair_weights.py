"""The weights of the positive pairs of texts and labels in a loss.

A text weighs as much as its heaviest pair, and a lighter pair is partly negative: a label with a third of the clicks of
the text's best label is learnt as right in one of three views of the text. So the loss of weight 1 for all pairs is the
paper's.

Shapes: N texts, L labels, B texts of a batch, P positive pairs of all texts, p of a batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor

from astec.export.artifact.kernels.ragged import take_rows


class BatchWeights(NamedTuple):
    """The weights of the positive pairs [p] and of the texts [B] of a batch, float32."""

    pairs: Tensor
    texts: Tensor


@dataclass(frozen=True, slots=True)
class PairWeights:
    """The weights of all pairs, text by text.

    Shapes: `indptr` int64 [N + 1]; `pairs` float32 [P]; `texts` float32 [N].
    """

    indptr: NDArray[np.int64]
    pairs: NDArray[np.float32]
    texts: NDArray[np.float32]

    @classmethod
    def of(cls, labels_NL: csr_matrix, texts_N: NDArray[np.float32] | None = None) -> Self | None:
        """Return the weights that are the entries of a matrix; None where all are 1.

        Args:
            labels_NL: the weights of the pairs.
            texts_N: the weights of the texts, by default those of their heaviest pairs.
        """
        texts_N = text_weights(labels_NL) if texts_N is None else texts_N
        if np.all(labels_NL.data == 1) and np.all(texts_N == 1):
            return None
        return cls(labels_NL.indptr.astype(np.int64), labels_NL.data.astype(np.float32, copy=False), texts_N)

    def take(self, rows_B: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the weights of the pairs of some texts, text by text [p], and of these texts [B]."""
        positions, _ = take_rows(self.indptr, rows_B)
        return self.pairs[positions], self.texts[rows_B]


def text_weights(labels_NL: csr_matrix) -> NDArray[np.float32]:
    """Return the weight of each text, that of its heaviest pair, float32 [N]; 1 for a text without a label."""
    weights_N = np.ones(labels_NL.shape[0], np.float32)
    labelled = np.flatnonzero(np.diff(labels_NL.indptr))
    if len(labelled):
        weights_N[labelled] = np.maximum.reduceat(labels_NL.data, labels_NL.indptr[labelled])
    return weights_N
