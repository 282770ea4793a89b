"""The held-out texts of a run: their candidates, the choice of sparse term and shares, and the evaluation.

Shapes: R held-out texts, D dimensions, C candidates of all texts together, S negatives of a text.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.scoring.parts import Parts
from astec.export.artifact.scoring.shares import Shares
from astec.export.artifact.shortlist.candidates import Candidates
from astec.export.ranking_metrics import inverse_propensities
from astec.trainer.data.examples import Texts
from astec.trainer.modules.mix_fit import fit_mix, with_label_text
from astec.trainer.modules.negatives.sampling import shortlist
from astec.trainer.modules.share_search import choose_shares
from astec.trainer.numerics.device import to_device
from astec.trainer.pipeline.ensemble import Ensemble
from astec.trainer.pipeline.job import Job
from astec.trainer.pipeline.label_texts import add_label_texts, match_label_texts
from astec.trainer.pipeline.mining import search_exactly
from astec.trainer.pipeline.sparse_terms import SparseTerm, learn_sparse_terms
from astec.trainer.pipeline.summary import summarize
from astec.trainer.report.evaluation import Evaluation, evaluate
from astec.trainer.training.dense_model import DenseModel
from astec.trainer.training.probe import candidate_logits


@dataclass(frozen=True, slots=True)
class HeldCandidates:
    """The representations v of the held-out texts, float32 [R, D], and their candidates."""

    v: NDArray[np.float32]
    candidates: Candidates


@dataclass(frozen=True, slots=True)
class Choice:
    """The sparse term and the shares that do best on the held-out texts.

    Attributes:
        sparse: the sparse term, if it has a share, with the labels' own texts in it.
        label_text_share: the share of these within the sparse term.
        parts: the parts of the candidates' scores with this sparse term.
        shares: the chosen shares.
        objective: what they reach.
        trials: figures of what was tried on the way, for the run's history.
    """

    sparse: SparseTerm | None
    label_text_share: float
    parts: Parts
    shares: Shares
    objective: float
    trials: list[dict[str, float | str]]


def shortlist_held(job: Job, ensemble: Ensemble) -> HeldCandidates:
    """Represent the held-out texts and search their candidates."""
    v_RD = ensemble.model.encoder.represent(job.held.texts)
    shortlister = search_exactly(job, ensemble.mined.vectors)
    return HeldCandidates(v_RD, shortlist(shortlister, v_RD, "shortlisting held-out texts"))


def score_parts(job: Job, model: DenseModel, reranker: DenseModel | None, held: HeldCandidates) -> Parts:
    """Compute the parts of the held-out candidates' scores, all but the sparse term."""
    reranked_C = None
    if reranker is not None:
        x_tilde_RD = reranker.encoder.represent(Texts(job.held.bags))
        reranked_C = _logits(reranker, x_tilde_RD, held.candidates)
    return Parts(
        classifier=_logits(model, held.v, held.candidates),
        similarity=held.candidates.similarities,
        votes=held.candidates.votes,
        reranker=reranked_C,
    )


def choose_sparse_and_shares(job: Job, parts: Parts, candidates: Candidates, negatives_NS: NDArray[np.int32]) -> Choice:
    """Learn the sparse term for every cost, choose the shares for each, and return the best of them."""
    num_texts = job.data.num_texts - len(job.held_rows)
    weights_L = inverse_propensities(job.data.label_counts(job.held_rows), num_texts)
    label_text_C = match_label_texts(job, candidates)
    tried = []
    for sparse in learn_sparse_terms(job, negatives_NS):
        logits_C = None if sparse is None else sparse.classifier.logits(candidates, job.held.bags)
        parts = replace(parts, sparse=logits_C)
        choice = _choose_shares(job, parts, label_text_C, candidates, weights_L)
        tried.append(replace(choice, sparse=sparse))
        cost = 0.0 if sparse is None or sparse.cost is None else sparse.cost
        job.run.record("mix", cost=cost, objective=choice.objective, label_text_share=choice.label_text_share)
    best = max(tried, key=lambda choice: choice.objective)
    sparse = add_label_texts(job, best.sparse, best.label_text_share)
    return replace(best, sparse=sparse if best.shares.gamma else None)


def _choose_shares(
    job: Job,
    parts: Parts,
    label_text_C: NDArray[np.float32] | None,
    candidates: Candidates,
    weights_L: NDArray[np.float64],
) -> Choice:
    """Choose the shares of some parts by the method that the settings name; the sparse term itself is left out."""
    config, labels_RL = job.config, job.held.labels
    psp_weight = config.validation.psp_weight
    if config.mix.method == "shares":
        search = choose_shares(parts, candidates, labels_RL, weights_L, psp_weight, config.mix)
        return Choice(None, 0.0, parts, search.shares, search.objective, [dict(trial) for trial in search.trials])
    fit = fit_mix(parts, label_text_C, candidates, labels_RL, weights_L, psp_weight, config.mix, config.seed)
    mixed = with_label_text(parts, label_text_C, fit.label_text_share)
    return Choice(None, fit.label_text_share, mixed, fit.shares, fit.objective, fit.rounds)


def evaluate_choice(job: Job, choice: Choice, candidates: Candidates) -> Evaluation:
    """Evaluate the chosen shares on the held-out texts, and record the figures of all trials."""
    stage = "validation" if job.config.mix.method == "shares" else "mix-parts"
    for trial in choice.trials:
        job.run.record(stage, **trial)
    shares, parts = choice.shares, choice.parts
    named = {"alpha": shares.alpha, "delta": shares.delta}
    named |= {"gamma": shares.gamma} if parts.sparse is not None else {}
    named |= {"beta": shares.beta} if parts.reranker is not None else {}
    return evaluate(job.data, job.held_rows, candidates, parts.scores(shares.weights()), named, summarize(job))


def _logits(model: DenseModel, v_RD: NDArray[np.float32], candidates: Candidates) -> NDArray[np.float32]:
    """Return the logit that the classifiers of a model give to each candidate, float32 [C]."""
    x_RD = model.transform(to_device(v_RD, model.residuals.device))
    return candidate_logits(x_RD, model.classifier, model.bias, candidates)
