"""Module I: an encoder learnt by predicting label clusters (paper, section 4, equation 1).

Shapes: L labels, K clusters.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.sparse import csr_matrix

from astec.trainer.data.examples import Examples
from astec.trainer.encoders.encoder import Encoder
from astec.trainer.modules.surrogate.labels import surrogate_labels, surrogate_membership
from astec.trainer.modules.surrogate.old_clusters import OldClusters
from astec.trainer.parallel.world import Arrays, SplitArrays, World
from astec.trainer.run.folder import Run
from astec.trainer.settings.config import TrainerConfig
from astec.trainer.training.joint import joint_lesson, learn_jointly
from astec.trainer.training.pair_weights import text_weights
from astec.trainer.training.taking_over import take_over
from astec.trainer.training.task import AllLabels


def learn_surrogate(
    train: Examples,
    held: Examples,
    encoder: Encoder,
    num_features: int,
    config: TrainerConfig,
    seed: int,
    run: Run,
    old: OldClusters | None = None,
) -> tuple[SplitArrays, csr_matrix]:
    """Run Module I: train `encoder`, in place, with classifiers of label clusters.

    With `old`, labels stay in the clusters of an earlier run, and their classifiers start from its classifiers.

    The precision of the cluster classifiers on `held` is recorded after every epoch.

    Returns:
        Residual and classifiers of the clusters, as `DenseModel.of` takes them, and the cluster of each label,
        sparse [L, K].

    Raises:
        DivergedError: the loss became NaN or infinite.
    """
    kept = None if old is None else old.for_labels(train, num_features, config.surrogate)
    clustered = None if kept is None else kept.membership
    membership_LK = _share_sparse(
        run.world,
        lambda: surrogate_membership(train, num_features, config.surrogate, seed) if clustered is None else clustered,
    )
    clusters_NK, held_clusters_RK = (surrogate_labels(some.labels, membership_LK) for some in (train, held))
    run.record("clustering", labels=train.labels.shape[1], clusters=clusters_NK.shape[1])
    start = None
    if old is not None and kept is not None:
        classifiers, source_K = old.classifiers, kept.source
        start = run.world.share(
            lambda: take_over(classifiers, source_K, clusters_NK, lambda: encoder.represent(train.texts)) or {}
        )
    labels, held_texts = AllLabels(clusters_NK, text_weights(train.labels)), (held.texts, held_clusters_RK)
    lesson = joint_lesson(encoder, train.texts, labels, held_texts, start or None)
    return learn_jointly("surrogate", encoder, lesson, config, seed, run), membership_LK


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
