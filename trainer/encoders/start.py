"""Where the encoder of a learner starts from."""

from __future__ import annotations

import torch

from export.artifact.featurizer import Featurizer, TextFeaturizer
from export.artifact.sequences import word_ids
from trainer.config import TrainerConfig
from trainer.data import Examples
from trainer.embeddings.initial import initial_embeddings
from trainer.encoders.encoder import Encoder
from trainer.run import Run
from trainer.tensors import seeded
from trainer.world import Arrays

_STREAM = (1, 1)


def start_encoder(
    train: Examples, featurizer: Featurizer, config: TrainerConfig, seed: int, device: torch.device, run: Run
) -> Encoder:
    """Embeddings as `surrogate.embeddings` says, and a trunk at random; the same in all processes.

    Raises:
        DataError: embeddings that cannot be read or do not fit.
    """

    def start() -> Arrays:
        source, dim = config.surrogate.embeddings, config.model.dim
        start_VD, found_share = initial_embeddings(source, train, featurizer, dim, seed)
        if source != "random":
            run.record("embeddings", source=source, found_share=found_share)
        if config.encoder.max_words is not None and isinstance(featurizer, TextFeaturizer):
            start_VD = start_VD[word_ids(featurizer)]
        return {"embeddings": start_VD}

    embeddings_VD = torch.from_numpy(run.world.share(start)["embeddings"]).to(device)
    return Encoder.start(config.encoder, embeddings_VD, seeded(seed, *_STREAM))
