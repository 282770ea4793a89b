"""The sparse term of a run, learnt for each cost that the settings name.

Shapes: N texts that are learnt from, M texts of the data, S negatives of a text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.scoring.sparse import SparseClassifier
from astec.trainer.data.examples import Examples
from astec.trainer.modules.sparse_term import KnownLabels, learn_sparse
from astec.trainer.parallel.threads import lone_threads
from astec.trainer.parallel.world import Arrays
from astec.trainer.pipeline.job import Job


@dataclass(frozen=True, slots=True)
class SparseTerm:
    """The sparse term and the cost that it was trained with; None: it holds label texts alone and was not trained."""

    classifier: SparseClassifier
    cost: float | None


def learn_sparse_terms(job: Job, negatives_NS: NDArray[np.int32]) -> Iterator[SparseTerm | None]:
    """Yield the sparse term of every cost; one None where the settings ask for no sparse term."""
    if not job.config.sparse.enabled:
        yield None
        return
    for cost in job.config.sparse.costs:
        yield _learn_term(job, _stage_of(cost), job.train, negatives_NS, cost)


def relearn_sparse_term(job: Job, negatives_MS: NDArray[np.int32], cost: float) -> SparseTerm | None:
    """Learn the sparse term on all texts: anew for the labels of held-out texts, which have new examples.

    All other labels keep their weights, for which only a few negatives would be new.

    Args:
        job: the run, which has learnt the term of this cost.
        negatives_MS: the negatives of all texts.
        cost: of the term.
    """
    held = np.setdiff1d(np.arange(len(job.data.examples)), job.train_rows)
    are_known = job.data.examples.labels[held].getnnz(axis=0) == 0
    arrays = job.run.result(_stage_of(cost))
    known = KnownLabels(SparseClassifier(**arrays), are_known) if arrays else None
    return _learn_term(job, "refit-sparse", job.data.examples, negatives_MS, cost, known)


def _stage_of(cost: float) -> str:
    return f"sparse-{cost}"


def _learn_term(
    job: Job,
    stage: str,
    examples: Examples,
    negatives_NS: NDArray[np.int32],
    cost: float,
    known: KnownLabels | None = None,
) -> SparseTerm | None:
    """Learn the sparse term on some examples, under the name of a stage; None where pruning left no weight."""

    def learn() -> Arrays:
        num_features, settings = job.data.featurizer.num_features, job.config.sparse
        threads = lone_threads(job.run.world)
        learnt = learn_sparse(examples, negatives_NS, num_features, settings, cost, job.config.seed, threads, known)
        return {} if learnt is None else {field.name: getattr(learnt, field.name) for field in fields(learnt)}

    arrays = job.run.once(stage, learn)
    sparse = SparseTerm(SparseClassifier(**arrays), cost) if arrays else None
    job.run.record(stage, weights=0 if sparse is None else sparse.classifier.num_weights)
    return sparse
