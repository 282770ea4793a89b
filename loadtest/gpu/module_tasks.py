"""The training tasks of all modules over random data, with the sizes of a published data set for each step.

Shapes: N texts, V features, L labels, D dimensions, S negatives of a text.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from astec.export.artifact.text.bags import Bags
from astec.trainer.bench.synthetic import DataShape
from astec.trainer.data.examples import Texts
from astec.trainer.embeddings.random import random_embeddings
from astec.trainer.encoders.encoder import Encoder
from astec.trainer.modules.negatives.device_sampler import sampler_for
from astec.trainer.numerics.device import seeded
from astec.trainer.parallel.world import ALONE
from astec.trainer.settings.config import TrainerConfig
from astec.trainer.settings.section import EncoderSection
from astec.trainer.training.features import EncodedFeatures, Features, FrozenFeatures
from astec.trainer.training.lesson import ModuleName
from astec.trainer.training.task import AllLabels, Labels, OneVsAllTask

MODULES: Final[tuple[ModuleName, ...]] = ("surrogate", "extreme", "reranker")


def make_task(
    module: ModuleName, shape: DataShape, num_texts: int, config: TrainerConfig, device: torch.device
) -> OneVsAllTask:
    """Make the task of a module as training does, over random texts, labels and negatives.

    Args:
        module: its name.
        shape: V, L and the mean numbers of labels and features of a text.
        num_texts: N; a step costs the same for any N.
        config: D, numbers of clusters and of negatives.
        device: where it learns.
    """
    generator = np.random.default_rng(0)
    dim = config.reranker.dim if module == "reranker" else config.model.dim
    features: Features
    if module == "extreme":
        features = FrozenFeatures(np.maximum(generator.standard_normal((num_texts, dim), np.float32), 0), device)
    else:
        start_VD = random_embeddings(shape.num_features, dim, seeded(0)).to(device)
        texts_NV = _random_pairs(num_texts, shape.num_features, shape.features_per_text, generator)
        features = EncodedFeatures(Encoder.start(EncoderSection(), start_VD), Texts(_as_bags(texts_NV)))
    labels = _labels(module, shape, num_texts, config, generator, device)
    return OneVsAllTask(module, features, labels, dim, config.model, seeded(0, 1), device)


def _labels(
    module: ModuleName,
    shape: DataShape,
    num_texts: int,
    config: TrainerConfig,
    generator: np.random.Generator,
    device: torch.device,
) -> Labels:
    if module == "surrogate":
        return AllLabels(_random_pairs(num_texts, config.surrogate.num_clusters, shape.labels_per_text, generator))
    num_negatives = config.shortlist.num_hard_negatives if module == "extreme" else config.reranker.num_negatives
    labels_NL = _random_pairs(num_texts, shape.num_labels, shape.labels_per_text, generator)
    negatives_NS = generator.integers(0, shape.num_labels, (num_texts, num_negatives)).astype(np.int32)
    return sampler_for(device, ALONE, labels_NL, negatives_NS, config.shortlist, 0)


def _random_pairs(num_rows: int, num_columns: int, mean: float, generator: np.random.Generator) -> csr_matrix:
    """Draw columns for each row, at least one and about `mean` on average; sparse, with sorted indices."""
    lengths = 1 + generator.poisson(mean - 1, num_rows)
    rows: NDArray[np.int64] = np.arange(num_rows).repeat(lengths)
    columns = generator.integers(0, num_columns, len(rows))
    pairs = csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=(num_rows, num_columns))
    pairs.sort_indices()
    return pairs


def _as_bags(texts_NV: csr_matrix) -> Bags:
    """Return the texts as bags, each with equal weights and an L2 norm of 1."""
    lengths = np.diff(texts_NV.indptr)
    weights = np.repeat(lengths**-0.5, lengths).astype(np.float32)
    return Bags(texts_NV.indices.astype(np.int32), weights, texts_NV.indptr.astype(np.int64))
