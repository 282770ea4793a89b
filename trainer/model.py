"""Astec's encoder and classifiers (paper, section 4), and the optimiser whose cost follows the batch.

Shapes: B texts, T tokens of all of them, D dimensions, V vocabulary, L labels, U distinct rows used by a batch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8


class RowTable:
    """A table of which a step uses a few rows: time and memory of a step follow the rows, not the table.

    `gather` hands the rows out as a leaf tensor; once it has a gradient, `step` applies Adam to those rows only, with
    moments that stand still while a row is not used (as `torch.optim.SparseAdam`, without its sort of every gradient).

    Args:
        weight: the table, [n, D]; updated in place.
    """

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight
        self._mean = torch.zeros_like(weight)
        self._square = torch.zeros_like(weight)
        self._steps = 0
        self._used: tuple[Tensor, Tensor] | None = None

    def gather(self, rows_U: Tensor) -> Tensor:
        """The distinct rows `rows_U` as a leaf [U, D] that wants a gradient."""
        leaf = self.weight[rows_U].requires_grad_()
        self._used = (rows_U, leaf)
        return leaf

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """One Adam step on the rows last gathered."""
        rows_U, leaf = self._used or (None, None)
        gradient = leaf.grad if leaf is not None else None
        if rows_U is None or leaf is None or gradient is None:
            raise RuntimeError("step() needs a gather() whose rows have a gradient")
        self._used = None
        self._steps += 1
        mean = self._mean[rows_U].lerp_(gradient, 1 - _BETA1)
        square = self._square[rows_U].mul_(_BETA2).addcmul_(gradient, gradient, value=1 - _BETA2)
        self._mean[rows_U], self._square[rows_U] = mean, square
        rate = learning_rate * (1 - _BETA2**self._steps) ** 0.5 / (1 - _BETA1**self._steps)
        self.weight[rows_U] = leaf.addcdiv_(mean, square.sqrt_().add_(_EPSILON), value=-rate)


class Residual(nn.Module):
    """ReLU(R v) with the spectral norm of R at most lambda, by power iteration (paper, section 4, Module III)."""

    def __init__(self, dim: int, bound: float, generator: torch.Generator) -> None:
        super().__init__()
        self.bound = bound
        self.weight = nn.Parameter(torch.eye(dim))
        start = functional.normalize(torch.randn(dim, generator=generator), dim=0)
        self.left: Tensor
        self.register_buffer("left", start, persistent=False)

    def forward(self, v_BD: Tensor) -> Tensor:
        """ReLU(R v), [B, D]."""
        return torch.relu(v_BD @ self.bounded().T)

    def bounded(self) -> Tensor:
        """R [D, D], scaled down where its estimated spectral norm exceeds the bound."""
        with torch.no_grad():
            right = functional.normalize(self.weight.T @ self.left, dim=0)
            self.left.copy_(functional.normalize(self.weight @ right, dim=0))
        norm: Tensor = torch.dot(self.left, self.weight @ right)
        bounded_DD: Tensor = self.weight * (self.bound / norm.clamp(min=self.bound))
        return bounded_DD

    @torch.no_grad()
    def exact(self) -> Tensor:
        """R [D, D] with its spectral norm, computed exactly, at most the bound: what is exported."""
        weight_DD = self.weight.double()
        norm: Tensor = torch.linalg.matrix_norm(weight_DD, ord=2)
        return (weight_DD * (self.bound / norm.clamp(min=self.bound))).float()


def embed(embeddings_UD: Tensor, ids_T: Tensor, weights_T: Tensor, starts_B: Tensor) -> Tensor:
    """v = ReLU(sum_t x_t e_t), [B, D]; a text without tokens gives zeros."""
    return functional.relu(
        functional.embedding_bag(ids_T, embeddings_UD, starts_B, mode="sum", per_sample_weights=weights_T)
    )


class Classifier:
    """1-vs-all classifiers w_l with bias b_l, of which a step touches the rows of its labels.

    Args:
        num_labels: L.
        dim: D.
        prior: expected share of positive labels, which the bias starts from, so that no step is spent on learning it.
        generator: source of the Xavier initialisation (paper, A.1).
        device: where the tables live.
    """

    def __init__(
        self, num_labels: int, dim: int, prior: float, generator: torch.Generator, device: torch.device
    ) -> None:
        weight = torch.empty(num_labels, dim)
        nn.init.xavier_uniform_(weight, generator=generator)
        self.weights = RowTable(weight.to(device))
        bias = torch.full((num_labels, 1), float(torch.logit(torch.tensor(prior), eps=1e-6)))
        self.biases = RowTable(bias.to(device))

    def logits(self, x_BD: Tensor, labels_U: Tensor) -> Tensor:
        """w_l . x + b_l for the labels `labels_U`, [B, U]."""
        return torch.addmm(self.biases.gather(labels_U).T, x_BD, self.weights.gather(labels_U).T)

    def step(self, learning_rate: float) -> None:
        """One Adam step on the rows of the last `logits`."""
        self.weights.step(learning_rate)
        self.biases.step(learning_rate)


def one_vs_all_loss(logits_BU: Tensor, positive_rows_P: Tensor, positive_columns_P: Tensor) -> Tensor:
    """Mean over the batch of sum_l log(1 + exp(-y_l w_l . x)), the paper's equation (1), scalar.

    Args:
        logits_BU: a logit for each text and label.
        positive_rows_P: text of each positive pair.
        positive_columns_P: its column in `logits_BU`.
    """
    positives = logits_BU[positive_rows_P, positive_columns_P].sum()
    return (functional.softplus(logits_BU).sum() - positives) / len(logits_BU)


def descend(loss: Tensor, optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Back-propagate, and let `optimizer` take one step at `rate`."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
