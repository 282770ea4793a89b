"""A nearest-neighbour index whose vectors stand for labels."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.index.added_vectors import merge_added
from astec.export.artifact.index.backends import index_backend
from astec.export.artifact.index.base import NeighbourIndex
from astec.export.artifact.kernels.weight_rows import read_only
from astec.export.artifact.labels.label_sets import LabelSetFiles, LabelSets
from astec.export.artifact.manifest import IndexDescription
from astec.export.artifact.shortlist.votes import Hits
from astec.export.artifact.storage.checked_arrays import require

NO_ADDED = read_only(np.empty((0, 0), np.float32))
CENTROIDS_FILE = "centroids.index"
POINTS_FILE = "points.index"
POINT_LABELS_FILES = LabelSetFiles("point_labels.indptr.npy", "point_labels.indices.npy", "point_labels.weights.npy")


@dataclass(frozen=True, slots=True)
class LabelGraph:
    """An index over label representatives or training points, and the number of hits of a query that count.

    Attributes:
        index: over the vectors.
        labels: the labels of each vector, and then of each added one.
        neighbours: hits of a query.
        added: vectors that an update has added, unit rows float32 [A, d].
    """

    index: NeighbourIndex
    labels: LabelSets
    neighbours: int
    added: NDArray[np.float32] = field(default_factory=lambda: NO_ADDED)

    @classmethod
    def open(
        cls,
        path: Path,
        description: IndexDescription,
        labels: LabelSets,
        dim: int,
        added: NDArray[np.float32] = NO_ADDED,
    ) -> LabelGraph:
        """Open the index at `path` over vectors of `dim` dimensions.

        Raises:
            ValueError: the file is damaged or of another dimension, or has another number of vectors than `labels`.
        """
        index = index_backend(description.backend).load(path, dim, description.graph.params())
        count = len(labels) - len(added)
        require(index.count == count, f"{path.name} has {index.count} vectors, and there are labels for {count}")
        return cls(index, labels, description.neighbours, added)

    def search(self, z_Bd: NDArray[np.float32], times: int = 1) -> Hits:
        """Return the hits of B queries, nearest first, and the labels of all vectors, as `join` takes them.

        `times` multiplies the number of hits.
        """
        neighbours = times * self.neighbours
        hits = self.index.search(z_Bd, neighbours)
        if len(self.added):
            hits = merge_added(np.ascontiguousarray(z_Bd), self.added, self.index.count, *hits, neighbours)
        return *hits, self.labels.indptr, self.labels.indices, self.labels.weights
