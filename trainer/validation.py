"""Choosing how scores are mixed, on held-out training texts (paper, A.1), and the figures reached there.

Shapes: R held-out texts, C their candidates, D dimensions, K ranks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from export.artifact.shortlist import Candidates, Shortlister
from export.artifact.sparse import SPARSE_SLOPE, SparseClassifier
from export.metrics import RankingMetrics, inverse_propensities
from trainer.data import Examples
from trainer.extreme import ExtremeModel
from trainer.sampling import shortlist_all
from trainer.tensors import to_device

SHARES = tuple(round(0.1 * step, 1) for step in range(11))
_RANKS = (1, 3, 5)
_SCORE_PAIRS = 1 << 16


@dataclass(frozen=True, slots=True)
class MixChoice:
    """The alpha and gamma where the mean of P@1, P@3 and P@5 is best, their metrics in percent, and every trial."""

    alpha: float
    gamma: float
    metrics: dict[str, float]
    trials: list[dict[str, float]]


def choose_mix(
    shortlister: Shortlister,
    model: ExtremeModel,
    sparse: SparseClassifier | None,
    v_RD: NDArray[np.float32],
    held: Examples,
    train: Examples,
) -> MixChoice:
    """Score the held-out texts once, then mix classifier, similarity and sparse term in every proportion.

    Without a sparse term gamma is 0.
    """
    weights_L = inverse_propensities(train.label_counts(), len(train))
    relevant = np.split(held.labels.indices.astype(np.int64), held.labels.indptr[1:-1])
    candidates = join_candidates(shortlist_all(shortlister, v_RD, "shortlisting held-out texts"))
    classifier_C = _sigmoid(score_candidates(model, v_RD, candidates))
    similarity_C = _sigmoid(candidates.similarities)
    sparse_C = np.zeros_like(classifier_C)
    if sparse is not None:
        sparse_C = _sigmoid(SPARSE_SLOPE * sparse.logits(candidates, held.bags))
    trials = []
    for gamma in SHARES if sparse is not None else (0.0,):
        for alpha in SHARES:
            dense_C = alpha * classifier_C + (1 - alpha) * similarity_C
            ranked_RK = _rank((1 - gamma) * dense_C + gamma * sparse_C, candidates, _RANKS[-1])
            metrics = RankingMetrics(_RANKS, weights_L)
            metrics.update(ranked_RK, relevant)
            trials.append({"alpha": alpha, "gamma": gamma, **metrics.result()})
    best = trials[
        _plateau(np.array([sum(trial[f"P@{k}"] for k in _RANKS) for trial in trials]).reshape(-1, len(SHARES)))
    ]
    metrics_of_best = {name: round(value, 2) for name, value in best.items() if name not in ("alpha", "gamma")}
    recall = {"shortlist recall": round(_recall(candidates, relevant), 2)}
    return MixChoice(best["alpha"], best["gamma"], metrics_of_best | recall, trials)


def _plateau(figures: NDArray[np.float64]) -> int:
    """Position of the best trial of a grid, judged with its neighbours: a lone peak on few held-out texts is chance."""
    means = uniform_filter(figures, size=3, mode="nearest")
    return int(means.round(6).argmax())  # unrounded, the running sums of the filter tell equal plateaus apart


def _recall(candidates: Candidates, relevant: list[NDArray[np.int64]]) -> float:
    longest = int(np.diff(candidates.offsets).max())  # 0 where no held-out text has a known token
    recall = RankingMetrics((), recall_ks=(max(longest, 1),))
    recall.update(_pad(candidates), relevant)
    return recall.result().popitem()[1]


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
