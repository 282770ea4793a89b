"""The re-ranker of a run, trained on the labels that the dense model ranks high wrongly (paper, section 4).

Shapes: N training texts, B texts of a chunk, S mistakes of a text, C candidates of all texts together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.shortlist.candidates import Candidates
from astec.export.artifact.shortlist.shortlister import Shortlister
from astec.trainer.encoders.encoder import Encoder
from astec.trainer.modules.negatives.sampling import candidate_arrays, count_negatives, mine_negatives, shortlist
from astec.trainer.modules.negatives.search_vectors import SearchVectors
from astec.trainer.modules.reranker import learn_reranker
from astec.trainer.numerics.device import to_device
from astec.trainer.parallel.world import Arrays, SplitArrays
from astec.trainer.pipeline.job import Job
from astec.trainer.pipeline.mining import search_exactly, search_for_mining
from astec.trainer.settings.section import EncoderSection
from astec.trainer.training.dense_model import LABEL_ARRAYS, DenseModel
from astec.trainer.training.probe import candidate_logits


def learn_from_mistakes(job: Job, mine: Callable[[], Arrays]) -> DenseModel | None:
    """Train the re-ranker; None where the settings ask for none. Several processes run this together.

    Args:
        job: the run.
        mine: returns what `mine_mistakes` does; called by the first process only.
    """
    if not job.config.reranker.enabled:
        return None
    num_features, probe = job.data.featurizer.num_features, job.probe

    def learn() -> SplitArrays:
        mistakes_NS = None

        def mine_candidates() -> Arrays:
            nonlocal mistakes_NS
            mined = mine()
            mistakes_NS = mined.pop("mistakes")
            return mined

        candidates = Candidates(**job.run.world.share(mine_candidates))
        return learn_reranker(job.train, probe, candidates, num_features, mistakes_NS, job.config, job.device, job.run)

    arrays = job.run.together(f"reranker-{job.config.seed}", learn, LABEL_ARRAYS)
    return DenseModel.of(Encoder.of(EncoderSection(), arrays, job.device), arrays, job.labels_device)


def mine_mistakes(job: Job, model: DenseModel, vectors: SearchVectors) -> Arrays:
    """Find the worst mistakes on the training texts, `mistakes` [N, S], and the candidates of the probe's texts."""
    mistakes_NS = _find_mistakes(job, model, search_for_mining(job, vectors))
    v_RD = model.encoder.represent(job.probe.texts)
    candidates = shortlist(search_exactly(job, vectors), v_RD, "shortlisting held-out texts")
    return {"mistakes": mistakes_NS, **candidate_arrays(candidates)}


def _find_mistakes(job: Job, model: DenseModel, shortlister: Shortlister) -> NDArray[np.int32]:
    """Return the wrong labels that the model scores highest for each training text, int32 [N, S]."""
    v_ND = model.encoder.represent(job.train.texts)

    def score(candidates: Candidates, first_row: int) -> NDArray[np.float32]:
        rows = slice(first_row, first_row + len(candidates.offsets) - 1)
        x_BD = model.transform(to_device(v_ND[rows], job.device))
        return candidate_logits(x_BD, model.classifier, model.bias, candidates)

    num_mistakes = job.config.reranker.num_negatives

    def blocks() -> Iterator[NDArray[np.int32]]:
        mined = mine_negatives(shortlister, v_ND, job.train.labels, num_mistakes, score)
        return count_negatives(mined, lambda mean: job.run.record("mistakes", mistakes_per_text=mean))

    return job.run.once_rows(f"mistakes-{job.config.seed}", (len(v_ND), num_mistakes), blocks)
