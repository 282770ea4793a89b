"""The re-ranker: a second, independent encoder and classifiers, trained end to end on the model's mistakes (section 4).

Shapes: N texts, D dimensions, L labels, S negatives of a text, C candidates of all texts together.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from astec.export.artifact.shortlist.candidates import Candidates
from astec.trainer.data import Examples, Texts
from astec.trainer.embeddings.random import random_embeddings
from astec.trainer.encoders.encoder import Encoder
from astec.trainer.modules.negatives.sampling import LabelSampler
from astec.trainer.numerics.device import seeded
from astec.trainer.parallel.world import Mesh
from astec.trainer.run.folder import Run
from astec.trainer.settings.config import TrainerConfig
from astec.trainer.settings.section import EncoderSection
from astec.trainer.training.dense_model import DenseModel
from astec.trainer.training.features import EncodedFeatures
from astec.trainer.training.loop import Loop, Schedule
from astec.trainer.training.task import OneVsAllTask

_STREAM = 3


def learn_reranker(
    train: Examples,
    held: Examples,
    held_candidates: Candidates,
    num_features: int,
    mistakes_NS: NDArray[np.int32],
    config: TrainerConfig,
    device: torch.device,
    run: Run,
) -> DenseModel:
    """Train on the positives and on the labels that the model ranks high wrongly.

    Several processes split the labels; the first gets all classifiers in the end, the others none.

    Raises:
        DivergedError: the loss became NaN or infinite.
    """
    settings, seed = config.reranker, config.seed
    generator = seeded(seed, _STREAM)  # not where Module I started: the two are to differ
    encoder = Encoder.start(EncoderSection(), random_embeddings(num_features, settings.dim, generator).to(device))
    features = EncodedFeatures(encoder, Texts(train.bags))
    sampler = LabelSampler(train.labels, mistakes_NS, config.shortlist.num_random_negatives, seed)
    mesh = Mesh(labels=run.world)
    task = OneVsAllTask("reranker", features, sampler, settings.dim, config.model, generator, device, mesh)

    def probe() -> dict[str, float]:
        return task.precision(encoder.represent(Texts(held.bags)), held.labels, held_candidates)

    Loop(task, Schedule.of(settings, len(train)), seed, probe).run(run)
    return task.finish(encoder)
