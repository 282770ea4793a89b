"""The fit of the weights of a score's parts: a logistic regression on held-out texts, over the parts' logits.

The regression is fitted twice: on all candidates, and then on the best of each text by the first fit, among which the
ranking is decided. It is judged by cross-fitting, each text by weights that were fitted on other texts. Parts that are
worth too little are left out of all parts one by one; and, as two parts may only be worth leaving out together, parts
are also added to none one by one. The better of both sets is kept.

Which set is better is partly the chance of the held-out texts, and a part that is left out by chance is missed. So the
weights are the mean of two fits, of the kept parts and of all parts (those that add least get none); unless the kept
parts alone are better by more than choosing them can flatter them.

Shapes: R held-out texts, C their candidates, B the best of these, F parts, L labels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from astec.export.artifact.scoring.parts import Parts
from astec.export.artifact.scoring.shares import PartWeights, Shares
from astec.export.artifact.shortlist.candidates import Candidates
from astec.export.calibration.logistic_regression import LogisticRegression, fit_logistic_regression
from astec.trainer.modules.candidate_judge import NEGLIGIBLE, CandidateJudge, objective
from astec.trainer.settings.config import MixSection

LABEL_TEXT = "label_text"
_BEST = 50
_FLATTERY = 1.0  # of the objective: what a set of parts gains, at most, by being chosen on the texts that judge it
_LEAST_SHARE = 0.1  # of the largest part; a smaller one costs a query more than it is worth
_FOLDS = 5
_RIDGE = 1e-3  # for each unit of worth, on weights of features with a standard deviation of 1


@dataclass(frozen=True, slots=True)
class MixFit:
    """Fitted weights.

    Attributes:
        shares: the weights, as shares of logits.
        label_text_share: the share of the label texts within the sparse term.
        objective: what the parts reach on texts that their weights were not fitted on.
        rounds: what each set of parts reached that was judged; a line names the parts that it leaves out, joined by
            commas, its figures and its objective.
    """

    shares: Shares
    label_text_share: float
    objective: float
    rounds: list[dict[str, float | str]]


def fit_mix(
    parts: Parts,
    label_text_C: NDArray[np.float32] | None,
    candidates: Candidates,
    relevant_RL: csr_matrix,
    weights_L: NDArray[np.float64],
    psp_weight: float,
    allowed: MixSection,
    seed: int,
) -> MixFit:
    """Fit the weights of the parts that help.

    Args:
        parts: the logits of the candidates.
        label_text_C: the cosine of each candidate's own text and the query; None where labels have no texts.
        candidates: of the R texts.
        relevant_RL: the labels of the texts, and the weights of these pairs.
        weights_L: inverse propensities.
        psp_weight: how many points of P a point of PSP is worth.
        allowed: the parts that may have a weight.
        seed: of the folds.
    """
    columns = _columns(parts, label_text_C, allowed)
    judge = CandidateJudge(candidates, relevant_RL, weights_L)
    fitter = _Fitter(columns, candidates, judge, psp_weight, seed)
    kept, reached = max(_leave_out(fitter), _add_up(fitter), key=lambda found: found[1])
    blend_reached = fitter.objective_of_blend(kept)
    if blend_reached < reached - _FLATTERY:
        fit = fitter.fit(kept)
    else:
        fit, reached = fitter.blend(kept), blend_reached
    weights = dict(zip(fitter.names, fit.weights.tolist(), strict=True))
    if not any(weights.values()):
        weights[kept[0]] = 1.0  # no part says anything: any order is as good
    label_text = weights.pop(LABEL_TEXT, 0.0)
    sparse = weights.get("sparse", 0.0) + label_text
    none = PartWeights(0.0, 0.0, 0.0, 0.0, 0.0, fit.bias, as_logits=True)
    shares = Shares.of_logits(none._replace(**weights | {"sparse": sparse}))
    return MixFit(shares, label_text / sparse if sparse else 0.0, reached, fitter.rounds)


def _leave_out(fitter: _Fitter) -> tuple[list[str], float]:
    """Leave out of all parts, one by one, those whose absence costs too little; return the rest and its objective."""
    kept = fitter.names
    reached = fitter.objective(kept)
    while len(kept) > 1:
        trials = [[name for name in kept if name != left_out] for left_out in kept]
        best = max(trials, key=fitter.objective)
        if fitter.objective(best) < reached - NEGLIGIBLE:
            break
        kept, reached = best, fitter.objective(best)
    return kept, reached


def _add_up(fitter: _Fitter) -> tuple[list[str], float]:
    """Add the best part to none, and then, one by one, those that are worth enough; return them and their objective."""
    kept, reached = list[str](), -math.inf
    while len(kept) < len(fitter.names):
        trials = [
            [name for name in fitter.names if name in (*kept, added)] for added in fitter.names if added not in kept
        ]
        best = max(trials, key=fitter.objective)
        if fitter.objective(best) < reached + NEGLIGIBLE:
            break
        kept, reached = best, fitter.objective(best)
    return kept, reached


def with_label_text(parts: Parts, label_text_C: NDArray[np.float32] | None, share: float) -> Parts:
    """Return the parts with the label texts in the sparse term, as `astec.export.model.label_text_term` mixes them."""
    if label_text_C is None or not share:
        return parts
    if parts.sparse is None:
        return replace(parts, sparse=label_text_C)
    return replace(parts, sparse=np.float32(1 - share) * parts.sparse + np.float32(share) * label_text_C)


def _columns(
    parts: Parts, label_text_C: NDArray[np.float32] | None, allowed: MixSection
) -> dict[str, NDArray[np.float32]]:
    """Return the logits of each part that may have a weight, by its name."""
    columns = {
        "classifier": parts.classifier,
        "similarity": parts.similarity if allowed.similarity else None,
        "sparse": parts.sparse,
        "votes": parts.votes if allowed.votes else None,
        "reranker": parts.reranker,
        LABEL_TEXT: label_text_C if allowed.label_text else None,
    }
    known = {name: column_C for name, column_C in columns.items() if column_C is not None}
    # A part that says the same of every candidate would be ranked, and judged, by the order of the search.
    telling = {name: column_C for name, column_C in known.items() if len(column_C) and np.ptp(column_C) > 0}
    return telling or {"classifier": parts.classifier}


class _Fitter:
    """Fits and judges sets of parts on the best candidates of each text, which all parts together choose."""

    def __init__(
        self,
        columns: dict[str, NDArray[np.float32]],
        candidates: Candidates,
        judge: CandidateJudge,
        psp_weight: float,
        seed: int,
    ) -> None:
        self._psp_weight, self._judge, self._num_candidates = psp_weight, judge, len(candidates.labels)
        worth_C = judge.worth.copy()
        if judge.hits.any():
            # A point of PSP@k is a relevant label of the mean gain.
            worth_C += psp_weight * judge.worth * judge.gains * (judge.hits.sum() / judge.gains.sum())
        features_CF = np.stack([column_C.astype(np.float64) for column_C in columns.values()], axis=1)
        first = _regress(features_CF, judge.hits, worth_C)
        self._best_B = _best_of_each(features_CF @ first.weights, candidates.offsets)
        self._features_BF = features_CF[self._best_B]
        self._hits_B, self._worth_B = judge.hits[self._best_B], worth_C[self._best_B]
        folds_R = np.random.default_rng(seed).permutation(len(candidates.offsets) - 1) % _FOLDS
        self._folds_B = np.repeat(folds_R, np.diff(candidates.offsets))[self._best_B]
        self.names = list(columns)
        self.rounds: list[dict[str, float | str]] = []
        self._objectives: dict[tuple[str, ...], float] = {}

    def fit(self, kept: list[str], learnt_B: NDArray[np.bool_] | None = None) -> LogisticRegression:
        """Fit the weights of some parts, and give the others none, on all candidates or on those of `learnt_B`."""
        rows_B = slice(None) if learnt_B is None else learnt_B
        columns = [self.names.index(name) for name in kept]
        fit = _regress(self._features_BF[rows_B][:, columns], self._hits_B[rows_B], self._worth_B[rows_B])
        weights_F = np.zeros(len(self.names))
        weights_F[columns] = fit.weights
        return LogisticRegression(weights_F, fit.bias)

    def blend(self, kept: list[str], learnt_B: NDArray[np.bool_] | None = None) -> LogisticRegression:
        """Return the mean of the fits of some parts and of all; parts that add too little get no weight."""
        some, every = self.fit(kept, learnt_B), self.fit(self.names, learnt_B)
        weights_F = (some.weights + every.weights) / 2
        if len(self._features_BF):
            added_F = weights_F * self._features_BF.std(axis=0)
            weights_F[added_F < _LEAST_SHARE * added_F.max()] = 0
        return LogisticRegression(weights_F, (some.bias + every.bias) / 2)

    def objective(self, kept: list[str]) -> float:
        """Return what some parts reach, each text ranked by weights that were fitted on other texts."""
        if tuple(kept) not in self._objectives:
            figures = self._judge.figures(self._cross_fitted_scores(partial(self.fit, kept)))
            reached = objective(figures, self._psp_weight)
            without = ", ".join(name for name in self.names if name not in kept)
            self.rounds.append({"without": without, **figures, "objective": reached})
            self._objectives[tuple(kept)] = reached
        return self._objectives[tuple(kept)]

    def objective_of_blend(self, kept: list[str]) -> float:
        """Return what `blend` reaches in the same way."""
        return objective(self._judge.figures(self._cross_fitted_scores(partial(self.blend, kept))), self._psp_weight)

    def _cross_fitted_scores(self, fit: Callable[[NDArray[np.bool_]], LogisticRegression]) -> NDArray[np.float32]:
        sums_B = np.empty(len(self._features_BF))
        for fold in range(_FOLDS):
            judged_B = self._folds_B == fold
            # Where texts of a single fold have candidates, there are no others to fit on.
            learnt_B = judged_B if judged_B.all() else ~judged_B
            sums_B[judged_B] = self._features_BF[judged_B] @ fit(learnt_B).weights
        scores_C = np.full(self._num_candidates, -np.inf, np.float32)
        scores_C[self._best_B] = sums_B
        return scores_C


def _regress(
    features_PF: NDArray[np.float64], hits_P: NDArray[np.float64], worth_P: NDArray[np.float64]
) -> LogisticRegression:
    """Fit weights that are at least 0; their penalty is the same whatever the units of the features."""
    if not len(hits_P):
        return LogisticRegression(np.zeros(features_PF.shape[1]), 0.0)
    spread_F = features_PF.std(axis=0)
    spread_F[spread_F == 0] = 1
    fit = fit_logistic_regression(
        features_PF / spread_F, hits_P, worth_P, ridge=_RIDGE * float(worth_P.sum()), nonnegative=True
    )
    return LogisticRegression(fit.weights / spread_F, fit.bias)


def _best_of_each(sums_C: NDArray[np.float64], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the candidates that are among the best of their text, ascending; equal ones in the order they come."""
    rows_C = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    order_C = np.lexsort((-sums_C, rows_C))
    ranks_C = np.arange(len(sums_C)) - offsets[rows_C]
    return np.sort(order_C[ranks_C < _BEST])
