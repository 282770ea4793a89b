"""The starting point of a learner's encoder."""

from __future__ import annotations

import torch

from astec.export.artifact.text.featurizer import Featurizer, TextFeaturizer
from astec.export.artifact.text.words import word_ids
from astec.trainer.data.examples import Examples
from astec.trainer.embeddings.initial import initial_embeddings
from astec.trainer.encoders.encoder import Encoder
from astec.trainer.encoders.kinds import trunk_class
from astec.trainer.numerics.device import seeded
from astec.trainer.parallel.world import Arrays
from astec.trainer.run.folder import Run
from astec.trainer.settings.config import TrainerConfig

_STREAM = (1, 1)


def start_encoder(
    train: Examples, featurizer: Featurizer, config: TrainerConfig, seed: int, device: torch.device, run: Run
) -> Encoder:
    """Return the encoder before any training, the same in all processes.

    Its embeddings come from `surrogate.embeddings` of the settings, or with the trunk where it brings some along.

    Raises:
        DataError: embeddings of the settings that cannot be read or do not fit.
        ValueError: embeddings of the trunk that cannot be read or do not fit.
    """

    def start() -> Arrays:
        source, dim = config.surrogate.embeddings, config.model.dim
        own = trunk_class(config.encoder.kind).own_embeddings(config.encoder, dim)
        if own is not None:
            return {"embeddings": own.numpy()}
        start_VD, found_share = initial_embeddings(source, train, featurizer, dim, seed, device)
        if source != "random":
            run.record("embeddings", source=source, found_share=found_share)
        if config.encoder.reads == "words" and isinstance(featurizer, TextFeaturizer):
            start_VD = start_VD[word_ids(featurizer)]
        return {"embeddings": start_VD}

    embeddings_VD = torch.from_numpy(run.world.share(start)["embeddings"]).to(device)
    return Encoder.start(config.encoder, embeddings_VD, seeded(seed, *_STREAM))
