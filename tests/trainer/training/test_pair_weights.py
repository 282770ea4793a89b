"""Weights of pairs in the loss: a text of weight 3 counts as three rows of it.

Shapes: B texts, L labels.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import csr_matrix

from astec.trainer.training.layers import one_vs_all_loss
from astec.trainer.training.pair_weights import BatchWeights, PairWeights, text_weights

LABELS_BL = csr_matrix(np.array([[3, 1, 0, 0], [0, 0, 0, 0], [0, 2, 2, 0]], np.float32))
ROWS_BL = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0]])
"""The rows that the weights stand for, one for each click."""
TEXT_OF_ROW = [0, 0, 0, 1, 2, 2]


def weighted_loss(logits_BL: torch.Tensor) -> torch.Tensor:
    weights = PairWeights.of(LABELS_BL)
    assert weights is not None
    pairs, texts = weights.take(np.arange(3))
    rows, columns = (torch.from_numpy(axis.astype(np.int64)) for axis in LABELS_BL.nonzero())
    batch = BatchWeights(torch.from_numpy(pairs), torch.from_numpy(texts))
    return one_vs_all_loss(logits_BL, rows, columns, 1, batch)


def loss_of_rows(logits_BL: torch.Tensor) -> torch.Tensor:
    rows, columns = torch.from_numpy(ROWS_BL).nonzero(as_tuple=True)
    return one_vs_all_loss(logits_BL[TEXT_OF_ROW], rows, columns, 1)


def test_the_loss_and_its_gradient_are_those_of_a_row_for_each_click() -> None:
    logits_BL = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    torch.testing.assert_close(weighted_loss(logits_BL), loss_of_rows(logits_BL))
    (found,), (expected,) = (
        torch.autograd.grad(5 * loss(logits_BL), logits_BL) for loss in (weighted_loss, loss_of_rows)
    )
    torch.testing.assert_close(found, expected)


def test_weights_of_one_are_none() -> None:
    assert PairWeights.of(csr_matrix(np.eye(3, dtype=np.float32))) is None
    assert PairWeights.of(csr_matrix(np.eye(3, dtype=np.float32)), np.array([1, 2, 1], np.float32)) is not None


def test_weights_are_taken_text_by_text() -> None:
    weights = PairWeights.of(LABELS_BL)
    assert weights is not None
    pairs, texts = weights.take(np.array([2, 1, 0]))
    assert pairs.tolist() == [2, 2, 3, 1]
    assert texts.tolist() == [2, 1, 3]
    assert text_weights(LABELS_BL).tolist() == [3, 1, 2]
