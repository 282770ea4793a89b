"""An encoder and classifiers of every label, or cluster of labels, trained together end to end.

Module I does this for clusters of labels and keeps the encoder (paper, section 4, equation 1); frameworks without
modules do it for the labels themselves.

Shapes: R held-out texts, L labels or clusters.
"""

from __future__ import annotations

from typing import Literal

from scipy.sparse import csr_matrix

from astec.trainer.data.examples import Texts
from astec.trainer.encoders.encoder import Encoder
from astec.trainer.numerics.device import seeded
from astec.trainer.parallel.world import Arrays, Mesh, SplitArrays
from astec.trainer.run.folder import Run
from astec.trainer.settings.config import TrainerConfig
from astec.trainer.training.features import EncodedFeatures
from astec.trainer.training.lesson import Lesson, ProbeTexts, learn
from astec.trainer.training.task import Labels

_STREAM = 1


def joint_lesson(
    encoder: Encoder, texts: Texts, labels: Labels, held: tuple[Texts, csr_matrix], start: Arrays | None = None
) -> Lesson:
    """Make the lesson of an encoder that learns, too.

    Args:
        encoder: is trained in place.
        texts: to learn from.
        labels: of the texts.
        held: held-out texts and their labels [R, L], whose precision is recorded after every epoch.
        start: residual and classifiers to start from; None: random ones.
    """
    held_texts, held_labels_RL = held
    probe = ProbeTexts(lambda: encoder.represent(held_texts), held_labels_RL)
    return Lesson(EncodedFeatures(encoder, texts), labels, probe, start)


def learn_jointly(
    name: Literal["surrogate", "extreme"],
    encoder: Encoder,
    lesson: Lesson,
    config: TrainerConfig,
    seed: int,
    run: Run,
) -> SplitArrays:
    """Train the encoder, in place, a residual and classifiers of labels, on what `joint_lesson` made.

    The schedule is that of the module `name`. Several processes split the texts of a batch. The result is that of
    `learn`.

    Raises:
        DivergedError: the loss became NaN or infinite.
    """
    return learn(name, encoder, lesson, seeded(seed, _STREAM), Mesh(texts=run.world), config, seed, run)
