"""The finished model of a run, and its last stage, the refit on all texts.

Shapes: N texts, D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from astec.export.artifact.scoring.shares import Shares
from astec.trainer.modules.negatives.sampling import Graphs
from astec.trainer.pipeline.job import Job
from astec.trainer.pipeline.mining import index_texts, mine_for_sparse_term
from astec.trainer.pipeline.sparse_terms import SparseTerm, learn_sparse_term
from astec.trainer.training.dense_model import DenseModel


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """All parts that have a share of a score, with their shares; a part without a share is None: it is not served."""

    dense: DenseModel
    graphs: Graphs
    sparse: SparseTerm | None
    reranker: DenseModel | None
    shares: Shares


def refit(job: Job, model: TrainedModel) -> TrainedModel:
    """Build the graphs and learn the sparse term again on all texts; unchanged where the settings ask for no refit.

    The held-out texts have chosen the shares: now they count as training texts, too.
    """
    if not job.config.validation.refit:
        return model
    examples = job.data.examples
    v_ND = model.dense.encoder.represent(examples.texts)
    graphs = index_texts(job, examples, v_ND, job.config.seed, "refitted graphs")
    if model.sparse is None:
        return replace(model, graphs=graphs)
    negatives_NS = mine_for_sparse_term(job, examples, graphs, v_ND, "refit-mining")
    sparse = learn_sparse_term(job, "refit-sparse", examples, negatives_NS, model.sparse.cost)
    return replace(model, graphs=graphs, sparse=sparse)
