"""The vectors that a shortlist is searched among: label representatives and training points (paper, section 4).

Training searches them exactly, or in clusters where they are very many; the graphs that serve are built by the export.

Shapes: N training texts, D dimensions, L labels, L' representatives.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from astec.export.artifact.index.base import NeighbourIndex, unit_rows
from astec.export.artifact.kernels.weight_rows import read_only
from astec.export.artifact.labels.label_sets import NO_WEIGHTS, LabelSets
from astec.export.artifact.shortlist.label_graph import LabelGraph
from astec.export.artifact.shortlist.representatives import Representatives
from astec.export.artifact.shortlist.shortlister import Shortlister
from astec.trainer.modules.negatives.clustered_index import ClusteredIndex
from astec.trainer.modules.negatives.exact_index import ExactIndex
from astec.trainer.modules.negatives.representatives import label_representatives
from astec.trainer.settings.config import ShortlistSection
from astec.trainer.training.pair_weights import PairWeights

MOST_SEARCHED_EXACTLY = 100_000
"""On a CPU, more vectors than these are searched in clusters when negatives are mined."""


@dataclass(frozen=True, slots=True)
class SearchVectors:
    """Label representatives (ANNS-mu) and training points (ANNS-x), with the labels of each.

    Attributes:
        centroids: unit vectors of the representatives, float32 [L', D], in label order.
        centroid_labels: the label of each, int32 [L'].
        points: unit vectors of the training texts, float32 [N, D].
        point_labels: the labels of each.
        num_labels: L.
    """

    centroids: NDArray[np.float32]
    centroid_labels: NDArray[np.int32]
    points: NDArray[np.float32]
    point_labels: LabelSets
    num_labels: int

    @classmethod
    def of(
        cls, v_ND: NDArray[np.float32], labels_NL: csr_matrix, settings: ShortlistSection, seed: int
    ) -> SearchVectors:
        """Make the vectors of some texts with representations v and these labels; the seed is that of k-means.

        The entries of `labels_NL` weigh the texts in the representatives and in the votes.
        """
        centroids, centroid_labels = label_representatives(v_ND, labels_NL, settings, seed)
        centroids = unit_rows(centroids)  # frees the means before the points are computed
        weights = PairWeights.of(labels_NL)
        point_labels = LabelSets(
            labels_NL.indptr.astype(np.int64),
            labels_NL.indices.astype(np.int32, copy=False),
            NO_WEIGHTS if weights is None else read_only(weights.pairs),
        )
        return cls(centroids, centroid_labels, unit_rows(v_ND), point_labels, labels_NL.shape[1])

    def shortlister(self, settings: ShortlistSection, device: torch.device) -> Shortlister:
        """Return the exact search through the vectors, on `device`."""
        return self._shortlister(ExactIndex(self.centroids, device), ExactIndex(self.points, device), settings)

    def mining_shortlister(self, settings: ShortlistSection, device: torch.device, seed: int) -> Shortlister:
        """Return the search for negatives of all texts: exact, except among very many vectors on a CPU."""
        centroids, points = (
            ClusteredIndex(units_MD, seed)
            if device.type == "cpu" and len(units_MD) > MOST_SEARCHED_EXACTLY
            else ExactIndex(units_MD, device)
            for units_MD in (self.centroids, self.points)
        )
        return self._shortlister(centroids, points, settings)

    def _shortlister(
        self, centroids: NeighbourIndex, points: NeighbourIndex, settings: ShortlistSection
    ) -> Shortlister:
        return Shortlister(
            LabelGraph(centroids, LabelSets.one_each(self.centroid_labels), settings.centroids.neighbours),
            LabelGraph(points, self.point_labels, settings.points.neighbours),
            Representatives.of(self.centroids, self.centroid_labels, self.num_labels),
        )
