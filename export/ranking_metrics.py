"""Ranking metrics of extreme classification: P@k, nDCG@k, PSP@k, PSnDCG@k and recall@k.

Shapes: B rows (test points), K predicted ranks, L labels, R relevant (row, label) pairs of a batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_Float = NDArray[np.float64]
_Int = NDArray[np.int64]


def inverse_propensities(
    label_counts_L: NDArray[np.integer], num_points: int, a: float = 0.55, b: float = 1.5
) -> NDArray[np.float64]:
    """Compute the weight 1/p_l = 1 + C (N_l + b)^-a of each label, with C = (ln N - 1)(b + 1)^a (Jain et al. 2016).

    With fewer than e training points C would be negative, and a rare label would weigh less than a common one; C is
    therefore at least 0 (every label then weighs 1).

    Args:
        label_counts_L: int [L], number of TRAINING points in which each label occurs (N_l).
        num_points: number of TRAINING points (N).
        a: 0.55 in general, 0.6 for Amazon data sets, 0.5 for Wikipedia data sets.
        b: 1.5 in general, 2.6 for Amazon data sets, 0.4 for Wikipedia data sets.

    Returns:
        float64 [L], at least 1, larger for rarer labels.

    Raises:
        ValueError: a count is negative, or `num_points` is below 1.
    """
    if num_points < 1:
        raise ValueError(f"num_points is {num_points}; it must be the number of training points, at least 1.")
    if label_counts_L.size and label_counts_L.min() < 0:
        raise ValueError(f"A label count is {label_counts_L.min()}; counts must not be negative.")
    c = max(np.log(num_points) - 1.0, 0.0) * (b + 1.0) ** a
    inv_L: _Float = 1.0 + c * (label_counts_L.astype(np.float64) + b) ** -a
    return inv_L


class RankingMetrics:
    """Accumulates ranking metrics over batches of predictions; every metric is in percent.

    With hits y_r (1 where the label at rank r is relevant, ranks from 1), n relevant labels of a row, discounts
    d_r = 1 / log2(r + 1) and inverse propensities q:

    - `P@k`: mean over rows of (sum_{r<=k} y_r) / k.
    - `nDCG@k`: mean over rows of (sum_{r<=k} y_r d_r) / I, with the ideal I = sum_{r<=min(k, n)} d_r.
    - `R@k`: mean over rows of (sum_{r<=k} y_r) / n.
    - `PSP@k`: sum over rows of (sum_{r<=k} q_r y_r), divided by the sum over rows of the same for the best
      possible ranking of that row: its own relevant labels by decreasing q.
    - `PSnDCG@k`: sum over rows of (sum_{r<=k} q_r y_r d_r) / I, divided by the sum over rows of the same for that
      best ranking. I is the UNWEIGHTED ideal of nDCG@k, as in xclib. (The formula in the paper's A.5 uses the ideal of
      k hits for every n, and does not mention the division by the best ranking.)

    Rows without a relevant label cannot be measured: they are skipped, and their number is kept.

    Attributes:
        points: number of rows measured so far.
        skipped: number of rows without a relevant label so far.
    """

    def __init__(
        self,
        ks: Sequence[int] = (1, 3, 5),
        inv_propensities_L: NDArray[np.floating] | None = None,
        recall_ks: Sequence[int] = (1, 3, 5),
    ) -> None:
        """Choose the ranks.

        Args:
            ks: ranks of P, nDCG and, with propensities, PSP and PSnDCG.
            inv_propensities_L: float [L], from `inverse_propensities`; None leaves PSP and PSnDCG out.
            recall_ks: ranks of R.

        Raises:
            ValueError: a rank is below 1, or there are no ranks.
        """
        ranks = [*ks, *recall_ks]
        if not ranks or min(ranks) < 1:
            raise ValueError(f"ks {list(ks)} and recall_ks {list(recall_ks)} must hold ranks of at least 1.")
        self.points = 0
        self.skipped = 0
        self._ks = np.asarray(ks, np.int64)
        self._recall_ks = np.asarray(recall_ks, np.int64)
        self._inv_L = None if inv_propensities_L is None else inv_propensities_L.astype(np.float64)
        self._depth = max(ranks)
        self._discounts_K: _Float = 1.0 / np.log2(np.arange(self._depth) + 2.0)
        weighted = () if inv_propensities_L is None else ("PSP", "PSnDCG")
        self._ratios = {name: _RatioOfSums(self._ks) for name in ("P", "nDCG", *weighted)}
        self._ratios["R"] = _RatioOfSums(self._recall_ks)

    def update(self, predicted_BK: NDArray[np.int64], relevant: Sequence[NDArray[np.integer]]) -> None:
        """Add a batch to the metrics.

        Args:
            predicted_BK: label ids, best first, padded with -1; ranks beyond K count as misses.
            relevant: the ids of the relevant labels of each of the B rows, in any order.

        Raises:
            ValueError: the numbers of rows differ, a label is predicted twice in a row, or an id is out of range.
        """
        if predicted_BK.ndim != 2 or len(predicted_BK) != len(relevant):
            raise ValueError(f"Predictions of shape {predicted_BK.shape} do not fit {len(relevant)} rows of labels.")
        kept = [row for row, ids in enumerate(relevant) if len(ids)]
        if kept:
            truth = _Truth.of([relevant[row] for row in kept])
            ranked_BK = np.full((len(kept), self._depth), -1, np.int64)
            ranked_BK[:, : predicted_BK.shape[1]] = predicted_BK[kept, : self._depth]
            self._check_ids(ranked_BK, truth)
            hits_BK = truth.contains(ranked_BK).astype(np.float64)
            self._add_plain(hits_BK, truth)
            if self._inv_L is not None:
                self._add_weighted(
                    hits_BK * self._inv_L[ranked_BK], truth.best_weights(self._inv_L, self._depth), truth
                )
        self.points += len(kept)
        self.skipped += len(relevant) - len(kept)

    def result(self) -> dict[str, float]:
        """Return the metrics of all batches so far, in percent.

        Returns:
            `{"P@1": ..., "nDCG@1": ..., "PSP@1": ..., "PSnDCG@1": ..., "R@1": ...}` for the chosen ranks.

        Raises:
            ValueError: there was no row with a relevant label.
        """
        self._require_points()
        return self._by_name([ratio.value() for ratio in self._ratios.values()])

    def standard_errors(self) -> dict[str, float]:
        """Return the standard error of each metric over the rows, in percent.

        PSP@k and PSnDCG@k are ratios of two sums over rows, so theirs are approximate (delta method). NaN with one row.

        Returns:
            The same keys as `result`.

        Raises:
            ValueError: there was no row with a relevant label.
        """
        self._require_points()
        return self._by_name([ratio.standard_error(self.points) for ratio in self._ratios.values()])

    def _require_points(self) -> None:
        if not self.points:
            raise ValueError(
                f"There is nothing to measure: none of {self.skipped} rows has a relevant label that the model knows."
            )

    def _by_name(self, fractions: Sequence[_Float]) -> dict[str, float]:
        return {
            f"{name}@{k}": 100.0 * float(fraction)
            for (name, ratio), values in zip(self._ratios.items(), fractions, strict=True)
            for k, fraction in zip(ratio.ks.tolist(), values, strict=True)
        }

    def _add_plain(self, hits_BK: _Float, truth: "_Truth") -> None:
        self._ratios["P"].add(self._gains(hits_BK), np.broadcast_to(self._ks, (len(hits_BK), len(self._ks))))
        ndcg_Bk = self._gains(hits_BK * self._discounts_K) / self._ideal(truth.sizes)
        self._ratios["nDCG"].add(ndcg_Bk, np.ones_like(ndcg_Bk))
        recall_Bk = np.cumsum(hits_BK, axis=1)[:, self._recall_ks - 1] / truth.sizes[:, None]
        self._ratios["R"].add(recall_Bk, np.ones_like(recall_Bk))

    def _add_weighted(self, weights_BK: _Float, best_BK: _Float, truth: "_Truth") -> None:
        ideal_Bk = self._ideal(truth.sizes)
        self._ratios["PSP"].add(self._gains(weights_BK), self._gains(best_BK))
        self._ratios["PSnDCG"].add(
            self._gains(weights_BK * self._discounts_K) / ideal_Bk, self._gains(best_BK * self._discounts_K) / ideal_Bk
        )

    def _gains(self, gains_BK: _Float) -> _Float:
        """Sum gains up to each k: [B, K] -> [B, len(ks)]."""
        return np.cumsum(gains_BK, axis=1)[:, self._ks - 1]

    def _ideal(self, sizes_B: _Int) -> _Float:
        """Sum of discounts of min(k, n) hits in a row: [B, len(ks)]."""
        ideal_K: _Float = np.cumsum(self._discounts_K)
        ideal_Bk: _Float = ideal_K[np.minimum(self._ks, sizes_B[:, None]) - 1]
        return ideal_Bk

    def _check_ids(self, predicted_BK: _Int, truth: "_Truth") -> None:
        limit = None if self._inv_L is None else len(self._inv_L)
        _check_range("relevant label", truth.labels, 0, limit)
        _check_range("predicted label (-1 is padding)", predicted_BK, -1, limit)
        sorted_BK = np.sort(predicted_BK, axis=1)
        if np.any((sorted_BK[:, 1:] == sorted_BK[:, :-1]) & (sorted_BK[:, 1:] >= 0)):
            raise ValueError("A row predicts the same label twice; each rank must hold another label.")


def _check_range(what: str, ids: _Int, low: int, limit: int | None) -> None:
    if ids.size and (ids.min() < low or (limit is not None and ids.max() >= limit)):
        wrong = ids.min() if ids.min() < low else ids.max()
        until = "" if limit is None else f" and below {limit}, the number of labels with a propensity"
        raise ValueError(f"The id {wrong} of a {what} is out of range; it must be at least {low}{until}.")


class _RatioOfSums:
    """The sum of a numerator over rows, divided by the sum of a denominator, at each rank k."""

    def __init__(self, ks: _Int) -> None:
        self.ks = ks
        self._above, self._below = np.zeros((2, len(ks)))
        self._above_squared, self._below_squared, self._product = np.zeros((3, len(ks)))

    def add(self, above_Bk: _Float, below_Bk: NDArray[np.number]) -> None:
        """Add the numerators and denominators of a batch, [B, len(ks)]."""
        self._above += above_Bk.sum(axis=0)
        self._below += below_Bk.sum(axis=0)
        self._above_squared += (above_Bk**2).sum(axis=0)
        self._below_squared += (below_Bk**2).sum(axis=0)
        self._product += (above_Bk * below_Bk).sum(axis=0)

    def value(self) -> _Float:
        """Return the ratio, [len(ks)]."""
        ratio_k: _Float = self._above / self._below
        return ratio_k

    def standard_error(self, num_rows: int) -> _Float:
        """Return the standard error of the ratio over `num_rows` rows, [len(ks)].

        A row's deviation is its numerator less the ratio times its denominator (delta method); where all denominators
        are equal, this is the standard error of a mean.
        """
        if num_rows < 2:
            return np.full(len(self.ks), np.nan)
        ratio_k = self.value()
        deviations_k = self._above_squared - 2 * ratio_k * self._product + ratio_k**2 * self._below_squared
        variance_k = np.maximum(deviations_k, 0.0) * num_rows / (num_rows - 1)  # rounding may leave less than 0
        error_k: _Float = np.sqrt(variance_k) / self._below
        return error_k


@dataclass(frozen=True, slots=True)
class _Truth:
    """The distinct relevant pairs of a batch of non-empty rows, ordered by row."""

    rows: _Int  # [R]
    labels: _Int  # [R]
    sizes: _Int  # [B] distinct relevant labels of each row

    @classmethod
    def of(cls, relevant: Sequence[NDArray[np.integer]]) -> "_Truth":
        distinct = [np.unique(ids).astype(np.int64) for ids in relevant]
        sizes_B = np.array([len(ids) for ids in distinct], np.int64)
        return cls(np.repeat(np.arange(len(distinct)), sizes_B), np.concatenate(distinct), sizes_B)

    def contains(self, predicted_BK: _Int) -> NDArray[np.bool_]:
        """Mark the predictions that are relevant to their row: bool [B, K]."""
        # Coding each (row, label) as one number turns B look-ups in sets into a single sorted search; -1 becomes 0,
        # which no label uses.
        span = 2 + max(int(self.labels.max()), int(predicted_BK.max(initial=-1)))
        keys_BK = np.arange(len(predicted_BK))[:, None] * span + predicted_BK + 1
        return np.isin(keys_BK, self.rows * span + self.labels + 1)

    def best_weights(self, inv_L: _Float, depth: int) -> _Float:
        """Return the weights of each row's relevant labels, largest first, cut or padded with 0: [B, depth]."""
        weights_R = inv_L[self.labels]
        order_R = np.lexsort((-weights_R, self.rows))
        starts_B = np.cumsum(self.sizes) - self.sizes
        ranks_R = np.arange(len(order_R)) - starts_B[self.rows]
        kept_R = ranks_R < depth
        best_BK = np.zeros((len(self.sizes), depth))
        best_BK[self.rows[kept_R], ranks_R[kept_R]] = weights_R[order_R][kept_R]
        return best_BK
