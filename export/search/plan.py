"""The plan of an artifact's indices (how they are built and searched), and the space of plans to choose from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from astec.export.artifact.index.base import Backend, HnswParams

ShortlistKind = Literal["points", "centroids", "union"]
Side = Literal["centroids", "points"]

EF_CONSTRUCTION = 200
# Comparing a query with every vector reads them in order: up to this many numbers, it is faster than walking a graph.
FLAT_MAX_NUMBERS = 1 << 18


@dataclass(frozen=True, slots=True)
class IndexPlan:
    """The plan of one index; the nearest `neighbours` hits of a query count."""

    backend: Backend
    params: HnswParams
    neighbours: int

    def in_int8(self) -> IndexPlan:
        """Return the same graph over vectors in int8 where they are in float32; exact search stays."""
        return self if self.backend == "flat" else replace(self, backend="hnsw-int8")


@dataclass(frozen=True, slots=True)
class ShortlistPlan:
    """The plan of a shortlist: the indices, of which there is at least one, and the labels to score.

    Attributes:
        dim: dimensions of the indices.
        centroids: the index over label representatives, if there is one.
        points: the index over training points, if there is one.
        max_candidates: most labels of a query to score; None scores all.
    """

    dim: int
    centroids: IndexPlan | None
    points: IndexPlan | None
    max_candidates: int | None = None

    def __post_init__(self) -> None:
        if self.centroids is None and self.points is None:
            raise ValueError("a shortlist needs an index over label representatives or over training points")

    @property
    def kind(self) -> ShortlistKind:
        """The kind of the shortlist, by its indices."""
        if self.centroids is None:
            return "points"
        return "centroids" if self.points is None else "union"

    def in_int8(self) -> ShortlistPlan:
        """Return the same graphs over vectors in int8; exact search stays."""
        sides = {side: plan.in_int8() for side, plan in self.sides().items()}
        return replace(self, centroids=sides.get("centroids"), points=sides.get("points"))

    def sides(self) -> dict[Side, IndexPlan]:
        """Return the plans of the indices that there are, by side."""
        plans: dict[Side, IndexPlan | None] = {"centroids": self.centroids, "points": self.points}
        return {side: plan for side, plan in plans.items() if plan is not None}


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """The values to choose a plan from; a single value pins the choice.

    Attributes:
        kinds: sources of labels.
        backend: backend of the indices; None takes hnsw-float32, or flat for few vectors.
        dims: dimensions of the indices; values above D count as D.
        neighbours: numbers of hits of a query among the training points.
        centroid_neighbours: numbers of hits of a query among the label representatives.
        ms: links of a node of a graph, most promising first: with very many vectors not all are tried.
        ef_search: candidates visited in a search; None tries multiples of the number of neighbours.
        max_candidates: most labels of a query to score, tried on the plan that is chosen otherwise; empty scores all.
        max_loss: most points of P@k (the mean of P@1, P@3 and P@5) that may be lost on texts that did not choose.
        max_psp_loss: most points of PSP@k that may be lost on them.
    """

    kinds: tuple[ShortlistKind, ...] = ("points", "centroids", "union")
    backend: Backend | None = None
    dims: tuple[int, ...] = (32, 64, 96, 128, 192)
    neighbours: tuple[int, ...] = (10, 20, 30, 50)
    centroid_neighbours: tuple[int, ...] = (50, 100, 300)
    ms: tuple[int, ...] = (16, 8, 32)
    ef_search: int | None = None
    max_candidates: tuple[int, ...] = (32, 48, 64, 96, 128)
    max_loss: float = 0.3
    max_psp_loss: float = 1.0

    def __post_init__(self) -> None:
        for name in ("kinds", "dims", "neighbours", "centroid_neighbours", "ms"):
            if not getattr(self, name):
                raise ValueError(f"{name} is empty: there is nothing to choose from")

    @property
    def pinned_max_candidates(self) -> int | None:
        """The single limit of labels to score; None where there are several or none."""
        return self.max_candidates[0] if len(self.max_candidates) == 1 else None

    def neighbours_of(self, kind: ShortlistKind) -> dict[Side, tuple[int, ...]]:
        """Return the numbers of hits to choose from on each side of a shortlist."""
        numbers: dict[Side, tuple[int, ...]] = {}
        if kind != "points":
            numbers["centroids"] = self.centroid_neighbours
        if kind != "centroids":
            numbers["points"] = self.neighbours
        return numbers

    def backend_for(self, count: int, dim: int) -> Backend:
        """Return the backend for `count` vectors of `dim` numbers."""
        if self.backend is not None:
            return self.backend
        return "flat" if count * dim <= FLAT_MAX_NUMBERS else "hnsw-float32"
