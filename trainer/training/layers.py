"""Astec's residual and classifiers (paper, section 4).

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

_INITIAL_ROWS = 1 << 16


class Residual:
    """ReLU(R v) with the spectral norm of R at most lambda, by power iteration (paper, section 4, Module III)."""

    def __init__(self, dim: int, bound: float, generator: torch.Generator, device: torch.device) -> None:
        self.bound = bound
        self.table = RowTable(torch.eye(dim, device=device))
        self.left = functional.normalize(torch.randn(dim, generator=generator), dim=0).to(device)

    def __call__(self, v_BD: Tensor) -> Tensor:
        """ReLU(R v), [B, D]."""
        return torch.relu(v_BD @ self.bounded().T)

    def bounded(self) -> Tensor:
        """R [D, D], scaled down where its estimated spectral norm exceeds the bound."""
        weight_DD = self.table.gather(None)
        with torch.no_grad():
            right = functional.normalize(weight_DD.T @ self.left, dim=0)
            self.left.copy_(functional.normalize(weight_DD @ right, dim=0))
        norm: Tensor = torch.dot(self.left, weight_DD @ right)
        bounded_DD: Tensor = weight_DD * (self.bound / norm.clamp(min=self.bound))
        return bounded_DD

    @torch.no_grad()
    def exact(self) -> Tensor:
        """R [D, D] with its spectral norm, computed exactly, at most the bound: what is exported."""
        weight_DD = self.table.weight.double()
        norm: Tensor = torch.linalg.matrix_norm(weight_DD, ord=2)
        return (weight_DD * (self.bound / norm.clamp(min=self.bound))).float()

    def step(self, learning_rate: float) -> None:
        """One Adam step on R."""
        self.table.step(learning_rate)


class Classifier:
    """1-vs-all classifiers w_l with bias b_l, of which a step touches the rows of its labels.

    Args:
        num_labels: L.
        dim: D.
        prior: expected share of positive labels, which the bias starts from, so that no step is spent on learning it.
        generator: source of the Xavier initialisation (paper, A.1).
        device: where the tables live.
        dtype: of matrix products and logits; loss and parameters stay float32.
        owners: the processes that the labels are split over; memory is that of this one's labels, which then are
            known by their rows here.
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
        self._dtype = dtype
        weight = _xavier_uniform(num_labels, dim, owners, generator)
        self.weights = RowTable(weight.to(device))
        bias = torch.full((len(weight), 1), float(torch.logit(torch.tensor(prior), eps=1e-6)))
        self.biases = RowTable(bias.to(device))
        self.tables = {"classifier": self.weights, "bias": self.biases}

    def logits(self, x_BD: Tensor, labels_U: Tensor | None) -> Tensor:
        """w_l . x + b_l for the labels `labels_U`, or all, [B, U]."""
        bias_U1, weight_UD = self.biases.gather(labels_U), self.weights.gather(labels_U)
        factors = (x_BD, weight_UD, bias_U1.squeeze(1))
        return functional.linear(*(factor.to(self._dtype) for factor in factors))

    def step(self, learning_rate: float) -> None:
        """One Adam step on the rows of the last `logits`."""
        self.weights.step(learning_rate)
        self.biases.step(learning_rate)


def _xavier_uniform(num_rows: int, dim: int, owners: World, generator: torch.Generator) -> Tensor:
    """Own rows of a table that `torch.nn.init.xavier_uniform_` fills, never holding many more."""
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
    logits_BU: Tensor, positive_rows_P: Tensor, positive_columns_P: Tensor, num_texts: int | None = None
) -> Tensor:
    """Mean over the batch of sum_l log(1 + exp(-y_l w_l . x)), the paper's equation (1), scalar.

    Args:
        logits_BU: a logit for each text and label.
        positive_rows_P: text of each positive pair; no pair comes twice.
        positive_columns_P: its column in `logits_BU`.
        num_texts: of the batch, where `logits_BU` is a part of it: the loss is then that part of the mean.
    """
    losses: Tensor = _OneVsAllLoss.apply(logits_BU, positive_rows_P, positive_columns_P)  # type: ignore[no-untyped-call]
    return losses / (len(logits_BU) if num_texts is None else num_texts)


class _OneVsAllLoss(torch.autograd.Function):
    """The sum of losses with its gradient sigmoid(z) - y written once: B x U is the largest array of a step by far."""

    @staticmethod
    def forward(ctx: FunctionCtx, logits_BU: Tensor, rows_P: Tensor, columns_P: Tensor) -> Tensor:
        ctx.save_for_backward(logits_BU, rows_P, columns_P)
        wide = torch.promote_types(logits_BU.dtype, torch.float32)
        positives = logits_BU[rows_P, columns_P].sum(dtype=wide)
        return functional.softplus(logits_BU).sum(dtype=wide) - positives

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401 - torch's own type lacks it
        logits_BU, rows_P, columns_P = ctx.saved_tensors
        gradient_BU = torch.sigmoid(logits_BU)
        gradient_BU[rows_P, columns_P] -= 1
        return gradient_BU.mul_(gradient), None, None
