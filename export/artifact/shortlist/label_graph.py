"""A nearest-neighbour index whose vectors stand for labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.index.base import NeighbourIndex
from astec.export.artifact.labels.label_sets import LabelSets
from astec.export.artifact.shortlist.votes import Hits


@dataclass(frozen=True, slots=True)
class LabelGraph:
    """An index over label representatives or training points, and the number of hits of a query that count.

    Attributes:
        index: over the vectors.
        labels: the labels of each vector.
        neighbours: hits of a query.
    """

    index: NeighbourIndex
    labels: LabelSets
    neighbours: int

    def search(self, z_Bd: NDArray[np.float32]) -> Hits:
        """Return the hits of B queries, nearest first, and the labels of all vectors, as `join` takes them."""
        return (*self.index.search(z_Bd, self.neighbours), self.labels.indptr, self.labels.indices)
