"""Accuracy by label frequency: the contributions of head labels and tail labels (paper, Figure 3).

Shapes: R held-out texts, K ranks, L labels, P relevant (text, label) pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astec.trainer.report.evaluation import Evaluation

NUM_QUANTILES = 5


@dataclass(frozen=True, slots=True)
class Quantile:
    """Labels of similar frequency and their contribution to the figures, in percent.

    Attributes:
        num_labels: number of labels in this quantile.
        mean_count: mean number of training texts of a label.
        relevant_share: share of the relevant pairs of the held-out texts.
        precision: contribution to P@5; the contributions of all quantiles add up to P@5.
        psp: contribution to PSP@5; the contributions of all quantiles add up to PSP@5.
        recall: share of the relevant pairs of these labels that are found among the best 5.
    """

    num_labels: int
    mean_count: float
    relevant_share: float
    precision: float
    psp: float
    recall: float


def frequency_quantiles(counts_L: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the quantile of each label, from 0 (head) to 4 (tail), [L]; each has about a fifth of all training pairs.

    With labels in the order of falling frequency, a label belongs to the quantile that contains the middle of its
    pairs. A very frequent label can leave a quantile empty.
    """
    order = np.argsort(-counts_L, kind="stable")
    sorted_L = counts_L[order]
    middles_L = np.cumsum(sorted_L) - sorted_L / 2
    total = max(int(counts_L.sum()), 1)
    quantiles_L = np.empty(len(counts_L), np.int64)
    quantiles_L[order] = np.minimum(middles_L * NUM_QUANTILES / total, NUM_QUANTILES - 1).astype(np.int64)
    return quantiles_L


def by_frequency(evaluation: Evaluation) -> list[Quantile]:
    """Return the quantiles from head to tail, without empty ones."""
    counts_L, hits_RK = evaluation.label_counts, evaluation.hits()
    quantiles_L = frequency_quantiles(counts_L)
    found = evaluation.ranked[hits_RK]
    total = evaluation.metrics()
    labels, counts = _sums(quantiles_L), _sums(quantiles_L, counts_L)
    relevant = _sums(quantiles_L[evaluation.relevant.indices])
    hits = _sums(quantiles_L[found])
    weighted = _sums(quantiles_L[found], evaluation.inverse_propensities()[found])
    return [
        Quantile(
            num_labels=int(labels[i]),
            mean_count=float(counts[i] / labels[i]),
            relevant_share=100 * float(relevant[i] / relevant.sum()),
            precision=total["P@5"] * float(hits[i] / max(hits.sum(), 1)),
            psp=total["PSP@5"] * float(weighted[i] / max(weighted.sum(), 1)),
            recall=100 * float(hits[i] / max(relevant[i], 1)),
        )
        for i in np.flatnonzero(labels)
    ]


def _sums(quantiles: NDArray[np.int64], weights: NDArray[np.number] | None = None) -> NDArray[np.float64]:
    return np.bincount(quantiles, weights, NUM_QUANTILES).astype(np.float64)
