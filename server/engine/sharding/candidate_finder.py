"""The candidates of a query in one shard, from which `astec.server.client` computes the answer of the whole model.

All parts of a score but the votes depend on the label alone, so that a shard adds them up. Votes are of the nearest
training points of all shards: a shard answers with its own nearest points and the labels that they carry.

Shapes: B queries, K hits of a query, D dimensions, d of the indices, C candidates of all queries together, F candidates
of one query, L labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from astec.export.artifact.scoring.scorer import Classifiers, rank_by_sum
from astec.export.artifact.scoring.shares import Shares
from astec.export.artifact.shortlist.candidates import Candidates
from astec.export.artifact.shortlist.hidden import VISIBLE, Hidden
from astec.export.artifact.shortlist.shard_ids import ShardIds
from astec.export.artifact.shortlist.votes import Hits, vote_weights
from astec.export.artifact.store import Artifact
from astec.export.artifact.text.bags import Bags, Query
from astec.server.engine.query_encoder import QueryEncoder, Representations
from astec.server.metrics.stage_times import StageTimes

_FARTHER = 16
"""How many times as many neighbours are looked at where blocked labels leave too few; as without shards."""


class Asked(NamedTuple):
    """What is asked of a query: `mask` bool [L] has the labels that are allowed (None: all).

    `farther`: the best `top_k` labels beyond the nearest are wanted too, because the nearest of all shards are too few.
    """

    query: Query
    mask: NDArray[np.bool_] | None
    farther: bool
    top_k: int


class Found(NamedTuple):
    """The candidates of one query as JSON, and their label ids in this shard, int64 [F], in the same order."""

    json: bytes
    label_ids: NDArray[np.int64]


class CandidateFinder:
    """Finds candidates. Thread-safe; every call runs on its caller's thread alone.

    Args:
        artifact: A shard of a model.
        ids: The ids of its labels and points in the whole model.
        encoder: Of the same artifact.
    """

    def __init__(self, artifact: Artifact, ids: ShardIds, encoder: QueryEncoder) -> None:
        self._artifact, self._ids, self._encoder = artifact, ids, encoder
        self._weights = Shares.of(artifact.manifest.scoring).weights()._replace(votes=0.0)

    def find(self, asked: Sequence[Asked], hidden: Hidden | None) -> tuple[list[Found], StageTimes]:
        """Return the candidates of B queries.

        Args:
            asked: B queries.
            hidden: Which labels no answer may name, uint8 [L]; they have no text. None: there is none.
        """
        artifact, begun_s = self._artifact, perf_counter()
        bags, sequences = artifact.featurize([one.query for one in asked])
        featurized_s = perf_counter()
        encoded = self._encoder.encode(bags, sequences)
        encoded_s = perf_counter()
        hits = artifact.shortlister.hits(encoded.z)
        near = artifact.shortlister.join_hits(encoded.z, *hits)
        rows = [near.labels[begin:end] for begin, end in zip(near.offsets[:-1], near.offsets[1:], strict=True)]
        rows = [_allowed(labels_F, one.mask) for labels_F, one in zip(rows, asked, strict=True)]
        shortlisted_s = perf_counter()
        scored = self._score(rows, encoded, bags, max(map(len, rows)))
        found = []
        for row, (one, (labels_F, sums_F)) in enumerate(zip(asked, scored, strict=True)):
            num_near = len(labels_F)
            known = bool(encoded.z[row].any())
            if one.farther and known:
                farther = self._farther(one, labels_F, encoded.z[row : row + 1], hidden)
                (more,) = self._score([farther], _only(encoded, row), bags.take(np.array([row])), one.top_k)
                labels_F, sums_F = np.append(labels_F, more[0]), np.append(sums_F, more[1])
            fields = self._labels(labels_F, sums_F, hidden) | {"known": known}
            if known:
                fields |= self._hits(hits, row, labels_F[:num_near])
            found.append(Found(orjson.dumps(fields, option=orjson.OPT_SERIALIZE_NUMPY), labels_F))
        ends_s = perf_counter()
        return found, StageTimes(
            featurized_s - begun_s, encoded_s - featurized_s, shortlisted_s - encoded_s, ends_s - shortlisted_s
        )

    def _score(
        self, rows: Sequence[NDArray[np.int32]], encoded: Representations, bags: Bags, most: int
    ) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Return at most `most` labels of each query, best first, and the sums of their parts without votes."""
        artifact = self._artifact
        offsets = np.cumsum([0, *map(len, rows)], dtype=np.int64)
        labels_C = np.concatenate(rows)
        similarities_C = artifact.shortlister.similarities(labels_C, offsets, encoded.v)
        candidates = Candidates(labels_C, similarities_C, np.zeros(len(labels_C), np.float32), offsets)
        logits_C = None if artifact.sparse is None else artifact.sparse.logits(candidates, bags)
        classifier, reranker = Classifiers(encoded.x_hat, *artifact.classifier.arrays()), None
        if artifact.reranker is not None:
            reranker = Classifiers(encoded.x_tilde, *artifact.reranker.arrays())
        labels_BF, sums_BF = rank_by_sum(candidates, self._weights, max(1, most), classifier, reranker, logits_C)
        sizes = np.count_nonzero(labels_BF >= 0, axis=1).tolist()
        return [(labels_BF[row, :size], sums_BF[row, :size]) for row, size in enumerate(sizes)]

    def _farther(
        self, one: Asked, near_F: NDArray[np.int64], z_1d: NDArray[np.float32], hidden: Hidden | None
    ) -> NDArray[np.int32]:
        """Return the labels beyond the nearest: all allowed ones, or where all are allowed, those farther away."""
        allowed_L = np.ones(len(self._artifact.labels), np.bool_) if one.mask is None else one.mask.copy()
        if hidden is not None:
            allowed_L &= hidden == VISIBLE
        allowed_L[near_F] = False
        if one.mask is None:
            labels = np.unique(self._artifact.shortlister.nearby(z_1d, _FARTHER).labels)
            labels = labels[allowed_L[labels]]
            if len(labels) >= one.top_k:
                return labels
        return np.flatnonzero(allowed_L).astype(np.int32)

    def _labels(
        self, labels_F: NDArray[np.int64], sums_F: NDArray[np.float32], hidden: Hidden | None
    ) -> dict[str, Any]:
        texts: list[str | None] = [self._artifact.labels[label] for label in labels_F.tolist()]
        if hidden is not None:
            shown_F = (hidden[labels_F] == VISIBLE).tolist()
            texts = [text if shown else None for text, shown in zip(texts, shown_F, strict=True)]
        return {"ids": self._ids.labels[labels_F], "texts": texts, "sums": sums_F}

    def _hits(self, hits: tuple[Hits, Hits], row: int, labels_F: NDArray[np.int64]) -> dict[str, Any]:
        """Return the hits of one query in both indices, with the positions of their labels in `labels_F`."""
        (centroids_BK, near_BK, indptr, indices, _), points = hits
        fields: dict[str, Any] = {}
        if len(centroids_BK):
            found_K = centroids_BK[row] >= 0
            labels_K = indices[indptr[centroids_BK[row, found_K]]]  # a representative is of one label
            at_K = _positions(labels_K, labels_F)
            kept_K = at_K >= 0
            fields["centroids"] = {"similarities": near_BK[row, found_K][kept_K], "labels": at_K[kept_K]}
        points_BK, near_BK, indptr, indices, weights = points
        if len(points_BK):
            found_K = points_BK[row] >= 0
            points_K, near_K = points_BK[row, found_K], near_BK[row, found_K]
            begins_K, sizes_K = indptr[points_K], indptr[points_K + 1] - indptr[points_K]
            starts_K = np.cumsum(sizes_K) - sizes_K
            flat = np.arange(sizes_K.sum()) + np.repeat(begins_K - starts_K, sizes_K)
            at = _positions(indices[flat], labels_F)
            kept = at >= 0
            fields["points"] = {
                "ids": self._ids.points[points_K],
                "similarities": near_K,
                "weights": vote_weights(near_K),
                "sizes": np.bincount(np.repeat(np.arange(len(points_K)), sizes_K)[kept], minlength=len(points_K)),
                "labels": at[kept],
            }
            if len(weights):
                fields["points"] |= {"heaviest": self._ids.heaviest[points_K], "label_weights": weights[flat][kept]}
        return fields


def _allowed(labels_F: NDArray[np.int32], mask: NDArray[np.bool_] | None) -> NDArray[np.int32]:
    return labels_F if mask is None else labels_F[mask[labels_F]]


def _only(encoded: Representations, row: int) -> Representations:
    """Return the representations of one query."""
    return Representations(*(array[row : row + 1] for array in encoded))


def _positions(labels: NDArray[np.int32], labels_F: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the position of each label in `labels_F`, -1 for one that is not there."""
    if not len(labels_F):
        return np.full(len(labels), -1, np.int64)
    order_F = np.argsort(labels_F)
    at = order_F[np.minimum(np.searchsorted(labels_F[order_F], labels), len(labels_F) - 1)]
    return np.where(labels_F[at] == labels, at, -1)
