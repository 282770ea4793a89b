"""The fused kernel: from folded texts to ranked labels in one call, where every stage is a numba kernel.

A single query spends a third of its time between the stages: in Python, and in passing arrays to a kernel and back. The
fused kernel calls the kernels of the stages one after the other.

Shapes: B queries, K ranks and neighbours, D dimensions, d of the index, V vocabulary, T tokens and C candidates of all
queries together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from astec.export.artifact.encoder.embeddings import add_embeddings
from astec.export.artifact.encoder.head import apply_head
from astec.export.artifact.index.added_vectors import merge_added
from astec.export.artifact.index.graph_index import GraphIndex
from astec.export.artifact.index.hnsw_walk import walk
from astec.export.artifact.kernels.clock import now_s
from astec.export.artifact.kernels.pinned_arguments import PinnedArguments
from astec.export.artifact.scoring.ranker import Ranker, rank_labels
from astec.export.artifact.shortlist.votes import NO_CENTROIDS, join
from astec.export.artifact.signals.query_signals import NO_SIGNALS, measure_scores, measure_words
from astec.export.artifact.store import Artifact
from astec.export.artifact.text.featurizer import TextFeaturizer
from astec.export.artifact.text.tfidf import featurize
from astec.export.artifact.text.tokens import Codes


class Pipeline:
    """Answers texts by the fused kernel. Thread-safe; runs on the calling thread only."""

    def __init__(self, featurizer: TextFeaturizer, pinned: PinnedArguments) -> None:
        self._featurizer, self._pinned = featurizer, pinned

    @classmethod
    def of(cls, artifact: Artifact, ranker: Ranker) -> Pipeline | None:
        """Return the pipeline of an artifact, or None if a stage is not a kernel: another encoder or hnswlib's index.

        Args:
            artifact: the model.
            ranker: of the same artifact.
        """
        featurizer, head, points = artifact.featurizer, artifact.head, artifact.shortlister.points
        if not isinstance(featurizer, TextFeaturizer) or head is None or artifact.reranker is not None:
            return None
        if artifact.shortlister.centroids is not None or points is None or not isinstance(points.index, GraphIndex):
            return None
        values = (
            featurizer.arguments(),
            (artifact.embeddings.rows, artifact.embeddings.scales),
            head.arrays(),
            points.index.arguments(points.neighbours),
            (
                (points.added, points.index.count, points.neighbours),
                points.labels.indptr,
                points.labels.indices,
                points.labels.weights,
                artifact.shortlister.most,
            ),
            NO_CENTROIDS,
            ranker.arguments(),
        )
        return cls(featurizer, PinnedArguments(values))

    def rank(
        self, texts: Sequence[str], top_k: int, signals_B3: NDArray[np.float64] = NO_SIGNALS
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float64]]:
        """Rank the labels of B texts.

        Args:
            texts: B texts.
            top_k: K, the most labels of a text.
            signals_B3: from `place_for_signals`, to write the signals into; `NO_SIGNALS`: measure none.

        Returns:
            Labels int64 [B, K], best first, -1 where a query has fewer; their scores float32 [B, K]; and the seconds of
            featurizing, encoding, shortlisting and scoring, float64 [4].
        """
        codes = self._featurizer.encode(texts)
        labels_BK, scores_BK, times = _answer(self._pinned, codes, len(texts), top_k, signals_B3)
        return labels_BK, scores_BK, times


@njit(cache=True, nogil=True)
def _answer(
    pinned: PinnedArguments, codes: Codes, num_texts: int, top_k: int, signals_B3: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float64]]:
    featurizer, (rows_VD, scales_V), head, graph, points, no_centroids, ranker = pinned.values
    begun_s = now_s()
    ids_T, weights_T, bounds = featurize(codes, num_texts, *featurizer)
    featurized_s = now_s()
    bag_BD = np.empty((num_texts, rows_VD.shape[1]), np.float32)
    add_embeddings(rows_VD, scales_V, ids_T, weights_T, bounds, bag_BD)
    v_BD, z_Bd, x_hat_BD = apply_head(bag_BD, *head)
    encoded_s = now_s()
    hits_BK, similarities_BK = walk(z_Bd, *graph)
    (added_Ad, num_nodes, neighbours), indptr, labels, label_weights, most = points
    if len(added_Ad):
        hits_BK, similarities_BK = merge_added(z_Bd, added_Ad, num_nodes, hits_BK, similarities_BK, neighbours)
    no_hits_BK, no_indptr, no_labels = no_centroids
    labels_C, votes_C, offsets = join(
        z_Bd, no_hits_BK, no_indptr, no_labels, hits_BK, similarities_BK, indptr, labels, label_weights, most
    )
    shortlisted_s = now_s()
    representatives, sparse, classifier, reranker, shares = ranker
    best_BK, scores_BK = rank_labels(
        labels_C,
        votes_C,
        offsets,
        v_BD,
        x_hat_BD,
        np.empty((num_texts, 0), np.float32),
        ids_T,
        weights_T,
        bounds,
        representatives,
        sparse,
        classifier,
        reranker,
        shares,
        top_k,
    )
    ends_s = np.array([begun_s, featurized_s, encoded_s, shortlisted_s, now_s()])
    if len(signals_B3):
        measure_words(codes, featurizer[0], signals_B3)
        measure_scores(best_BK, scores_BK, signals_B3)
    return best_BK, scores_BK, ends_s[1:] - ends_s[:-1]
