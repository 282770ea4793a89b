"""Module I: token embeddings learnt by predicting label clusters (paper, section 4, equation 1).

Shapes: N texts, B texts of a batch, T their tokens, U distinct tokens, D dimensions, L labels, K clusters, P positive
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

from export.artifact.featurizer import Bags
from trainer.clustering import cluster_labels, label_centroids
from trainer.config import ModelSection, TrainerConfig
from trainer.data import Examples
from trainer.loop import Loop, Schedule
from trainer.model import Classifier, Residual, descend, embed, one_vs_all_loss
from trainer.rows import RowTable
from trainer.run import Run
from trainer.tensors import product_dtype, to_device

_ENCODE_TEXTS = 4096


@dataclass(frozen=True, slots=True)
class SurrogateBatch:
    """A batch with its tokens renumbered 0..U-1.

    Shapes: `tokens` [U], `ids` [T] into `tokens`, `weights` [T], `starts` [B], `rows` and `clusters` [P].
    """

    tokens: Tensor
    ids: Tensor
    weights: Tensor
    starts: Tensor
    rows: Tensor
    clusters: Tensor


class SurrogateTask:
    """Embeddings, residual R0 and cluster classifiers, trained jointly; only the embeddings outlive it."""

    name = "surrogate"

    def __init__(
        self,
        bags: Bags,
        clusters_NK: csr_matrix,
        num_features: int,
        model: ModelSection,
        seed: int,
        device: torch.device,
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        self._bags, self._clusters_NK, self._device, self._dropout = bags, clusters_NK, device, model.dropout
        scale = model.dim**-0.5
        self.embeddings = RowTable((torch.randn(num_features, model.dim, generator=generator) * scale).to(device))
        self._residual = Residual(model.dim, model.spectral_bound, generator).to(device)
        self._optimizer = torch.optim.Adam(self._residual.parameters())
        num_texts, num_clusters = clusters_NK.shape
        prior = clusters_NK.nnz / (num_texts * num_clusters)
        dtype = product_dtype(model.precision, device)
        self._classifier = Classifier(num_clusters, model.dim, prior, generator, device, dtype)

    def prepare(self, rows_B: NDArray[np.int64]) -> SurrogateBatch:
        """Gather the texts' tokens and clusters."""
        bags = self._bags.take(rows_B)
        tokens_U, ids_T = np.unique(bags.ids, return_inverse=True)
        positives = self._clusters_NK[rows_B].tocoo()
        arrays = (tokens_U, ids_T, bags.weights, bags.offsets[:-1], positives.row, positives.col)
        return SurrogateBatch(*(to_device(array, self._device) for array in arrays))

    def step(self, batch: SurrogateBatch, rate: float) -> float:
        """One step on all parameters; returns the loss."""
        embeddings_UD = self.embeddings.gather(batch.tokens)
        v_BD = self._drop(embed(embeddings_UD, batch.ids, batch.weights, batch.starts))
        x_BD = v_BD + self._drop(self._residual(v_BD))
        logits_BK = self._classifier.logits(x_BD, None)
        loss = one_vs_all_loss(logits_BK, batch.rows, batch.clusters)
        descend(loss, self._optimizer, rate)
        self.embeddings.step(rate)
        self._classifier.step(rate)
        return float(loss.detach())

    def _drop(self, x_BD: Tensor) -> Tensor:
        return functional.dropout(x_BD, self._dropout)


def learn_embeddings(
    train: Examples, num_features: int, config: TrainerConfig, device: torch.device, run: Run
) -> Tensor:
    """Run Module I; returns the token embeddings [V, D].

    Raises:
        DivergedError: the loss became NaN or infinite.
    """
    settings = config.surrogate
    torch.manual_seed(config.seed)
    clusters_NK = surrogate_labels(train, num_features, settings.num_clusters, config.seed)
    run.record("clustering", labels=train.labels.shape[1], clusters=clusters_NK.shape[1])
    task = SurrogateTask(train.bags, clusters_NK, num_features, config.model, config.seed, device)
    schedule = Schedule.of(settings, len(train))
    Loop(task, schedule).run(len(train), config.seed, run)
    return task.embeddings.weight


def surrogate_labels(train: Examples, num_features: int, num_clusters: int, seed: int) -> csr_matrix:
    """Clusters of each text: those of its labels, sparse [N, K]."""
    centroids_LV = label_centroids(train.features(num_features), train.labels)
    clusters_L = cluster_labels(centroids_LV, num_clusters, seed)
    num_labels = len(clusters_L)
    membership_LK = csr_matrix(
        (np.ones(num_labels, np.float32), (np.arange(num_labels), clusters_L)),
        shape=(num_labels, int(clusters_L.max()) + 1),
    )
    clusters_NK = (train.labels @ membership_LK).tocsr()
    clusters_NK.data[:] = 1
    return clusters_NK


def encode(embeddings_VD: Tensor, bags: Bags) -> NDArray[np.float32]:
    """The intermediate representations v of all texts, float32 [N, D]."""
    chunks = []
    for begin in range(0, len(bags), _ENCODE_TEXTS):
        chunk = bags.take(np.arange(begin, min(begin + _ENCODE_TEXTS, len(bags))))
        ids, weights, starts = (
            to_device(array, embeddings_VD.device) for array in (chunk.ids, chunk.weights, chunk.offsets[:-1])
        )
        chunks.append(embed(embeddings_VD, ids, weights, starts).cpu().numpy())
    return np.concatenate(chunks)
