"""The training problem of every module: a bounded residual and 1-vs-all classifiers (paper, sections 3 and 4).

Module I learns an encoder under classifiers of label clusters, Modules III and IV learn classifiers of labels over a
fixed encoder, and the re-ranker learns both at once. The modules differ only in their features and in the labels that a
batch is scored against.

Several processes may train one task: a mesh says which texts of a batch and which labels belong to this process.

Shapes: N texts, B texts of a batch, D dimensions, L labels, U labels of a batch, P positive pairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor
from torch.nn import functional

from astec.export.artifact.shortlist.candidates import Candidates
from astec.trainer.numerics.device import is_accelerator, product_dtype, to_device
from astec.trainer.numerics.dropout import dropout_mask
from astec.trainer.numerics.row_table import RowTable
from astec.trainer.parallel.world import ONE_PROCESS, Arrays, LabelSample, Mesh, SplitArrays, SplitRows
from astec.trainer.settings.config import ModelSection
from astec.trainer.training.features import Features
from astec.trainer.training.label_blocks import LabelPairs, step_labels
from astec.trainer.training.layers import Classifier, Residual, one_vs_all_loss
from astec.trainer.training.pair_weights import BatchWeights, PairWeights
from astec.trainer.training.probe import progress_metrics


@dataclass(frozen=True, slots=True)
class DeviceSample:
    """The labels that a batch of one process is trained on, already on the device.

    Attributes:
        labels: distinct labels, int64 [U].
        rows: the text in the batch of each positive pair, int64 [P].
        columns: the column of its label, int64 [P].
    """

    labels: Tensor
    rows: Tensor
    columns: Tensor


class Labels(Protocol):
    """Samples the labels that a batch is trained on."""

    num_labels: int
    prior: float
    """The share of all text-label pairs that are positive."""
    weights: PairWeights | None
    """The weights of the positive pairs, in the order of the texts' labels; None: all are 1."""

    def begin(self, epoch: int) -> None:
        """Get ready for the batches of an epoch."""

    def sample(self, rows_B: NDArray[np.int64], step: int) -> LabelSample | DeviceSample:
        """Return the labels that some texts are scored against; the same step gives the same sample.

        Labels for several processes are never on the device: each process takes its part of them first.
        """


class AllLabels:
    """Scores every text against every label.

    Args:
        labels_NL: the positive pairs, and their weights.
        texts_N: the weights of the texts, by default those of their heaviest pairs.
    """

    def __init__(self, labels_NL: csr_matrix, texts_N: NDArray[np.float32] | None = None) -> None:
        self._labels_NL, self.weights = labels_NL, PairWeights.of(labels_NL, texts_N)
        num_texts, self.num_labels = labels_NL.shape
        self.prior = labels_NL.nnz / (num_texts * self.num_labels)

    def begin(self, epoch: int) -> None:
        """Do nothing: the labels are the same in every epoch."""

    def sample(self, rows_B: NDArray[np.int64], step: int) -> LabelSample:
        """Return all labels, and the positive pairs of the texts."""
        positives = self._labels_NL[rows_B].tocoo()
        return None, positives.row, positives.col


@dataclass(frozen=True, slots=True)
class TaskBatch:
    """The part of a batch that one process trains on.

    Attributes:
        num_texts: B, of all processes together.
        features: the input of `Features.encode`.
        labels: rows [U] of the classifiers, or None for all.
        rows, columns: the positive pairs [P], as positions among the encoded texts and among `labels`.
        weights: of these pairs and of the encoded texts; None: all are 1.
    """

    num_texts: int
    features: tuple[Tensor, ...]
    labels: Tensor | None
    rows: Tensor
    columns: Tensor
    weights: BatchWeights | None = None


class OneVsAllTask:
    """Trains residual and classifiers over features jointly by Adam.

    Args:
        name: of the module, as in the settings.
        features: make v of the texts; their tables are trained, too.
        labels: sample the labels that a batch is scored against.
        dim: D.
        model: settings of dropout, bound and precision.
        generator: source of the starting points.
        device: where features, residual and classifiers live.
        mesh: how texts and labels are split over processes.
    """

    def __init__(
        self,
        name: str,
        features: Features,
        labels: Labels,
        dim: int,
        model: ModelSection,
        generator: torch.Generator,
        device: torch.device,
        mesh: Mesh = ONE_PROCESS,
    ) -> None:
        self.name, self._mesh = name, mesh
        self._features, self._labels, self._dropout, self._device = features, labels, model.dropout, device
        self.residual = Residual(dim, model.spectral_bound, generator, device)
        dtype = product_dtype(model.precision, device)
        self.classifier = Classifier(labels.num_labels, dim, labels.prior, generator, device, dtype, mesh.labels)

    @property
    def num_texts(self) -> int:
        """N."""
        return self._features.num_texts

    def start_from(self, arrays: Arrays) -> None:
        """Start from a residual and classifiers of all labels, in the form of `learnt`."""
        own = self._mesh.labels.own
        self.residual.table.weight.copy_(torch.from_numpy(arrays["residuals"][0]))
        self.classifier.weights.weight.copy_(torch.from_numpy(arrays["classifier"][own]))
        self.classifier.biases.weight.copy_(torch.from_numpy(arrays["bias"][own, None]))

    def begin(self, epoch: int) -> None:
        """Let the labels get ready for the batches of an epoch."""
        self._labels.begin(epoch)

    def prepare(self, rows_B: NDArray[np.int64], step: int) -> TaskBatch:
        """Gather the features and sample the labels of a batch of texts; runs on another thread."""
        features = self._features.prepare(*self._mesh.own_texts_first(rows_B))
        sample = self._labels.sample(rows_B, step)
        if isinstance(sample, DeviceSample):
            weights = self._weigh(rows_B, slice(None))
            return TaskBatch(len(rows_B), features, sample.labels, sample.rows, sample.columns, weights)
        labels, rows, columns = self._mesh.own_pairs(sample)
        return TaskBatch(
            len(rows_B),
            features,
            None if labels is None else to_device(labels, self._device),
            to_device(rows, self._device),
            to_device(columns, self._device),
            self._weigh(rows_B, self._mesh.owns_pairs(sample)),
        )

    def step(self, batch: TaskBatch, rate: float) -> Tensor:
        """Take one step on all parameters, and return the mean loss of the texts, still on its device."""
        v_BD = self._drop(self._features.encode(batch.features), batch.num_texts)
        x_BD = v_BD + self._drop(self.residual(v_BD), batch.num_texts)
        # Processes that split the texts have to sum the gradient of the classifiers before a step.
        alone_on_cpu = self._mesh.texts.size == 1 and not is_accelerator(self._device)
        loss = self._learn_in_blocks(x_BD, batch, rate) if alone_on_cpu else self._learn_at_once(x_BD, batch, rate)
        for table in self._shared_tables().values():
            table.step(rate)
        return loss

    def _learn_in_blocks(self, x_BD: Tensor, batch: TaskBatch, rate: float) -> Tensor:
        """Take a step on the classifiers, give the shared tables their gradient, and return the mean loss."""
        pairs = LabelPairs(batch.labels, batch.rows, batch.columns, batch.weights)
        loss, gradient_BD = step_labels(self.classifier, x_BD, pairs, batch.num_texts, rate)
        x_BD.backward(gradient_BD)  # type: ignore[no-untyped-call]
        self._mesh.labels.sum_(loss, *(table.gradient for table in self._shared_tables().values()))
        return loss

    def _learn_at_once(self, x_BD: Tensor, batch: TaskBatch, rate: float) -> Tensor:
        """Do the same by torch's operations, on any device and any number of processes."""
        logits_BU = self.classifier.logits(x_BD, batch.labels)
        loss = one_vs_all_loss(logits_BU, batch.rows, batch.columns, batch.num_texts, batch.weights)
        loss.backward()  # type: ignore[no-untyped-call]
        loss = loss.detach()
        shared = [table.gradient for table in self._shared_tables().values()]
        self._mesh.labels.sum_(loss, *shared)
        self._mesh.texts.sum_(loss, *shared, *(table.gradient for table in self.classifier.tables.values()))
        self.classifier.step(rate)
        return loss

    def precision(
        self, representations_RD: NDArray[np.float32], relevant_RL: csr_matrix, candidates: Candidates | None
    ) -> dict[str, float]:
        """Return P@k of the model so far on held-out texts, as `progress_metrics` computes it."""
        v_RD = to_device(representations_RD, self._device)
        x_RD = v_RD + functional.relu(v_RD @ self.residual.exact().T)
        classifier = self.classifier.weights.weight, self.classifier.biases.weight.squeeze(1)
        return progress_metrics(x_RD, *classifier, relevant_RL, candidates, self._mesh.labels)

    def learnt(self) -> SplitArrays:
        """Return the residual and the classifiers, as `DenseModel.of` takes them; views where they are on the CPU."""
        labels = {"classifier": self.classifier.weights.weight, "bias": self.classifier.biases.weight.squeeze(1)}
        learnt: dict[str, Tensor | SplitRows] = {"residuals": self.residual.exact()[None]}
        learnt |= {name: self._split(one) for name, one in labels.items()}
        return {name: one if isinstance(one, SplitRows) else one.cpu().numpy() for name, one in learnt.items()}

    def state(self) -> dict[str, Tensor | SplitRows]:
        """Return everything that learning changes, by name: views, not copies.

        Its arrays are the same for any number of processes; of the classifiers each process has its own rows.
        """
        state: dict[str, Tensor | SplitRows] = {"residual.left": self.residual.left}
        for name, table in self._shared_tables().items():
            state |= {f"{name}.{key}": value for key, value in table.state().items()}
        for name, table in self.classifier.tables.items():
            state |= {f"{name}.{key}": self._split(value) for key, value in table.state().items()}
        return state

    def restore(self, state: Mapping[str, Tensor | SplitRows]) -> None:
        """Continue from a state that `state` returned; called on all processes."""
        own = {name: value.own if isinstance(value, SplitRows) else value for name, value in state.items()}
        self.residual.left.copy_(own["residual.left"])
        for name, table in (self._shared_tables() | self.classifier.tables).items():
            table.restore({key: own[f"{name}.{key}"] for key in table.state()})

    def _weigh(self, rows_B: NDArray[np.int64], own_P: NDArray[np.bool_] | slice) -> BatchWeights | None:
        """Return the weights of this process's pairs and texts of a batch."""
        if self._labels.weights is None:
            return None
        weights_P, weights_B = self._labels.weights.take(rows_B)
        own_B = weights_B[self._mesh.texts.own]
        return BatchWeights(to_device(weights_P[own_P], self._device), to_device(own_B, self._device))

    def _drop(self, x_BD: Tensor, num_texts: int) -> Tensor:
        """Apply dropout; a text gets the same mask on any process."""
        if not is_accelerator(self._device):
            mask_BD = dropout_mask(num_texts, x_BD.shape[1], self._dropout)
        elif self._mesh.texts.size == 1:
            return functional.dropout(x_BD, self._dropout)
        else:
            mask_BD = functional.dropout(x_BD.new_ones(num_texts, x_BD.shape[1]), self._dropout)
        return x_BD * mask_BD[self._mesh.texts.own]

    def _shared_tables(self) -> dict[str, RowTable]:
        """Return the tables that all processes hold in full: the features' and the residual's."""
        return self._features.tables | {"residual": self.residual.table}

    def _split(self, rows: Tensor) -> Tensor | SplitRows:
        """Return rows of labels as those of this process; a scalar, or the rows of a single process, as they are."""
        owners = self._mesh.labels
        return SplitRows(rows, self._labels.num_labels, owners) if owners.size > 1 and rows.dim() else rows
