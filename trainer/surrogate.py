"""Module I: an encoder learnt by predicting label clusters (paper, section 4, equation 1).

Shapes: V vocabulary, D dimensions.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.sparse import csr_matrix

from export.artifact.featurizer import Featurizer, TextFeaturizer
from export.artifact.sequences import word_ids
from trainer.config import TrainerConfig
from trainer.data import Examples
from trainer.embeddings.initial import initial_embeddings
from trainer.encoders.encoder import Encoder
from trainer.features import EncodedFeatures
from trainer.loop import Loop, Schedule
from trainer.run import Run
from trainer.surrogate_labels import surrogate_labels, surrogate_membership
from trainer.task import AllLabels, OneVsAllTask
from trainer.tensors import seeded
from trainer.world import Arrays, Mesh, World

_STREAM, _TRUNK = 1, 1


def learn_encoder(
    train: Examples,
    held: Examples,
    featurizer: Featurizer,
    config: TrainerConfig,
    seed: int,
    device: torch.device,
    run: Run,
) -> Encoder:
    """Run Module I.

    The residual R0 and the cluster classifiers are trained along and dropped. How well they do on `held` is recorded.
    Several processes split the texts of a batch.

    Raises:
        DivergedError: the loss became NaN or infinite.
        DataError: embeddings to start from that cannot be read or do not fit.
    """
    settings, dim = config.surrogate, config.model.dim

    def start() -> Arrays:
        start_VD, found_share = initial_embeddings(settings.embeddings, train, featurizer, dim, seed)
        if settings.embeddings != "random":
            run.record("embeddings", source=settings.embeddings, found_share=found_share)
        if config.encoder.max_words is not None and isinstance(featurizer, TextFeaturizer):
            start_VD = start_VD[word_ids(featurizer)]
        return {"embeddings": start_VD}

    embeddings_VD = torch.from_numpy(run.world.share(start)["embeddings"]).to(device)
    encoder = Encoder.start(config.encoder, embeddings_VD, seeded(seed, _STREAM, _TRUNK))
    if settings.method == "unsupervised":
        return encoder
    membership_LK = _share_sparse(
        run.world, lambda: surrogate_membership(train, featurizer.num_features, settings, seed)
    )
    clusters_NK = surrogate_labels(train.labels, membership_LK)
    run.record("clustering", labels=train.labels.shape[1], clusters=clusters_NK.shape[1])
    features = EncodedFeatures(encoder, train.texts)
    labels = AllLabels(clusters_NK)
    generator, mesh = seeded(seed, _STREAM), Mesh(texts=run.world)
    task = OneVsAllTask("surrogate", features, labels, dim, config.model, generator, device, mesh)
    held_clusters_RK = surrogate_labels(held.labels, membership_LK)

    def probe() -> dict[str, float]:
        return task.precision(encoder.represent(held.texts), held_clusters_RK, None)

    Loop(task, Schedule.of(settings, len(train)), seed, probe).run(run)
    return encoder


def _share_sparse(world: World, compute: Callable[[], csr_matrix]) -> csr_matrix:
    def arrays() -> Arrays:
        matrix = compute()
        return {
            "data": matrix.data,
            "indices": matrix.indices,
            "indptr": matrix.indptr,
            "shape": np.array(matrix.shape),
        }

    shared = world.share(arrays)
    return csr_matrix((shared["data"], shared["indices"], shared["indptr"]), shape=tuple(shared["shape"]))
