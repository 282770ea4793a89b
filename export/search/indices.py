"""The indices of an artifact, built from the vectors that a run hands over.

Shapes: N training points, L labels, L' label representatives, D dimensions, d of the indices.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.index.backends import index_backend
from astec.export.artifact.index.base import Backend, HnswParams, StoredIndex
from astec.export.artifact.labels.label_sets import LabelSets
from astec.export.artifact.shortlist.representatives import Representatives
from astec.export.model.checkpoint import Checkpoint
from astec.export.search.plan import IndexPlan, ShortlistPlan, Side
from astec.export.search.projection import principal_directions

_GRAPHS_KEPT = 4  # a search for a plan asks for the same graph several times


@dataclass(frozen=True, slots=True)
class Indices:
    """What a plan describes, built; `projection` [D, d] leads from v to z, None where they are the same."""

    plan: ShortlistPlan
    projection: NDArray[np.float32] | None
    centroids: StoredIndex | None
    points: StoredIndex | None

    def sides(self) -> dict[Side, StoredIndex | None]:
        """Both indices by name."""
        return {"centroids": self.centroids, "points": self.points}


class IndexBuilder:
    """Builds indices over the vectors of a checkpoint, each once.

    Args:
        checkpoint: the vectors.
        seed: of the graphs' levels.
    """

    def __init__(self, checkpoint: Checkpoint, seed: int = 0) -> None:
        self.checkpoint = checkpoint
        self._seed = seed
        self.graph = lru_cache(_GRAPHS_KEPT)(self._build_graph)

    def representatives(self, *, int8: bool = False) -> Representatives:
        """What similarities are measured with, as the artifact will hold it."""
        checkpoint = self.checkpoint
        labels = checkpoint.centroid_labels
        return Representatives.of(checkpoint.centroids, labels, len(checkpoint.labels), int8=int8)

    @cached_property
    def _directions(self) -> NDArray[np.float32]:
        return principal_directions(self.checkpoint.points)

    @property
    def dim(self) -> int:
        """D."""
        return int(self.checkpoint.points.shape[1])

    def projection(self, dim: int) -> NDArray[np.float32] | None:
        """From v to z, [D, dim]; None where that is all dimensions."""
        return None if dim >= self.dim else np.ascontiguousarray(self._directions[:, :dim])

    def project(self, vectors: NDArray[np.float32], dim: int) -> NDArray[np.float32]:
        """Rows of D numbers in the space of the indices."""
        projection_Dd = self.projection(dim)
        return vectors if projection_Dd is None else vectors @ projection_Dd

    def count(self, side: Side) -> int:
        """Vectors of an index."""
        return len(self._units(side))

    def vectors(self, side: Side, dim: int) -> NDArray[np.float32]:
        """What an index is over."""
        return self.project(self._units(side), dim)

    def labels(self, side: Side) -> LabelSets:
        """What each of these vectors stands for."""
        checkpoint = self.checkpoint
        return checkpoint.point_labels if side == "points" else LabelSets.one_each(checkpoint.centroid_labels)

    def build(self, plan: ShortlistPlan) -> Indices:
        """Everything of the plan."""
        return Indices(
            plan,
            self.projection(plan.dim),
            self.index("centroids", plan.dim, plan.centroids),
            self.index("points", plan.dim, plan.points),
        )

    def index(self, side: Side, dim: int, plan: IndexPlan | None) -> StoredIndex | None:
        """The index of one side, set to search as planned."""
        if plan is None:
            return None
        graph = self.graph(side, dim, plan.backend, plan.params.m, plan.params.ef_construction)
        graph.search_with(plan.params.ef_search)
        return graph

    def _units(self, side: Side) -> NDArray[np.float32]:
        return self.checkpoint.points if side == "points" else self.checkpoint.centroids

    def _build_graph(self, side: Side, dim: int, backend: Backend, m: int, ef_construction: int) -> StoredIndex:
        params = HnswParams(m, ef_construction, ef_construction)
        return index_backend(backend).build(self.vectors(side, dim), params, self._seed)
