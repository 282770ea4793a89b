"""The learners of all seeds, joined into one dense model with its search vectors and negatives.

Shapes: N texts, D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

from astec.trainer.pipeline.frameworks import FRAMEWORKS
from astec.trainer.pipeline.job import Job
from astec.trainer.pipeline.learner import Learnt
from astec.trainer.pipeline.mining import Mined, mine_by_one_learner, mine_for_ensemble, place_texts
from astec.trainer.training.dense_model import DenseModel


@dataclass(frozen=True, slots=True)
class Ensemble:
    """The dense model of all learners, and the search vectors and negatives over its representations."""

    model: DenseModel
    mined: Mined


def train_learners(job: Job) -> list[Learnt]:
    """Run Modules I to IV for every seed; several processes run this together.

    Of several learners the vectors and negatives are dropped: the joined model gets its own.
    """
    framework = FRAMEWORKS[job.config.framework]
    if len(job.config.seeds) == 1:
        return [framework(job, job.config.seed)]
    return [Learnt(framework(job, seed).model) for seed in job.config.seeds]


def join_learners(job: Job, learners: list[Learnt]) -> Ensemble:
    """Join the models of all learners, and run Module II over the result; a single learner stays as it is."""
    if len(learners) == 1:
        model, mined = learners[0].model, learners[0].mined
        if mined is None:
            mined = mine_by_one_learner(job, model.encoder, job.config.seed)
        return Ensemble(model, mined)
    model = DenseModel.join([learnt.model for learnt in learners])
    v_ND = model.encoder.represent(job.train.texts)
    vectors = place_texts(job, job.train, v_ND, job.config.seed, "joint vectors")
    return Ensemble(model, Mined(vectors, mine_for_ensemble(job, vectors, v_ND)))
