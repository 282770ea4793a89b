"""The held-out texts of a run: their candidates, the choice of sparse term and shares, and the evaluation.

Shapes: R held-out texts, D dimensions, C candidates of all texts together, S negatives of a text.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.scoring.parts import Parts, sigmoids, sparse_probabilities
from astec.export.artifact.scoring.shares import Shares
from astec.export.artifact.shortlist.candidates import Candidates
from astec.export.ranking_metrics import inverse_propensities
from astec.trainer.data.examples import Texts
from astec.trainer.modules.negatives.sampling import shortlist
from astec.trainer.modules.share_search import ShareChoice, choose_shares
from astec.trainer.numerics.device import to_device
from astec.trainer.pipeline.ensemble import Ensemble
from astec.trainer.pipeline.job import Job
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
        sparse: the sparse term, if there is one.
        parts: the parts of the candidates' scores with this sparse term.
        search: the chosen shares and all trials.
    """

    sparse: SparseTerm | None
    parts: Parts
    search: ShareChoice

    @property
    def shares(self) -> Shares:
        """The chosen shares."""
        return self.search.shares


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
        reranked_C = _probabilities(reranker, x_tilde_RD, held.candidates)
    return Parts(
        classifier=_probabilities(model, held.v, held.candidates),
        similarity=sigmoids(held.candidates.similarities),
        votes=held.candidates.votes,
        reranker=reranked_C,
    )


def choose_sparse_and_shares(job: Job, parts: Parts, candidates: Candidates, negatives_NS: NDArray[np.int32]) -> Choice:
    """Learn the sparse term for every cost, choose the shares for each, and return the best of them."""
    config = job.config
    num_texts = job.data.num_texts - len(job.held_rows)
    weights_L = inverse_propensities(job.data.label_counts(job.held_rows), num_texts)
    tried = []
    for sparse in learn_sparse_terms(job, negatives_NS):
        if sparse is not None:
            logits_C = sparse.classifier.logits(candidates, job.held.bags)
            parts = replace(parts, sparse=sparse_probabilities(logits_C))
        psp_weight = config.validation.psp_weight
        search = choose_shares(parts, candidates, job.held.labels, weights_L, psp_weight, config.mix)
        tried.append(Choice(sparse, parts, search))
        job.run.record("mix", cost=0.0 if sparse is None else sparse.cost, objective=search.objective)
    return max(tried, key=lambda choice: choice.search.objective)


def evaluate_choice(job: Job, choice: Choice, candidates: Candidates) -> Evaluation:
    """Evaluate the chosen shares on the held-out texts, and record the figures of all trials."""
    for trial in choice.search.trials:
        job.run.record("validation", **trial)
    shares, parts = choice.shares, choice.parts
    named = {"alpha": shares.alpha, "delta": shares.delta}
    named |= {"gamma": shares.gamma} if parts.sparse is not None else {}
    named |= {"beta": shares.beta} if parts.reranker is not None else {}
    return evaluate(job.data, job.held_rows, candidates, parts.scores(shares), named, summarize(job))


def _probabilities(model: DenseModel, v_RD: NDArray[np.float32], candidates: Candidates) -> NDArray[np.float32]:
    """Return the probability that the classifiers of a model give to each candidate, float32 [C]."""
    x_RD = model.transform(to_device(v_RD, model.residuals.device))
    return sigmoids(candidate_logits(x_RD, model.classifier, model.bias, candidates))
