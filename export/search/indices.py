"""The indices of an artifact, built from the vectors of a checkpoint.

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

_GRAPHS_KEPT = 4  # the search for a plan uses the same graph several times


@dataclass(frozen=True, slots=True)
class Indices:
    """The indices of a plan; `projection` [D, d] maps v to z, None where they are the same."""

    plan: ShortlistPlan
    projection: NDArray[np.float32] | None
    centroids: StoredIndex | None
    points: StoredIndex | None

    def sides(self) -> dict[Side, StoredIndex | None]:
        """Return both indices by side."""
        return {"centroids": self.centroids, "points": self.points}


class IndexBuilder:
    """Builds indices over the vectors of a checkpoint, each once.

    Args:
        checkpoint: the checkpoint with the vectors.
        seed: seed of the levels of the graphs.
        directions_DD: the principal directions to project to; None: those of the checkpoint's training points.
    """

    def __init__(self, checkpoint: Checkpoint, seed: int = 0, directions_DD: NDArray[np.float32] | None = None) -> None:
        self.checkpoint = checkpoint
        self._seed = seed
        self._given_directions_DD = directions_DD
        self.graph = lru_cache(_GRAPHS_KEPT)(self._build_graph)

    def representatives(self, *, int8: bool = False) -> Representatives:
        """Return the label representatives, with which similarities are computed, as the artifact will hold them."""
        checkpoint = self.checkpoint
        labels = checkpoint.centroid_labels
        return Representatives.of(checkpoint.centroids, labels, len(checkpoint.labels), int8=int8)

    @cached_property
    def directions(self) -> NDArray[np.float32]:
        """The principal directions as columns, [D, D]."""
        if self._given_directions_DD is not None:
            return self._given_directions_DD
        return principal_directions(self.checkpoint.points)

    @property
    def dim(self) -> int:
        """The number of dimensions, D."""
        return int(self.checkpoint.points.shape[1])

    def projection(self, dim: int) -> NDArray[np.float32] | None:
        """Return the projection of v to z, [D, dim]; None where z has all dimensions."""
        return None if dim >= self.dim else np.ascontiguousarray(self.directions[:, :dim])

    def project(self, vectors: NDArray[np.float32], dim: int) -> NDArray[np.float32]:
        """Project vectors [N, D] to the space of the indices, [N, dim]."""
        projection_Dd = self.projection(dim)
        return vectors if projection_Dd is None else vectors @ projection_Dd

    def count(self, side: Side) -> int:
        """Return the number of vectors of the index of one side."""
        return len(self._units(side))

    def vectors(self, side: Side, dim: int) -> NDArray[np.float32]:
        """Return the vectors of the index of one side."""
        return self.project(self._units(side), dim)

    def labels(self, side: Side) -> LabelSets:
        """Return the labels of each vector of one side."""
        checkpoint = self.checkpoint
        return checkpoint.point_labels if side == "points" else LabelSets.one_each(checkpoint.centroid_labels)

    def build(self, plan: ShortlistPlan) -> Indices:
        """Build the indices of a plan."""
        return Indices(
            plan,
            self.projection(plan.dim),
            self.index("centroids", plan.dim, plan.centroids),
            self.index("points", plan.dim, plan.points),
        )

    def index(self, side: Side, dim: int, plan: IndexPlan | None) -> StoredIndex | None:
        """Return the index of one side, set to search as planned; None without a plan."""
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
