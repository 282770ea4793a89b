"""The finished model of a run, and its last stage, the refit on all texts.

Shapes: N texts, D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from astec.export.artifact.scoring.shares import Shares
from astec.trainer.modules.negatives.search_vectors import SearchVectors
from astec.trainer.pipeline.job import Job
from astec.trainer.pipeline.mining import mine_for_sparse_term, place_texts
from astec.trainer.pipeline.sparse_terms import SparseTerm, learn_sparse_term
from astec.trainer.training.dense_model import DenseModel


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """All parts that have a share of a score, with their shares; a part without a share is None: it is not served."""

    dense: DenseModel
    vectors: SearchVectors
    sparse: SparseTerm | None
    reranker: DenseModel | None
    shares: Shares


def refit(job: Job, model: TrainedModel) -> TrainedModel:
    """Make the vectors and learn the sparse term again on all texts; unchanged where the settings ask for no refit.

    The held-out texts have chosen the shares: now they count as training texts, too.
    """
    if not job.config.validation.refit:
        return model
    examples = job.data.examples
    v_ND = model.dense.encoder.represent(examples.texts)
    vectors = place_texts(job, examples, v_ND, job.config.seed, "refitted vectors")
    if model.sparse is None:
        return replace(model, vectors=vectors)
    negatives_NS = mine_for_sparse_term(job, examples, vectors, v_ND, "refit-mining")
    sparse = learn_sparse_term(job, "refit-sparse", examples, negatives_NS, model.sparse.cost)
    return replace(model, vectors=vectors, sparse=sparse)
