"""Modules III and IV: residual R and 1-vs-all classifiers W, trained jointly (paper, section 4).

Shapes: N texts, D dimensions, L labels, S negatives of a text.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from astec.export.artifact.shortlist.candidates import Candidates
from astec.trainer.encoders.encoder import Encoder
from astec.trainer.numerics.device import seeded
from astec.trainer.parallel.world import Mesh
from astec.trainer.run.folder import Run
from astec.trainer.settings.config import TrainerConfig
from astec.trainer.training.dense_model import DenseModel
from astec.trainer.training.features import FrozenFeatures
from astec.trainer.training.loop import Loop, Schedule
from astec.trainer.training.task import Labels, OneVsAllTask

_STREAM = 2


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Texts that show how far a module is: representations [R, D], labels sparse [R, L], and candidates."""

    v: NDArray[np.float32]
    labels: csr_matrix
    candidates: Candidates


def learn_classifiers(
    encoder: Encoder,
    v_ND: NDArray[np.float32],
    labels: Labels,
    held: HeldOut,
    config: TrainerConfig,
    seed: int,
    run: Run,
) -> DenseModel:
    """Run Modules III and IV on what `labels` samples, over representations that stand still.

    Several processes split the labels; the first gets all classifiers in the end, the others none.

    Raises:
        DivergedError: the loss became NaN or infinite.
    """
    device = encoder.device
    features, generator, mesh = FrozenFeatures(v_ND, device), seeded(seed, _STREAM), Mesh(labels=run.world)
    task = OneVsAllTask("extreme", features, labels, config.model.dim, config.model, generator, device, mesh)

    def probe() -> dict[str, float]:
        return task.precision(held.v, held.labels, held.candidates)

    Loop(task, Schedule.of(config.extreme, len(v_ND)), seed, probe).run(run)
    return task.finish(encoder)
