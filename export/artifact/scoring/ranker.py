"""From shortlisted labels to ranked ones with all that an artifact knows of them, in one call of a kernel.

The parts of a score have kernels of their own. To call each from Python, and to make arrays of what it returns, takes
as long for a single query as some of them do.

Shapes: B queries, D dimensions (D~ of the re-ranker), K ranks, C candidates of all queries together.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from astec.export.artifact.kernels.weight_rows import NO_SCALES, Weights, read_only
from astec.export.artifact.manifest import PartShares
from astec.export.artifact.scoring.scorer import best_labels, require_parts
from astec.export.artifact.scoring.sparse import SparseClassifier
from astec.export.artifact.scoring.sparse_logits import SparseArrays, sparse_logits
from astec.export.artifact.shortlist.candidates import Shortlist
from astec.export.artifact.shortlist.representatives import Representatives, best_similarities
from astec.export.artifact.text.bags import Bags

LabelWeights = tuple[Weights, NDArray[np.float32], NDArray[np.float32]]
"""Rows of labels [L, D], their scales float32 [L] where they are in int8, else [0], and biases float32 [L]."""

RankerArguments = tuple[
    tuple[NDArray[np.int64], Weights, NDArray[np.float32]],
    SparseArrays,
    LabelWeights,
    LabelWeights,
    tuple[float, float, float, float, float],
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
    """Scores labels by all parts that have a share, from what they need, as `scorer.rank` does from parts. Thread-safe.

    Args:
        shares: of each part.
        classifier: of the representation x-hat.
        representatives: what v is compared with; None: nothing is similar to anything.
        sparse: of the tokens themselves, or None.
        reranker: of the representation x-tilde, or None.

    Raises:
        ValueError: a part has a share and is not given.
    """

    def __init__(
        self,
        shares: PartShares,
        classifier: LabelWeights,
        representatives: Representatives | None,
        sparse: SparseClassifier | None,
        reranker: LabelWeights | None,
    ) -> None:
        require_parts(shares, sparse=sparse is not None, reranker=reranker is not None)
        mu = _NO_REPRESENTATIVES if representatives is None else representatives
        self._representatives = mu.indptr, mu.vectors, mu.scales
        self._sparse = _NO_SPARSE if sparse is None else sparse.arrays()
        self._classifier = classifier
        self._reranker = _NO_LABEL_WEIGHTS if reranker is None else reranker
        # As numba knows tuples best.
        self._shares = shares.classifier, shares.similarity, shares.sparse, shares.votes, shares.reranker

    def rank(
        self,
        shortlist: Shortlist,
        v_BD: NDArray[np.float32],
        x_hat_BD: NDArray[np.float32],
        x_tilde_BD: NDArray[np.float32],
        bags: Bags,
        top_k: int,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Labels int64 [B, K], best first, -1 where a query has fewer, and their scores float32 [B, K]."""
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
            self._shares,
            top_k,
        )

    def arguments(self) -> RankerArguments:
        """What `rank_labels` takes of the labels."""
        return self._representatives, self._sparse, self._classifier, self._reranker, self._shares


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
    shares: tuple[float, float, float, float, float],
    top_k: int,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """See `Ranker.rank`."""
    _, similarity, tokens, _, _ = shares
    if similarity > 0 and len(representatives[0]) > 1:
        similarities_C = best_similarities(labels_C, offsets, v_BD, *representatives)
    else:
        similarities_C = np.zeros(len(labels_C), np.float32)
    logits_C = np.empty(0, np.float32)
    if tokens > 0:
        logits_C = sparse_logits(labels_C, offsets, token_ids, token_weights, token_offsets, *sparse)
    parts = (x_hat_BD, *classifier, x_tilde_BD, *reranker, logits_C, *shares)
    return best_labels(labels_C, similarities_C, votes_C, offsets, *parts, top_k)
