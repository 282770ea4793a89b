"""The clusters of labels of an earlier run, continued for the labels of a new one.

Shapes: L labels, K clusters and V vocabulary of the new run, L' labels and K' clusters of the earlier one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from astec.trainer.data.examples import Examples
from astec.trainer.modules.surrogate.clustering import label_centroids, normalize_rows
from astec.trainer.modules.surrogate.labels import membership_of, most_clusters
from astec.trainer.parallel.world import Arrays
from astec.trainer.settings.config import SurrogateSection

_LABELS_AT_ONCE = 2048


@dataclass(frozen=True, slots=True)
class KeptClusters:
    """Clusters of the new run: that of each label, sparse [L, K], and the old number of each, int64 [K], or -1."""

    membership: csr_matrix
    source: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class OldClusters:
    """The clusters of an earlier run.

    Attributes:
        clusters: the cluster of each of its labels, int64 [L'].
        classifiers: the residual, classifiers [K', D] and biases of the clusters.
        labels: the earlier id of each new label, int64 [L]; -1: there was none.
    """

    clusters: NDArray[np.int64]
    classifiers: Arrays
    labels: NDArray[np.int64]

    def for_labels(self, train: Examples, num_features: int, settings: SurrogateSection) -> KeptClusters | None:
        """Leave labels in their clusters, and put each new label into the cluster with the nearest centroid.

        Where each label has been a cluster of its own, and still can be, new labels are clusters of their own.

        Returns:
            None where the clusters have to be made anew: by another method, or because there are too many labels now,
            or few enough, for a cluster each.
        """
        num_labels, known = len(self.labels), self.labels >= 0
        one_each = most_clusters(num_labels, settings) >= num_labels
        was_one_each = len(np.unique(self.clusters)) == len(self.clusters)
        if settings.method != "clusters" or not known.any() or one_each != was_one_each:
            return None
        clusters_L = np.full(num_labels, -1, np.int64)
        clusters_L[known] = self.clusters[self.labels[known]]
        if one_each:
            return KeptClusters(membership_of(np.arange(num_labels)), clusters_L)
        source, clusters_L[known] = np.unique(clusters_L[known], return_inverse=True)
        if not known.all():
            clusters_L[~known] = _nearest(label_centroids(train.features(num_features), train.labels), clusters_L)
        return KeptClusters(membership_of(clusters_L), source)


def _nearest(centroids_LV: csr_matrix, clusters_L: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the cluster with the nearest centroid for each label whose cluster is -1, in their order."""
    known, new = np.flatnonzero(clusters_L >= 0), np.flatnonzero(clusters_L < 0)
    clusters_VK = normalize_rows((membership_of(clusters_L[known]).T.tocsr() @ centroids_LV[known]).tocsr()).T.tocsr()
    nearest = np.empty(len(new), np.int64)
    for begin in range(0, len(new), _LABELS_AT_ONCE):
        some = slice(begin, begin + _LABELS_AT_ONCE)
        nearest[some] = np.asarray((centroids_LV[new[some]] @ clusters_VK).argmax(axis=1)).ravel()
    return nearest
