"""The finished model of a run, and its last stage, the refit on all texts.

Shapes: N texts that were learnt from, M texts of the data, D dimensions, S negatives of a text.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.scoring.shares import Shares
from astec.trainer.modules.negatives.search_vectors import SearchVectors
from astec.trainer.pipeline.job import Job
from astec.trainer.pipeline.label_texts import add_label_texts
from astec.trainer.pipeline.mining import add_negatives_of_rest, place_texts
from astec.trainer.pipeline.sparse_terms import SparseTerm, relearn_sparse_term
from astec.trainer.training.dense_model import DenseModel


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """All parts that have a share of a score, with their shares; a part without a share is None: it is not served.

    The sparse term has the labels' own texts in it, whose share of the term is `label_text_share`.
    """

    dense: DenseModel
    vectors: SearchVectors
    sparse: SparseTerm | None
    label_text_share: float
    reranker: DenseModel | None
    shares: Shares

    def without_points(self) -> TrainedModel:
        """Return the model without the vectors of its training texts, which a refit makes anew."""
        no_points = self.vectors.points[:0].copy()  # a slice alone would keep the others in memory
        return replace(self, vectors=replace(self.vectors, points=no_points))


def refit(job: Job, model: TrainedModel, negatives_NS: NDArray[np.int32]) -> TrainedModel:
    """Make the vectors and learn the sparse term again on all texts; unchanged where the settings ask for no refit.

    The held-out texts have chosen the shares: now they count as training texts, too.

    Args:
        job: the run.
        model: the model that was learnt from the training texts.
        negatives_NS: their negatives.
    """
    if not job.config.validation.refit:
        return model
    examples = job.data.examples
    v_MD = model.dense.encoder.represent(examples.texts)
    vectors = place_texts(job, examples, v_MD, job.config.seed, "refitted vectors")
    if model.sparse is None or model.sparse.cost is None:
        return replace(model, vectors=vectors)
    negatives_MS = add_negatives_of_rest(job, negatives_NS, vectors, v_MD, "refit-mining")
    del v_MD  # as large as the vectors
    learnt = relearn_sparse_term(job, negatives_MS, model.sparse.cost)
    if learnt is None:  # No weight is left, and the shares were chosen with the term of the training texts.
        return replace(model, vectors=vectors)
    return replace(model, vectors=vectors, sparse=add_label_texts(job, learnt, model.label_text_share))
