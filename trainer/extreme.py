"""Modules III and IV: residual R and 1-vs-all classifiers W, trained jointly on shortlists (paper, section 4).

Shapes: N texts, B texts of a batch, D dimensions, L labels, S negatives of a text, U labels of a batch, P positive
pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor
from torch.nn import functional

from trainer.config import ModelSection, TrainerConfig
from trainer.loop import Loop, Schedule
from trainer.model import Classifier, Residual, descend, one_vs_all_loss
from trainer.run import Run
from trainer.sampling import LabelSampler
from trainer.tensors import product_dtype, to_device


@dataclass(frozen=True, slots=True)
class ExtremeModel:
    """What Modules III and IV leave: R [D, D] within its bound, classifiers [L, D] and their bias [L]."""

    residual: Tensor
    classifier: Tensor
    bias: Tensor

    @torch.no_grad()
    def transform(self, v_BD: Tensor) -> Tensor:
        """x-hat = v + ReLU(R v), the final representation [B, D]."""
        return v_BD + functional.relu(v_BD @ self.residual.T)


@dataclass(frozen=True, slots=True)
class ExtremeBatch:
    """A batch: `v` [B, D], `labels` [U], and text and column of each positive pair, `rows` and `columns` [P]."""

    v: Tensor
    labels: Tensor
    rows: Tensor
    columns: Tensor


class ExtremeTask:
    """Residual and classifiers over representations v that stand still."""

    name = "extreme"

    def __init__(
        self,
        v_ND: NDArray[np.float32],
        labels_NL: csr_matrix,
        sampler: LabelSampler,
        model: ModelSection,
        seed: int,
        device: torch.device,
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        self._v_ND, self._sampler, self._device, self._dropout = v_ND, sampler, device, model.dropout
        self._residual = Residual(model.dim, model.spectral_bound, generator).to(device)
        self._optimizer = torch.optim.Adam(self._residual.parameters())
        num_texts, num_labels = labels_NL.shape
        prior = labels_NL.nnz / (num_texts * num_labels)
        dtype = product_dtype(model.precision, device)
        self._classifier = Classifier(num_labels, model.dim, prior, generator, device, dtype)

    def prepare(self, rows_B: NDArray[np.int64]) -> ExtremeBatch:
        """Sample the labels of the texts."""
        arrays = (self._v_ND[rows_B], *self._sampler.sample(rows_B))
        return ExtremeBatch(*(to_device(array, self._device) for array in arrays))

    def step(self, batch: ExtremeBatch, rate: float) -> float:
        """One step on all parameters; returns the loss."""
        v_BD = functional.dropout(batch.v, self._dropout)
        x_BD = v_BD + functional.dropout(self._residual(v_BD), self._dropout)
        loss = one_vs_all_loss(self._classifier.logits(x_BD, batch.labels), batch.rows, batch.columns)
        descend(loss, self._optimizer, rate)
        self._classifier.step(rate)
        return float(loss.detach())

    def finish(self) -> ExtremeModel:
        """What was learnt."""
        classifier = self._classifier
        return ExtremeModel(self._residual.exact(), classifier.weights.weight, classifier.biases.weight.squeeze(1))


def learn_classifiers(
    v_ND: NDArray[np.float32],
    labels_NL: csr_matrix,
    negatives_NS: NDArray[np.int32],
    config: TrainerConfig,
    device: torch.device,
    run: Run,
) -> ExtremeModel:
    """Run Modules III and IV on the positives and the mined negatives.

    Raises:
        DivergedError: the loss became NaN or infinite.
    """
    settings, seed = config.extreme, config.seed + 1
    torch.manual_seed(seed)
    sampler = LabelSampler(labels_NL, negatives_NS, config.shortlist.num_random_negatives, seed)
    task = ExtremeTask(v_ND, labels_NL, sampler, config.model, seed, device)
    schedule = Schedule.of(settings, len(v_ND))
    Loop(task, schedule).run(len(v_ND), seed, run)
    return task.finish()
