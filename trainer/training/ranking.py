"""The best candidates of each text, and the ranks of the relevant labels in its shortlist.

Shapes: R texts, C candidates of all texts together, K ranks, L labels, P relevant (text, label) pairs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from astec.export.artifact.shortlist.candidates import Candidates


def rank_candidates(
    scores_C: NDArray[np.float32], candidates: Candidates, k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Rank the k best candidates of each text.

    Equal scores keep the order of the candidates.

    Returns:
        Labels int64 [R, k] and their scores float32 [R, k], best first; -1 and 0 where a text has fewer.
    """
    num_texts = len(candidates.offsets) - 1
    ranked_RK, best_RK = np.full((num_texts, k), -1, np.int64), np.zeros((num_texts, k), np.float32)
    _rank(scores_C, candidates.labels, candidates.offsets, ranked_RK, best_RK)
    return ranked_RK, best_RK


def shortlist_recall(candidates: Candidates, labels_RL: csr_matrix, ks: Sequence[int]) -> dict[int, float]:
    """Return the recall of the shortlists in percent, for each k.

    A text's recall at k is the share of its relevant labels that are among its k most similar candidates.

    Args:
        candidates: of the R texts.
        labels_RL: the relevant labels of the texts, with sorted indices; texts without any do not count.
        ks: ranks; a k beyond the length of a shortlist stands for the whole shortlist.

    Raises:
        ValueError: no text has a relevant label.
    """
    indptr, indices = labels_RL.indptr.astype(np.int64), labels_RL.indices.astype(np.int32)
    if not len(indices):
        raise ValueError(f"none of {labels_RL.shape[0]} texts has a relevant label: there is no recall to measure")
    ranks_P = np.full(len(indices), np.iinfo(np.int64).max)
    _find_ranks(candidates.similarities, candidates.labels, candidates.offsets, indptr, indices, ranks_P)
    sizes_R = np.diff(indptr)
    shares_P = np.repeat(1 / np.maximum(sizes_R, 1), sizes_R)
    num_counted = np.count_nonzero(sizes_R)
    return {k: 100 * float(shares_P[ranks_P < k].sum() / num_counted) for k in ks}


@njit(cache=True, nogil=True)
def _rank(
    scores_C: NDArray[np.float32],
    labels_C: NDArray[np.int32],
    offsets: NDArray[np.int64],
    ranked_RK: NDArray[np.int64],
    best_RK: NDArray[np.float32],
) -> None:
    for row in range(len(offsets) - 1):
        begin, end = offsets[row], offsets[row + 1]
        order = np.argsort(-scores_C[begin:end], kind="mergesort")
        for rank in range(min(len(order), ranked_RK.shape[1])):
            ranked_RK[row, rank] = labels_C[begin + order[rank]]
            best_RK[row, rank] = scores_C[begin + order[rank]]


@njit(cache=True, nogil=True)
def _find_ranks(
    scores_C: NDArray[np.float32],
    labels_C: NDArray[np.int32],
    offsets: NDArray[np.int64],
    indptr: NDArray[np.int64],
    indices_P: NDArray[np.int32],
    ranks_P: NDArray[np.int64],
) -> None:
    """Write the rank, from 0, of every relevant label that is a candidate of its text; leave the rest as it is."""
    for row in range(len(offsets) - 1):
        relevant = indices_P[indptr[row] : indptr[row + 1]]
        begin, end = offsets[row], offsets[row + 1]
        order = np.argsort(-scores_C[begin:end], kind="mergesort")
        for rank in range(len(order)):
            label = labels_C[begin + order[rank]]
            at = np.searchsorted(relevant, label)
            if at < len(relevant) and relevant[at] == label:
                ranks_P[indptr[row] + at] = rank
