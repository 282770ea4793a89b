"""Approximate nearest neighbours in clusters of vectors: a query is compared with the clusters nearest to it.

Past about 100,000 vectors on a CPU this takes a fraction of the time of a comparison with all of them. Like that, it is
products of matrices, and the same for any number of threads.

Shapes: B queries, D dimensions, M indexed vectors, C clusters, P clusters that a query is compared with, K neighbours;
b queries that are compared with a cluster, m vectors of that cluster.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from astec.export.artifact.index.base import unit_rows
from astec.trainer.modules.negatives.best_hits import BestHits
from astec.trainer.modules.negatives.representatives import nearest_centres, spherical_k_means

_CLUSTERS_PER_ROOT = 2  # C is this times the square root of M
_SAMPLE_PER_CLUSTER = 32
_NEAREST_CLUSTERS = 32


class ClusteredIndex:
    """A `NeighbourIndex` that searches the 32 nearest clusters of each query. Thread-safe.

    It is fast for many queries at once, which share the clusters.

    Args:
        units_MD: the indexed vectors, with unit rows.
        seed: of the sample of vectors from which the centres are learnt.
    """

    def __init__(self, units_MD: NDArray[np.float32], seed: int) -> None:
        self.count = len(units_MD)
        generator = np.random.default_rng(seed)
        num_clusters = min(self.count, math.ceil(_CLUSTERS_PER_ROOT * math.sqrt(self.count)))
        sample = generator.permutation(self.count)[: _SAMPLE_PER_CLUSTER * num_clusters]
        self._centres_CD = spherical_k_means(units_MD[np.sort(sample)], num_clusters, generator)
        clusters_M = nearest_centres(units_MD, self._centres_CD)
        self._ids_M = np.argsort(clusters_M, kind="stable")
        self._bounds = np.searchsorted(clusters_M[self._ids_M], np.arange(len(self._centres_CD) + 1))
        self._units_MD = torch.from_numpy(units_MD[self._ids_M])

    def search(self, queries_BD: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return ids and cosine similarities [B, min(k, M)], nearest first; -1 where the clusters hold fewer."""
        units_BD = unit_rows(queries_BD)
        hits, tensor_BD = BestHits(len(units_BD), min(k, self.count)), torch.from_numpy(units_BD)
        nearest_BP = self._nearest_clusters(units_BD)
        by_cluster = np.argsort(nearest_BP, axis=None, kind="stable")
        queries = by_cluster // nearest_BP.shape[1]
        starts = np.searchsorted(nearest_BP.ravel()[by_cluster], np.arange(len(self._centres_CD) + 1))
        for cluster in np.flatnonzero(np.diff(starts)).tolist():
            queries_b = queries[starts[cluster] : starts[cluster + 1]]
            members = slice(self._bounds[cluster], self._bounds[cluster + 1])
            # By torch, in half the time: NumPy's OpenBLAS lets one of several calling threads multiply at a time.
            products_bm = tensor_BD[torch.from_numpy(queries_b)] @ self._units_MD[members].T
            hits.add(products_bm.numpy(), queries_b, self._ids_M[members])
        return hits.sorted()

    def _nearest_clusters(self, units_BD: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return the clusters that each query is compared with, [B, P], in no order."""
        similarities_BC = units_BD @ self._centres_CD.T
        num_nearest = min(_NEAREST_CLUSTERS, similarities_BC.shape[1])
        nearest_BP: NDArray[np.int64] = np.argpartition(-similarities_BC, num_nearest - 1, axis=1)[:, :num_nearest]
        return nearest_BP
