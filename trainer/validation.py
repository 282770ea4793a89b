"""Choosing alpha on held-out training texts (paper, A.1), and the figures reached there.

Shapes: R held-out texts, C their candidates, D dimensions, K ranks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from export.artifact.shortlist import Candidates, Shortlister
from export.metrics import RankingMetrics, inverse_propensities
from trainer.data import Examples
from trainer.extreme import ExtremeModel
from trainer.sampling import shortlist_all
from trainer.tensors import to_device

ALPHAS = tuple(round(0.1 * step, 1) for step in range(11))
_RANKS = (1, 3, 5)
_SCORE_PAIRS = 1 << 16


@dataclass(frozen=True, slots=True)
class AlphaChoice:
    """The alpha with the best mean of P@1, P@3 and P@5, its metrics in percent, and every trial."""

    alpha: float
    metrics: dict[str, float]
    trials: list[dict[str, float]]


def choose_alpha(
    shortlister: Shortlister,
    model: ExtremeModel,
    v_RD: NDArray[np.float32],
    held_labels_RL: csr_matrix,
    train: Examples,
) -> AlphaChoice:
    """Score the held-out texts once, then mix classifier and similarity in every proportion."""
    weights_L = inverse_propensities(train.label_counts(), len(train))
    relevant = np.split(held_labels_RL.indices.astype(np.int64), held_labels_RL.indptr[1:-1])
    candidates = join_candidates(shortlist_all(shortlister, v_RD, "shortlisting held-out texts"))
    classifier_C = _sigmoid(score_candidates(model, v_RD, candidates))
    similarity_C = _sigmoid(candidates.similarities)
    trials = []
    for alpha in ALPHAS:
        ranked_RK = _rank(alpha * classifier_C + (1 - alpha) * similarity_C, candidates, _RANKS[-1])
        metrics = RankingMetrics(_RANKS, weights_L)
        metrics.update(ranked_RK, relevant)
        trials.append({"alpha": alpha, **metrics.result()})
    best = max(trials, key=lambda trial: sum(trial[f"P@{k}"] for k in _RANKS))
    longest = int(np.diff(candidates.offsets).max())  # 0 where no held-out text has a known token
    recall = RankingMetrics((), recall_ks=(max(longest, 1),))
    recall.update(_pad(candidates), relevant)
    metrics_of_best = {name: round(value, 2) for name, value in best.items() if name != "alpha"}
    return AlphaChoice(
        best["alpha"], metrics_of_best | {"shortlist recall": round(recall.result().popitem()[1], 2)}, trials
    )


def join_candidates(chunks: list[Candidates]) -> Candidates:
    """The candidates of all chunks, one after the other."""
    lengths = np.concatenate([np.diff(chunk.offsets) for chunk in chunks])
    return Candidates(
        np.concatenate([chunk.labels for chunk in chunks]),
        np.concatenate([chunk.similarities for chunk in chunks]),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
    )


@torch.no_grad()
def score_candidates(model: ExtremeModel, v_RD: NDArray[np.float32], candidates: Candidates) -> NDArray[np.float32]:
    """Classifier logits w_l . x-hat + b_l of every candidate, float32 [C]."""
    device = model.classifier.device
    x_RD = model.transform(to_device(v_RD, device))
    rows_C = np.repeat(np.arange(len(v_RD)), np.diff(candidates.offsets))
    logits = [np.empty(0, np.float32)]
    for begin in range(0, len(rows_C), _SCORE_PAIRS):
        rows = to_device(rows_C[begin : begin + _SCORE_PAIRS], device)
        labels = to_device(candidates.labels[begin : begin + _SCORE_PAIRS], device)
        scores = (model.classifier[labels] * x_RD[rows]).sum(dim=1) + model.bias[labels]
        logits.append(scores.cpu().numpy())
    return np.concatenate(logits)


def _sigmoid(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return (1 / (1 + np.exp(-x))).astype(np.float32)


def _rank(scores_C: NDArray[np.float32], candidates: Candidates, k: int) -> NDArray[np.int64]:
    """The k best labels of each text, int64 [R, k], -1 where fewer."""
    ranked_RK = np.full((len(candidates.offsets) - 1, k), -1, np.int64)
    for row, (begin, end) in enumerate(zip(candidates.offsets, candidates.offsets[1:], strict=False)):
        best = np.argsort(-scores_C[begin:end], kind="stable")[:k]
        ranked_RK[row, : len(best)] = candidates.labels[begin:end][best]
    return ranked_RK


def _pad(candidates: Candidates) -> NDArray[np.int64]:
    lengths = np.diff(candidates.offsets)
    padded = np.full((len(lengths), int(lengths.max())), -1, np.int64)
    padded[np.arange(padded.shape[1]) < lengths[:, None]] = candidates.labels
    return padded
