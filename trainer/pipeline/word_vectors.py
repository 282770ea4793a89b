"""The fixed word vectors that stand beside what Module I learns.

A representation says what the clicks of the data taught about the words of a text. Word vectors of a pretrained
encoder, or those that come with the package, add what these words mean elsewhere. They become further columns of the
embeddings, so that Modules II to IV, the export and the server treat them as any others, and a query needs no encoder.
As v is never negative, each principal component p has two columns, ReLU(p) and ReLU(-p).

Shapes: V tokens, F words that the encoder reads, P principal components, D dimensions of the learnt part.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.text.featurizer import TextFeaturizer
from astec.export.readers import DataError
from astec.trainer.data.examples import Texts
from astec.trainer.data.known_words import known_words
from astec.trainer.embeddings.distilled import distil
from astec.trainer.encoders.encoder import Encoder
from astec.trainer.parallel.world import Arrays
from astec.trainer.pipeline.job import Job
from astec.trainer.settings.config import ENGLISH
from astec.trainer.words.word_file import english_words

_SETTING = "word_vectors.encoder"
_MEASURED_TEXTS = 10_000


def add_word_vectors(job: Job, encoder: Encoder, seed: int) -> Encoder:
    """Return the encoder with the word vectors of the settings beside its own; unchanged where they name none.

    Both parts are scaled so that v stays as long as it was, on average.

    Raises:
        DataError: the folder of the settings has no encoder that can be read, or the data has no words.
    """
    settings = job.config.word_vectors
    if not settings.encoder:
        return encoder

    def distil_all() -> Arrays:
        words_VP = _word_vectors(job, settings.dim // 2)
        return {"embeddings": np.concatenate([words_VP, -words_VP], axis=1)}

    def join() -> Arrays:
        words = Encoder.of(encoder.settings, job.run.world.share(distil_all), encoder.device)
        learnt_VD = encoder.arrays()["embeddings"]
        # What Module I has never seen is as random as it began.
        learnt_VD = learnt_VD * np.isin(np.arange(len(learnt_VD)), job.train.bags.ids)[:, None]
        rows = np.unique(np.linspace(0, len(job.train) - 1, _MEASURED_TEXTS).astype(np.int64))
        learnt_length, word_length = (_mean_length(one, job.train.texts.take(rows)) for one in (encoder, words))
        words_scale = settings.weight * learnt_length / (word_length or 1)
        both = np.concatenate([learnt_VD, words_scale * words.arrays()["embeddings"]], axis=1)
        return {"embeddings": (both / np.hypot(1, settings.weight)).astype(np.float32)}

    return Encoder.of(encoder.settings, job.run.together(f"word-vectors-{seed}", join), encoder.device)


def _word_vectors(job: Job, num_components: int) -> NDArray[np.float32]:
    """Return the vector of every token, [V, P], zeros where there is none, and record how many there are."""
    featurizer, settings = job.data.featurizer, job.config.word_vectors
    source = Path(settings.encoder)
    if not isinstance(featurizer, TextFeaturizer):
        raise DataError(source, None, "reads words, and the features of this data have none", "Leave the setting empty")
    if settings.encoder == ENGLISH:
        tokens_F, vectors_FP = english_words().of_tokens(featurizer, num_components)
    else:
        tokens_F, vectors_FP = distil(source, featurizer, num_components, job.device, _SETTING)
    known = list(featurizer.single_words(known_words(settings)))
    # A word of held-out texts alone would be unknown in a fresh text: it must not make the held-out texts look easy.
    learnt_F = np.isin(tokens_F, job.train.bags.ids) | np.isin(tokens_F, featurizer.token_ids(known))
    words_VP = np.zeros((featurizer.num_features, num_components), np.float32)
    words_VP[tokens_F[learnt_F]] = vectors_FP[learnt_F]
    job.run.record("word vectors", source=str(source), found_share=len(tokens_F) / featurizer.num_features)
    return words_VP


def _mean_length(encoder: Encoder, texts: Texts) -> float:
    return float(np.linalg.norm(encoder.represent(texts), axis=1).mean())
