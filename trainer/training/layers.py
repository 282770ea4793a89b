"""Astec's residual and classifiers, and their loss (paper, section 4).

Shapes: B texts, T tokens of all of them, D dimensions, V vocabulary, L labels, U distinct rows used by a batch.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.nn import functional

from astec.trainer.numerics.row_table import RowTable
from astec.trainer.parallel.world import ALONE, World
from astec.trainer.training.pair_weights import BatchWeights

_INITIAL_ROWS = 1 << 16


class Residual:
    """The layer ReLU(R v); power iteration bounds the spectral norm of R by lambda (paper, section 4, Module III)."""

    def __init__(self, dim: int, bound: float, generator: torch.Generator, device: torch.device) -> None:
        self.bound = bound
        self.table = RowTable(torch.eye(dim, device=device))
        self.left = functional.normalize(torch.randn(dim, generator=generator), dim=0).to(device)

    def __call__(self, v_BD: Tensor) -> Tensor:
        """Return ReLU(R v), [B, D]."""
        return torch.relu(v_BD @ self.bounded().T)

    def bounded(self) -> Tensor:
        """Return R [D, D], scaled down where its estimated spectral norm exceeds the bound."""
        weight_DD = self.table.gather(None)
        with torch.no_grad():
            right = functional.normalize(weight_DD.T @ self.left, dim=0)
            self.left.copy_(functional.normalize(weight_DD @ right, dim=0))
        norm: Tensor = torch.dot(self.left, weight_DD @ right)
        bounded_DD: Tensor = weight_DD * (self.bound / norm.clamp(min=self.bound))
        return bounded_DD

    @torch.no_grad()
    def exact(self) -> Tensor:
        """Return R [D, D] for export: its spectral norm, computed exactly, is at most the bound."""
        weight_DD = self.table.weight.double()
        norm: Tensor = torch.linalg.matrix_norm(weight_DD, ord=2)
        return (weight_DD * (self.bound / norm.clamp(min=self.bound))).float()

    def step(self, learning_rate: float) -> None:
        """Take one Adam step on R."""
        self.table.step(learning_rate)


class Classifier:
    """1-vs-all classifiers w_l with bias b_l; a step updates only the rows of its labels.

    Args:
        num_labels: L.
        dim: D.
        prior: expected share of positive labels; the bias starts from it, so that no step is spent on learning it.
        generator: source of the Xavier initialisation (paper, A.1).
        device: where the tables live.
        dtype: of matrix products and logits; loss and parameters stay float32.
        owners: the processes that the labels are split over. This process stores the rows of its own labels only, and
            `labels_U` of `logits` are then the numbers of these rows.
    """

    def __init__(
        self,
        num_labels: int,
        dim: int,
        prior: float,
        generator: torch.Generator,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        owners: World = ALONE,
    ) -> None:
        self.dtype = dtype
        weight = _xavier_uniform(num_labels, dim, owners, generator)
        self.weights = RowTable(weight.to(device))
        bias = torch.full((len(weight), 1), float(torch.logit(torch.tensor(prior), eps=1e-6)))
        self.biases = RowTable(bias.to(device))
        self.tables = {"classifier": self.weights, "bias": self.biases}

    def logits(self, x_BD: Tensor, labels_U: Tensor | None) -> Tensor:
        """Return w_l . x + b_l for the labels `labels_U`, or for all if None, [B, U]."""
        bias_U1, weight_UD = self.biases.gather(labels_U), self.weights.gather(labels_U)
        factors = (x_BD, weight_UD, bias_U1.squeeze(1))
        return functional.linear(*(factor.to(self.dtype) for factor in factors))

    def step(self, learning_rate: float) -> None:
        """Take one Adam step on the rows that the last call of `logits` used."""
        self.weights.step(learning_rate)
        self.biases.step(learning_rate)


def _xavier_uniform(num_rows: int, dim: int, owners: World, generator: torch.Generator) -> Tensor:
    """Return this process's rows of the table that `torch.nn.init.xavier_uniform_` makes, in little more memory."""
    bound = math.sqrt(3) * math.sqrt(2 / (num_rows + dim))
    own = torch.empty(len(range(num_rows)[owners.own]), dim)
    filled = 0
    for begin in range(0, num_rows, _INITIAL_ROWS):
        rows = torch.empty(min(_INITIAL_ROWS, num_rows - begin), dim).uniform_(-bound, bound, generator=generator)
        owned = rows[torch.from_numpy(owners.owns(np.arange(begin, begin + len(rows))))]
        own[filled : filled + len(owned)] = owned
        filled += len(owned)
    return own


def one_vs_all_loss(
    logits_BU: Tensor,
    positive_rows_P: Tensor,
    positive_columns_P: Tensor,
    num_texts: int | None = None,
    weights: BatchWeights | None = None,
) -> Tensor:
    """Return the mean over the batch of sum_l log(1 + exp(-y_l w_l . x)), the paper's equation (1), a scalar.

    Args:
        logits_BU: a logit for each text and label.
        positive_rows_P: the text of each positive pair; no pair comes twice.
        positive_columns_P: the column in `logits_BU` of each positive pair.
        num_texts: texts of the whole batch, if `logits_BU` has only some of them: the loss is then their part of the
            mean. None: the texts of `logits_BU`.
        weights: of pairs and texts. A pair that weighs less than its text is right in that share of the text's weight,
            and wrong in the rest. None: all are 1.
    """
    pairs = (positive_rows_P, positive_columns_P)
    losses: Tensor = _OneVsAllLoss.apply(logits_BU, *pairs, *(weights or (None, None)))  # type: ignore[no-untyped-call]
    return losses / (len(logits_BU) if num_texts is None else num_texts)


class _OneVsAllLoss(torch.autograd.Function):
    """Sums the losses, and writes their gradient once: B x U is by far the largest array of a step.

    A text of weight m with a pair of weight w has the loss m log(1 + exp(z)) - w z, and the gradient m sigmoid(z) - w.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        logits_BU: Tensor,
        rows_P: Tensor,
        columns_P: Tensor,
        weights_P: Tensor | None,
        weights_B: Tensor | None,
    ) -> Tensor:
        weights = [tensor for tensor in (weights_P, weights_B) if tensor is not None]
        ctx.save_for_backward(logits_BU, rows_P, columns_P, *weights)
        wide = torch.promote_types(logits_BU.dtype, torch.float32)
        positives_P, losses_BU = logits_BU[rows_P, columns_P], functional.softplus(logits_BU)
        if weights_P is None or weights_B is None:
            return losses_BU.sum(dtype=wide) - positives_P.sum(dtype=wide)
        return losses_BU.sum(dim=1, dtype=wide) @ weights_B.to(wide) - positives_P.to(wide) @ weights_P.to(wide)

    @staticmethod
    def backward(
        ctx: Any,  # noqa: ANN401 - torch's own type lacks it
        gradient: Tensor,
    ) -> tuple[Tensor, None, None, None, None]:
        logits_BU, rows_P, columns_P, *weights = ctx.saved_tensors
        gradient_BU = torch.sigmoid(logits_BU)
        if weights:
            weights_P, weights_B = (tensor.to(gradient_BU.dtype) for tensor in weights)
            gradient_BU *= weights_B[:, None]
            gradient_BU[rows_P, columns_P] -= weights_P
        else:
            gradient_BU[rows_P, columns_P] -= 1
        return gradient_BU.mul_(gradient), None, None, None, None
