"""The re-ranker: a second, independent encoder and classifiers, trained end to end on the model's mistakes (section 4).

Shapes: N texts, S negatives of a text.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from astec.export.artifact.shortlist.candidates import Candidates
from astec.trainer.data.examples import Examples, Texts
from astec.trainer.embeddings.random import random_embeddings
from astec.trainer.encoders.encoder import Encoder
from astec.trainer.modules.negatives.device_sampler import sampler_for
from astec.trainer.numerics.device import seeded
from astec.trainer.parallel.world import Mesh, SplitArrays
from astec.trainer.run.folder import Run
from astec.trainer.settings.config import TrainerConfig
from astec.trainer.settings.section import EncoderSection
from astec.trainer.training.features import EncodedFeatures
from astec.trainer.training.lesson import Lesson, ProbeTexts, learn

_STREAM = 3


def learn_reranker(
    train: Examples,
    held: Examples,
    held_candidates: Candidates,
    num_features: int,
    mistakes_NS: NDArray[np.int32] | None,
    config: TrainerConfig,
    device: torch.device,
    run: Run,
) -> SplitArrays:
    """Train on the labels of the texts and on the wrong labels that the model ranks high.

    Several processes split the labels; at the end each has the classifiers of its own.

    Args:
        train: texts to learn from.
        held: held-out texts, whose precision is recorded after every epoch.
        held_candidates: the labels that the held-out texts are scored against.
        num_features: the size of the vocabulary.
        mistakes_NS: wrong labels of each training text, -1 where it has fewer; None on all processes but the first.
        config: all settings.
        device: where the re-ranker lives.
        run: where it is recorded.

    Returns:
        The arrays of the encoder, the residual and the classifiers, as `DenseModel.of` and `Encoder.of` take them.

    Raises:
        DivergedError: the loss became NaN or infinite.
    """
    seed, dim = config.seed, config.reranker.dim
    generator = seeded(seed, _STREAM)  # other starting points than Module I's: the two encoders must differ
    encoder = Encoder.start(EncoderSection(), random_embeddings(num_features, dim, generator).to(device))
    sampler = sampler_for(device, run.world, train.labels, mistakes_NS, config.shortlist, seed)
    probe = ProbeTexts(lambda: encoder.represent(Texts(held.bags)), held.labels, held_candidates)
    lesson = Lesson(EncodedFeatures(encoder, Texts(train.bags)), sampler, probe)
    learnt = learn("reranker", encoder, lesson, generator, Mesh(labels=run.world), config, seed, run)
    return {**learnt, **encoder.arrays()}
