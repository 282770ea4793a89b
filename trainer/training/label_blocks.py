"""One step of the classifiers on the CPU, a block of labels after the other.

A step over thousands of labels takes longer to read and write its arrays than to multiply them. So logits, gradients
and Adam's step of a block follow each other while its arrays are in the cache, each in one pass.

Shapes: B texts, D dimensions, L labels, U distinct labels of a batch, C of a block, P positive pairs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from astec.trainer.numerics.bfloat16 import as_array
from astec.trainer.numerics.label_block import gather_rows, to_gradients
from astec.trainer.training.layers import Classifier
from astec.trainer.training.pair_weights import BatchWeights

_LABELS_AT_ONCE = 4096


class LabelPairs(NamedTuple):
    """The labels of a batch and its positive pairs, as `TaskBatch` has them."""

    labels: Tensor | None
    rows: Tensor
    columns: Tensor
    weights: BatchWeights | None


@torch.no_grad()
def step_labels(
    classifier: Classifier, x_BD: Tensor, pairs: LabelPairs, num_texts: int, rate: float
) -> tuple[Tensor, Tensor]:
    """Take one step of Adam on the classifiers of a batch's labels, as by the gradient of `one_vs_all_loss`.

    Args:
        classifier: on the CPU.
        x_BD: the final representations of the texts.
        pairs: labels and positive pairs.
        num_texts: texts of the whole batch, over which the loss is a mean.
        rate: the learning rate.

    Returns:
        The loss, a scalar, and its gradient with respect to `x_BD`, float32 [B, D].
    """
    x_BD = x_BD.detach().to(classifier.dtype)
    weights, biases = classifier.weights, classifier.biases
    rows_U = torch.arange(len(weights.weight)) if pairs.labels is None else pairs.labels
    step_weights, step_biases = weights.begin_step(rate), biases.begin_step(rate)
    weights_B, positives = _weigh(pairs, len(x_BD), len(rows_U), num_texts)
    gradient_BD = torch.zeros(x_BD.shape)
    losses_U = np.empty(len(rows_U), np.float32)
    for begin in range(0, len(rows_U), _LABELS_AT_ONCE):
        block = slice(begin, begin + _LABELS_AT_ONCE)
        rows_C = rows_U[block]
        weight_CD = torch.empty(len(rows_C), x_BD.shape[1], dtype=classifier.dtype)
        gather_rows(weights.weight.numpy(), rows_C.numpy(), as_array(weight_CD))
        logits_CB, bias_C1 = weight_CD @ x_BD.T, biases.weight[rows_C]
        bounds, texts_p, weights_p = positives.of(block)
        bias_gradient_C1 = torch.empty_like(bias_C1)
        to_gradients(
            as_array(logits_CB),
            bias_C1.numpy().ravel(),
            weights_B,
            bounds,
            texts_p,
            weights_p,
            losses_U[block],
            bias_gradient_C1.numpy().ravel(),
        )
        gradient_BD += logits_CB.T @ weight_CD
        step_weights(rows_C, logits_CB @ x_BD)
        step_biases(rows_C, bias_gradient_C1)
    return torch.tensor(losses_U.sum(dtype=np.float64), dtype=torch.float32), gradient_BD


class _Positives(NamedTuple):
    """The positive pairs of a batch, label by label, and where those of each label begin and end, [U + 1]."""

    bounds: NDArray[np.int64]
    texts: NDArray[np.int64]
    weights: NDArray[np.float32]

    def of(self, block: slice) -> _Positives:
        """Return the pairs of a block of labels."""
        bounds = self.bounds[block.start : block.stop + 1]
        some = slice(bounds[0], bounds[-1])
        return _Positives(bounds - bounds[0], self.texts[some], self.weights[some])


def _weigh(
    pairs: LabelPairs, num_own_texts: int, num_labels: int, num_texts: int
) -> tuple[NDArray[np.float32], _Positives]:
    """Return what each text, [B], and each positive pair counts in the mean loss."""
    columns_P = pairs.columns.numpy()
    order_P = np.argsort(columns_P, kind="stable")
    bounds = np.searchsorted(columns_P[order_P], np.arange(num_labels + 1))
    if pairs.weights is None:
        weights_P, weights_B = np.ones(len(columns_P), np.float32), np.ones(num_own_texts, np.float32)
    else:
        weights_P, weights_B = pairs.weights.pairs.numpy(), pairs.weights.texts.numpy()
    share = np.float32(1 / num_texts)
    return share * weights_B, _Positives(bounds, pairs.rows.numpy()[order_P], share * weights_P[order_P])
