"""Modules III and IV: residual R and 1-vs-all classifiers W, trained jointly (paper, section 4).

Shapes: N texts, D dimensions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from astec.trainer.encoders.encoder import Encoder
from astec.trainer.numerics.device import seeded
from astec.trainer.parallel.world import Arrays, Mesh, SplitArrays
from astec.trainer.run.folder import Run
from astec.trainer.settings.config import TrainerConfig
from astec.trainer.training.features import FrozenFeatures
from astec.trainer.training.lesson import Lesson, ProbeTexts, learn
from astec.trainer.training.task import Labels

_STREAM = 2


def learn_extreme(
    encoder: Encoder,
    v_ND: NDArray[np.float32],
    labels: Labels,
    probe: ProbeTexts,
    config: TrainerConfig,
    seed: int,
    run: Run,
    start: Arrays | None = None,
) -> SplitArrays:
    """Run Modules III and IV over representations that do not change, on the labels that `labels` samples.

    Several processes split the labels; at the end each has the classifiers of its own. The result is that of `learn`.
    Residual and classifiers start from `start`, or from random ones.

    Raises:
        DivergedError: the loss became NaN or infinite.
    """
    lesson = Lesson(FrozenFeatures(v_ND, encoder.device), labels, probe, start)
    return learn("extreme", encoder, lesson, seeded(seed, _STREAM), Mesh(labels=run.world), config, seed, run)
