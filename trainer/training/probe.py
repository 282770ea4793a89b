"""Figures of a model that is still learning, on a few held-out texts: cheap enough for every epoch.

Shapes: R held-out texts, D dimensions, L labels or clusters, C candidates of all texts together, K ranks.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor

from astec.export.artifact.shortlist.candidates import Candidates
from astec.export.ranking_metrics import RankingMetrics
from astec.trainer.numerics.device import to_device
from astec.trainer.parallel.world import ALONE, World
from astec.trainer.training.ranking import rank_candidates, shortlist_recall

PROBE_TEXTS = 1_000
"""The number of held-out texts that a probe uses: P@1 is then exact to about 1.5 points."""
RECALL_KS = (10, 50, 100, 300)
_RANKS = (1, 3, 5)
_SCORES_AT_ONCE = 1 << 24
_PAIRS_AT_ONCE = 1 << 13


def progress_metrics(
    x_RD: Tensor,
    weight_LD: Tensor,
    bias_L: Tensor,
    relevant_RL: csr_matrix,
    candidates: Candidates | None,
    owners: World = ALONE,
) -> dict[str, float]:
    """Return P@1, P@3 and P@5 of classifiers w_l . x + b_l, in percent.

    Args:
        x_RD: final representations of the texts, without dropout, float32.
        weight_LD: classifiers so far, float32, of labels or, in Module I, of label clusters.
        bias_L: bias of each classifier.
        relevant_RL: the labels or clusters that are relevant to each text; texts without any do not count.
        candidates: the labels that a text is scored against; None for all.
        owners: the processes that the labels are split over, if there are candidates; each has the rows of its labels.

    Returns:
        `{"P@1": ..., "P@3": ..., "P@5": ...}`; empty where no text has anything relevant.
    """
    if relevant_RL.nnz == 0:
        return {}
    if candidates is None:
        ranked_RK = _rank_all(x_RD, weight_LD, bias_L)
    else:
        scores_C = _gather_logits(x_RD, weight_LD, bias_L, candidates, owners)
        ranked_RK, _ = rank_candidates(scores_C, candidates, _RANKS[-1])
    metrics = RankingMetrics(_RANKS)
    metrics.update(ranked_RK, np.split(relevant_RL.indices.astype(np.int64), relevant_RL.indptr[1:-1]))
    figures = metrics.result()
    return {f"P@{k}": round(figures[f"P@{k}"], 2) for k in _RANKS}


def recall_metrics(candidates: Candidates, relevant_RL: csr_matrix) -> dict[str, float]:
    """Return shortlist recall at 10, 50, 100 and 300, in percent; empty where no text has a relevant label."""
    if relevant_RL.nnz == 0:
        return {}
    recall = shortlist_recall(candidates, relevant_RL, RECALL_KS)
    return {f"shortlist recall@{k}": round(percent, 2) for k, percent in recall.items()}


@torch.no_grad()
def candidate_logits(x_RD: Tensor, weight_LD: Tensor, bias_L: Tensor, candidates: Candidates) -> NDArray[np.float32]:
    """Return w_l . x + b_l of every candidate of every text, float32 [C].

    Where the classifiers are in main memory and `x_RD` on a GPU, only the candidates' rows go there.
    """
    return _pair_logits(x_RD, weight_LD, bias_L, _rows(candidates), candidates.labels)


@torch.no_grad()
def _gather_logits(
    x_RD: Tensor, weight_LD: Tensor, bias_L: Tensor, candidates: Candidates, owners: World
) -> NDArray[np.float32]:
    """Return the logits of all candidates where the classifiers' rows are split over processes, float32 [C]."""
    own_C = owners.owns(candidates.labels)
    rows, labels = _rows(candidates)[own_C], candidates.labels[own_C] // owners.size
    logits_C = np.zeros(len(own_C), np.float32)
    logits_C[own_C] = _pair_logits(x_RD, weight_LD, bias_L, rows, labels)
    owners.sum_(torch.from_numpy(logits_C))
    return logits_C


def _rows(candidates: Candidates) -> NDArray[np.int64]:
    """Return the row of the text of each candidate, int64 [C]."""
    return np.repeat(np.arange(len(candidates.offsets) - 1), np.diff(candidates.offsets))


def _pair_logits(
    x_RD: Tensor, weight_LD: Tensor, bias_L: Tensor, rows_C: NDArray[np.int64], labels_C: NDArray[np.int32]
) -> NDArray[np.float32]:
    logits_C = np.empty(len(rows_C), np.float32)
    if x_RD.device.type == weight_LD.device.type == "cpu":
        _multiply_pairs(x_RD.numpy(), weight_LD.numpy(), bias_L.numpy(), rows_C, labels_C, logits_C)
    else:
        _multiply_copies(x_RD, weight_LD, bias_L, rows_C, labels_C, logits_C)
    return logits_C


def _multiply_copies(
    x_RD: Tensor,
    weight_LD: Tensor,
    bias_L: Tensor,
    rows_C: NDArray[np.int64],
    labels_C: NDArray[np.int32],
    logits_C: NDArray[np.float32],
) -> None:
    """Do the same as `_multiply_pairs` on any devices, on copies of the rows of some pairs at a time."""
    device = x_RD.device
    for begin in range(0, len(rows_C), _PAIRS_AT_ONCE):
        some = slice(begin, begin + _PAIRS_AT_ONCE)
        rows, labels = to_device(rows_C[some], device), to_device(labels_C[some], weight_LD.device)
        weight_PD, bias_P = weight_LD[labels].to(device), bias_L[labels].to(device)
        logits_C[some] = ((weight_PD * x_RD[rows]).sum(dim=1) + bias_P).cpu().numpy()


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _multiply_pairs(
    x_RD: NDArray[np.float32],
    weight_LD: NDArray[np.float32],
    bias_L: NDArray[np.float32],
    rows_C: NDArray[np.int64],
    labels_C: NDArray[np.int32],
    logits_C: NDArray[np.float32],
) -> None:
    """Write the logit of each pair, without a copy of the rows of its text and its label."""
    for pair in range(len(rows_C)):
        row, label = rows_C[pair], labels_C[pair]
        logit = np.float32(0)
        for d in range(x_RD.shape[1]):
            logit += x_RD[row, d] * weight_LD[label, d]
        logits_C[pair] = logit + bias_L[label]


@torch.no_grad()
def _rank_all(x_RD: Tensor, weight_LD: Tensor, bias_L: Tensor) -> NDArray[np.int64]:
    """Rank all labels for each text, int64 [R, K], with never more than 64 MiB of logits at once."""
    k = min(_RANKS[-1], len(bias_L))
    chunks = torch.split(x_RD, max(1, _SCORES_AT_ONCE // len(bias_L)))
    ranked = [torch.addmm(bias_L, x_BD, weight_LD.T).topk(k).indices for x_BD in chunks]
    return torch.cat(ranked).cpu().numpy()
