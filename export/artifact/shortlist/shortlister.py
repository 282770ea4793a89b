"""From a representation to the few labels worth scoring: the labels of its nearest neighbours (paper, section 4).

A query's candidates are the labels of its nearest label representatives (ANNS-mu), of its nearest training points
(ANNS-x), or of both. The indices may be searched in a space z of fewer dimensions than the representations v: this
costs a fraction of the time and hardly changes the neighbours. The similarity s_l(v), by which a candidate is scored,
is exact: the cosine similarity of v, in all its dimensions, with the label's most similar representative. Where a query
has too many candidates, those with the fewest votes may be dropped before any of their weights are read.

Shapes: B queries, D dimensions, d dimensions of the indices, C candidates of all queries together, M the largest number
of candidates of a query, K hits of a query.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.index.added_vectors import open_added_vectors
from astec.export.artifact.labels.label_sets import LabelSets
from astec.export.artifact.manifest import Manifest
from astec.export.artifact.shortlist.candidates import Candidates, Shortlist
from astec.export.artifact.shortlist.label_graph import (
    CENTROIDS_FILE,
    NO_ADDED,
    POINT_LABELS_FILES,
    POINTS_FILE,
    LabelGraph,
)
from astec.export.artifact.shortlist.representatives import Representatives, open_centroid_labels
from astec.export.artifact.shortlist.votes import NO_HITS, Hits, join, vote_shares

_NO_LIMIT = 2**31  # no query has as many candidates: label ids have 32 bits


class Voters(NamedTuple):
    """The training points near a query, nearest first, and what each adds to the votes of its heaviest labels.

    Shapes: `points` int64, `similarities` (cosine) and `votes` float32, all [K]; the votes of all voters add up to 1.
    """

    points: NDArray[np.int64]
    similarities: NDArray[np.float32]
    votes: NDArray[np.float32]


class Shortlister:
    """Searches the indices, joins the labels of the hits and measures their similarities. Thread-safe.

    Args:
        centroids: index over label representatives, or None.
        points: index over training points, or None.
        representatives: the vectors that similarities are measured with; None: all similarities are 0.
        max_candidates: M. The labels of a query with the highest votes are kept; of equal votes, those found first
            (by representatives before points, by near hits before far ones). None: all labels are kept.

    Raises:
        ValueError: there is no index at all, or `max_candidates` is below 1.
    """

    def __init__(
        self,
        centroids: LabelGraph | None,
        points: LabelGraph | None,
        representatives: Representatives | None,
        max_candidates: int | None = None,
    ) -> None:
        if centroids is None and points is None:
            raise ValueError("a shortlist needs an index over label representatives or over training points")
        if max_candidates is not None and max_candidates < 1:
            raise ValueError(f"max_candidates is {max_candidates}; it must be at least 1, or None for no limit")
        self.centroids, self.points, self.representatives = centroids, points, representatives
        self.max_candidates = max_candidates
        self.most = _NO_LIMIT if max_candidates is None else max_candidates

    @classmethod
    def open(cls, folder: Path, manifest: Manifest, *, measured: bool) -> Shortlister:
        """Open the indices and representatives that the manifest lists.

        Args:
            folder: the folder of the artifact.
            manifest: the artifact's manifest.
            measured: whether similarities have a weight in the score, for which the representatives are needed.

        Raises:
            ValueError: a file is damaged, or contradicts the manifest or another file.
        """
        sizes, update = manifest.dimensions, manifest.update
        representatives, centroids, points, added = None, None, None, NO_ADDED
        if update is not None and update.added_labels:
            added = open_added_vectors(folder, update.added_labels, sizes.shortlist_dim)
        if manifest.centroids is not None or measured:
            labels = open_centroid_labels(folder, sizes.num_representatives, sizes.num_labels)
        if measured:
            int8 = manifest.weights == "int8"
            representatives = Representatives.open(folder, labels, sizes.num_labels, sizes.dim, int8=int8)
        if manifest.centroids is not None:
            one_each = LabelSets.one_each(labels)
            centroids = LabelGraph.open(
                folder / CENTROIDS_FILE, manifest.centroids, one_each, sizes.shortlist_dim, added
            )
        if manifest.points is not None:
            count, weighted = sizes.num_points, manifest.point_weights
            sets = LabelSets.open(folder, POINT_LABELS_FILES, count, sizes.num_labels, weighted=weighted)
            points = LabelGraph.open(folder / POINTS_FILE, manifest.points, sets, sizes.shortlist_dim, added)
        return cls(centroids, points, representatives, manifest.max_candidates)

    def search(self, z_Bd: NDArray[np.float32], v_BD: NDArray[np.float32]) -> Candidates:
        """Return the candidates of B representations v, whose projections into the space of the indices are z."""
        labels, votes, offsets = self.shortlist(z_Bd)
        return Candidates(labels, self.similarities(labels, offsets, v_BD), votes, offsets)

    def shortlist(self, z_Bd: NDArray[np.float32]) -> Shortlist:
        """Return at most M labels of the nearest neighbours of each z; none for a zero vector (no token is known)."""
        return self.join_hits(z_Bd, *self.hits(z_Bd), self.most)

    def nearby(self, z_Bd: NDArray[np.float32], times: int = 1) -> Shortlist:
        """Return all labels of the nearest neighbours of each z, without the limit M; of `times` as many neighbours."""
        return self.join_hits(z_Bd, *self.hits(z_Bd, times))

    def voters(self, z_1d: NDArray[np.float32]) -> Voters:
        """Return the training points that vote for the labels of a single query.

        There are none without an index over points, or where no token of the query is known.
        """
        hits_1K, similarities_1K, indptr, _, weights = NO_HITS if self.points is None else self.points.search(z_1d)
        found_K = hits_1K[0] >= 0 if len(hits_1K) and z_1d.any() else np.zeros(0, np.bool_)
        if not found_K.any():
            return Voters(np.empty(0, np.int64), np.empty(0, np.float32), np.empty(0, np.float32))
        shares_K = vote_shares(hits_1K, similarities_1K, indptr, weights)
        return Voters(hits_1K[0, found_K], similarities_1K[0, found_K], shares_K[found_K])

    def similarities(
        self, labels_C: NDArray[np.int32], offsets: NDArray[np.int64], v_BD: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return s_l(v) of labels of each query, float32 [C]; shapes as in `Candidates`."""
        if self.representatives is None:
            return np.zeros(len(labels_C), np.float32)
        return self.representatives.similarities(labels_C, offsets, v_BD)

    def hits(self, z_Bd: NDArray[np.float32], times: int = 1) -> tuple[Hits, Hits]:
        """Return the hits of each z among label representatives and among training points; `times` as many as usual."""
        centroids = NO_HITS if self.centroids is None else self.centroids.search(z_Bd, times)
        return centroids, NO_HITS if self.points is None else self.points.search(z_Bd, times)

    def join_hits(self, z_Bd: NDArray[np.float32], centroids: Hits, points: Hits, most: int = _NO_LIMIT) -> Shortlist:
        """Return the labels of hits that `hits` has found, of each query at most `most`."""
        hits_BK, _, indptr, labels, _ = centroids
        return Shortlist(*join(z_Bd, hits_BK, indptr, labels, *points, most))
