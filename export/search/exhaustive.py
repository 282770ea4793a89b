"""Exhaustive scoring: every label is a candidate. Shortlists are compared with it.

Shapes: B queries, L labels, C candidates of all queries together, D dimensions, d of the indices.
"""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.index.base import StoredIndex
from astec.export.artifact.index.flat import FlatIndex
from astec.export.artifact.shortlist.candidates import Shortlist
from astec.export.artifact.shortlist.label_graph import LabelGraph
from astec.export.artifact.shortlist.shortlister import Shortlister


class ExhaustiveShortlister(Shortlister):
    """A shortlister that returns all labels, without any limit, with the votes of the points that it finds.

    Memory: 12 bytes for each query and label.

    Args:
        shortlister: the shortlister whose indices are searched for votes.
        num_labels: L.
    """

    def __init__(self, shortlister: Shortlister, num_labels: int) -> None:
        super().__init__(shortlister.centroids, shortlister.points, shortlister.representatives)
        self._labels_L = np.arange(num_labels, dtype=np.int32)

    def shortlist(self, z_Bd: NDArray[np.float32]) -> Shortlist:
        """Return all L labels for each query with a known token; no labels for other queries."""
        near = super().shortlist(z_Bd)
        known_B = z_Bd.any(axis=1)
        offsets = np.concatenate([[0], np.cumsum(known_B * len(self._labels_L))]).astype(np.int64)
        labels = np.tile(self._labels_L, int(known_B.sum()))
        votes = np.zeros(len(labels), np.float32)
        votes[np.repeat(offsets[:-1], np.diff(near.offsets)) + near.labels] = near.votes
        return Shortlist(labels, votes, offsets)


def search_exactly(shortlister: Shortlister) -> Shortlister:
    """Return a shortlister that searches the same vectors by brute force."""
    centroids, points = (_exact(graph) for graph in (shortlister.centroids, shortlister.points))
    return Shortlister(centroids, points, shortlister.representatives, shortlister.max_candidates)


def _exact(graph: LabelGraph | None) -> LabelGraph | None:
    if graph is None:
        return None
    vectors_ND = cast(StoredIndex, graph.index).vectors()
    return LabelGraph(FlatIndex(vectors_ND), graph.labels, graph.neighbours, graph.added)
