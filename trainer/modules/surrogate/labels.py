"""The surrogate labels that Module I learns to predict: few meta-labels (paper, sections 3.1, A.2 and A.3).

Shapes: N texts, L labels, K meta-labels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from astec.trainer.data.examples import Examples
from astec.trainer.modules.surrogate.clustering import cluster_labels, label_centroids
from astec.trainer.modules.surrogate.correlation import label_correlation, smooth_centroids
from astec.trainer.settings.config import SurrogateSection
from astec.trainer.training.pair_weights import text_weights

# Above this many labels, clusters have at least `labels_per_cluster` labels: a rare label alone has too few texts to
# teach tokens their meaning, and embeddings would only memorise them. Below, telling labels apart is worth more.
FEW_LABELS = 4096


def surrogate_membership(train: Examples, num_features: int, settings: SurrogateSection, seed: int) -> csr_matrix:
    """Return the meta-label of each label, sparse [L, K]; with the method `labels`, most labels have none.

    Raises:
        ValueError: for the method `unsupervised`, which predicts nothing.
    """
    if settings.method == "unsupervised":
        raise ValueError("the method unsupervised has no surrogate labels; take the initial embeddings as they are")
    if settings.method == "labels":
        return _most_frequent(train, settings.num_clusters)
    if settings.method == "hashed":
        return membership_of(hash_labels(train.labels.shape[1], settings.num_clusters, seed))
    return membership_of(_clusters(train, num_features, settings, seed))


def surrogate_labels(labels_NL: csr_matrix, membership_LK: csr_matrix) -> csr_matrix:
    """Return the meta-labels of each text, which its labels belong to, sparse [N, K] of weights.

    A meta-label weighs as much as its labels of the text together, but never more than the text.
    """
    meta_NK = (labels_NL @ membership_LK).tocsr()
    meta_NK.sort_indices()
    np.minimum(meta_NK.data, np.repeat(text_weights(labels_NL), np.diff(meta_NK.indptr)), out=meta_NK.data)
    return meta_NK


def most_clusters(num_labels: int, settings: SurrogateSection) -> int:
    """Return an upper bound of the number of clusters; with at least as many as labels, each label is its own."""
    if num_labels > FEW_LABELS:
        return min(settings.num_clusters, num_labels // settings.labels_per_cluster)
    return settings.num_clusters


def hash_labels(num_labels: int, num_buckets: int, seed: int) -> NDArray[np.int64]:
    """Hash each label to a bucket, int64 [L], as MACH does: independently of the data, fixed by the seed.

    Buckets without a label are left out, so that the buckets are 0..K-1 with K at most `num_buckets`.
    """
    drawn = np.random.default_rng(seed).integers(0, num_buckets, num_labels)
    return np.unique(drawn, return_inverse=True)[1]


def _clusters(train: Examples, num_features: int, settings: SurrogateSection, seed: int) -> NDArray[np.int64]:
    num_labels = train.labels.shape[1]
    num_clusters = most_clusters(num_labels, settings)
    if num_clusters >= num_labels:
        return np.arange(num_labels)
    centroids_LV = label_centroids(train.features(num_features), train.labels)
    if settings.smoothing:
        centroids_LV = smooth_centroids(centroids_LV, label_correlation(train.labels, seed))
    return cluster_labels(centroids_LV, num_clusters, seed)


def _most_frequent(train: Examples, num_selected: int) -> csr_matrix:
    """Make each of the labels with most texts its own meta-label; of equal ones take the first (paper, A.3)."""
    order = np.argsort(-train.label_counts(), kind="stable")
    selected = np.sort(order[:num_selected])
    pairs = (np.ones(len(selected), np.float32), (selected, np.arange(len(selected))))
    return csr_matrix(pairs, shape=(train.labels.shape[1], len(selected)))


def membership_of(groups_L: NDArray[np.int64]) -> csr_matrix:
    """Return the group of each label as a sparse matrix of ones, [L, K]."""
    num_labels = len(groups_L)
    pairs = (np.ones(num_labels, np.float32), (np.arange(num_labels), groups_L))
    return csr_matrix(pairs, shape=(num_labels, int(groups_L.max()) + 1))
