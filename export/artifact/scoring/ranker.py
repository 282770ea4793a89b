"""Ranks shortlisted labels by all parts of a score, in one call of a compiled kernel.

Each part of a score has a kernel of its own. For a single query, calling each of them from Python and making arrays of
its result would take as long as some of these kernels run.

Shapes: B queries, D dimensions (D~ of the re-ranker), K ranks, C candidates of all queries together, L labels.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from astec.export.artifact.kernels.weight_rows import NO_SCALES, Weights, read_only
from astec.export.artifact.scoring.scorer import best_labels, require_parts, to_scores
from astec.export.artifact.scoring.shares import PartWeights
from astec.export.artifact.scoring.sparse import SparseClassifier
from astec.export.artifact.scoring.sparse_logits import SparseArrays, sparse_logits
from astec.export.artifact.shortlist.candidates import Shortlist
from astec.export.artifact.shortlist.representatives import Representatives, best_similarities
from astec.export.artifact.text.bags import Bags

LabelWeights = tuple[Weights, NDArray[np.float32], NDArray[np.float32]]
"""A classifier row of each label [L, D], the scales of int8 rows float32 [L] ([0] for float32), biases float32 [L]."""

RankerArguments = tuple[
    tuple[NDArray[np.int64], Weights, NDArray[np.float32]],
    SparseArrays,
    LabelWeights,
    LabelWeights,
    tuple[float, float, float, float, float, float, bool],
]

_NO_ROWS = read_only(np.empty((0, 0), np.float32))
_NO_BOUNDS = read_only(np.zeros(1, np.int64))
_NO_LABEL_WEIGHTS: LabelWeights = (_NO_ROWS, NO_SCALES, NO_SCALES)
_NO_REPRESENTATIVES = Representatives(_NO_BOUNDS, _NO_ROWS, NO_SCALES)
_NO_SPARSE: SparseArrays = (
    _NO_BOUNDS,
    read_only(np.empty(0, np.uint64)),
    read_only(np.empty(0, np.int32)),
    NO_SCALES,
    NO_SCALES,
    read_only(np.empty(0, np.int32)),
    _NO_BOUNDS,
    read_only(np.empty(0, np.uint16)),
    NO_SCALES,
    0,
)


class Ranker:
    """Computes and weighs all parts of the labels' scores. Thread-safe.

    `astec.export.artifact.scoring.scorer.rank` gives the same results from parts that are computed already.

    Args:
        weights: of the parts in a score; a part of weight 0 is not computed.
        classifier: scores x-hat.
        representatives: the label representatives that v is compared with; None: all similarities are 0.
        sparse: the sparse term, which scores the tokens themselves, or None.
        reranker: scores x-tilde, or None.

    Raises:
        ValueError: a part has a weight and is not given.
    """

    def __init__(
        self,
        weights: PartWeights,
        classifier: LabelWeights,
        representatives: Representatives | None,
        sparse: SparseClassifier | None,
        reranker: LabelWeights | None,
    ) -> None:
        require_parts(weights, sparse=sparse is not None, reranker=reranker is not None)
        mu = _NO_REPRESENTATIVES if representatives is None else representatives
        self._representatives = mu.indptr, mu.vectors, mu.scales
        self._sparse = _NO_SPARSE if sparse is None else sparse.arrays()
        self._classifier = classifier
        self._reranker = _NO_LABEL_WEIGHTS if reranker is None else reranker
        # A plain tuple: to numba a named tuple is another type, which it would compile another kernel for.
        self._weights = (
            weights.classifier,
            weights.similarity,
            weights.sparse,
            weights.votes,
            weights.reranker,
            weights.bias,
            weights.as_logits,
        )

    def rank(
        self,
        shortlist: Shortlist,
        v_BD: NDArray[np.float32],
        x_hat_BD: NDArray[np.float32],
        x_tilde_BD: NDArray[np.float32],
        bags: Bags,
        top_k: int,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return labels int64 [B, K], best first, -1 where a query has fewer, and their scores float32 [B, K]."""
        return rank_labels(
            *shortlist,
            v_BD,
            x_hat_BD,
            x_tilde_BD,
            bags.ids,
            bags.weights,
            bags.offsets,
            self._representatives,
            self._sparse,
            self._classifier,
            self._reranker,
            self._weights,
            top_k,
        )

    def arguments(self) -> RankerArguments:
        """Return the arguments of `rank_labels` that do not depend on the queries."""
        return self._representatives, self._sparse, self._classifier, self._reranker, self._weights


@njit(cache=True, nogil=True)
def rank_labels(
    labels_C: NDArray[np.int32],
    votes_C: NDArray[np.float32],
    offsets: NDArray[np.int64],
    v_BD: NDArray[np.float32],
    x_hat_BD: NDArray[np.float32],
    x_tilde_BD: NDArray[np.float32],
    token_ids: NDArray[np.int32],
    token_weights: NDArray[np.float32],
    token_offsets: NDArray[np.int64],
    representatives: tuple[NDArray[np.int64], Weights, NDArray[np.float32]],
    sparse: SparseArrays,
    classifier: LabelWeights,
    reranker: LabelWeights,
    weights: tuple[float, float, float, float, float, float, bool],
    top_k: int,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Compute the parts of the scores of the shortlisted labels and rank the labels, as `Ranker.rank` describes."""
    classifier_weight, similarity_weight, sparse_weight, votes_weight, reranker_weight, bias, as_logits = weights
    if similarity_weight > 0 and len(representatives[0]) > 1:
        similarities_C = best_similarities(labels_C, offsets, v_BD, *representatives)
    else:
        similarities_C = np.zeros(len(labels_C), np.float32)
    logits_C = np.empty(0, np.float32)
    if sparse_weight > 0:
        logits_C = sparse_logits(labels_C, offsets, token_ids, token_weights, token_offsets, *sparse)
    parts = (x_hat_BD, *classifier, x_tilde_BD, *reranker, logits_C)
    part_weights = (classifier_weight, similarity_weight, sparse_weight, votes_weight, reranker_weight)
    best_BK, scores_BK = best_labels(
        labels_C, similarities_C, votes_C, offsets, *parts, *part_weights, as_logits, top_k
    )
    if as_logits:
        to_scores(best_BK, scores_BK, bias)
    return best_BK, scores_BK
