"""An encoder and classifiers of every label, or cluster of labels, trained together end to end.

Module I does this to clusters, and keeps the encoder (paper, section 4, equation 1); systems without modules do it to
the labels themselves.
"""

from __future__ import annotations

from typing import Literal

from scipy.sparse import csr_matrix

from astec.trainer.data import Texts
from astec.trainer.encoders.encoder import Encoder
from astec.trainer.numerics.device import seeded
from astec.trainer.parallel.world import Mesh
from astec.trainer.run.folder import Run
from astec.trainer.settings.config import TrainerConfig
from astec.trainer.training.dense_model import DenseModel
from astec.trainer.training.features import EncodedFeatures
from astec.trainer.training.loop import Loop, Schedule
from astec.trainer.training.task import Labels, OneVsAllTask

_STREAM = 1


def learn_jointly(
    name: Literal["surrogate", "extreme"],
    encoder: Encoder,
    texts: Texts,
    labels: Labels,
    held: tuple[Texts, csr_matrix],
    config: TrainerConfig,
    seed: int,
    run: Run,
) -> DenseModel:
    """Train the encoder, in place, a residual and classifiers of labels; the settings of the module `name` rule.

    How well it does on `held`, texts and their labels [R, L], is recorded. Several processes split the texts of a
    batch.

    Raises:
        DivergedError: the loss became NaN or infinite.
    """
    held_texts, held_labels_RL = held
    schedule = Schedule.of(config.surrogate if name == "surrogate" else config.extreme, len(texts))
    features = EncodedFeatures(encoder, texts)
    generator, mesh = seeded(seed, _STREAM), Mesh(texts=run.world)
    task = OneVsAllTask(name, features, labels, config.model.dim, config.model, generator, encoder.device, mesh)

    def probe() -> dict[str, float]:
        return task.precision(encoder.represent(held_texts), held_labels_RL, None)

    Loop(task, schedule, seed, probe).run(run)
    return task.finish(encoder)
