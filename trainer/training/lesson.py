"""The training of a dense model: features and labels to learn from, held-out texts to measure the progress by.

Module I, Modules III and IV and the re-ranker all train through `learn` (paper, section 4).

Shapes: N texts, R held-out texts, D dimensions, L labels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from astec.export.artifact.shortlist.candidates import Candidates
from astec.trainer.encoders.encoder import Encoder
from astec.trainer.parallel.world import Arrays, Mesh, SplitArrays
from astec.trainer.run.folder import Run
from astec.trainer.settings.config import ExtremeSection, RerankerSection, SurrogateSection, TrainerConfig
from astec.trainer.training.features import Features
from astec.trainer.training.loop import Loop, Schedule
from astec.trainer.training.task import Labels, OneVsAllTask

ModuleName = Literal["surrogate", "extreme", "reranker"]
"""The section of the settings that has a module's schedule; also the name of its stage in the run folder."""


@dataclass(frozen=True, slots=True)
class ProbeTexts:
    """Held-out texts that a module's precision is measured on after every epoch.

    Attributes:
        represent: computes v of the texts, [R, D], with the encoder as it is now.
        labels: their labels, or clusters of labels, sparse [R, L].
        candidates: the labels that each text is scored against; None: all.
    """

    represent: Callable[[], NDArray[np.float32]]
    labels: csr_matrix
    candidates: Candidates | None = None


@dataclass(frozen=True, slots=True)
class Lesson:
    """The data of one training.

    Attributes:
        features: v of the N texts; an encoder that they come from learns, too.
        labels: the labels that each batch of texts is scored against.
        probe: held-out texts.
        start: residual and classifiers to start from, as `take_over` returns them; None: random ones.
    """

    features: Features
    labels: Labels
    probe: ProbeTexts
    start: Arrays | None = None


def learn(
    name: ModuleName,
    encoder: Encoder,
    lesson: Lesson,
    generator: torch.Generator,
    mesh: Mesh,
    config: TrainerConfig,
    seed: int,
    run: Run,
) -> SplitArrays:
    """Train a residual and 1-vs-all classifiers of all labels, and the encoder in place if the features learn.

    Args:
        name: of the module.
        encoder: of the finished model; its D is the classifiers'.
        lesson: what to learn from.
        generator: source of the starting points.
        mesh: how several processes split texts and labels.
        config: all settings.
        seed: of the order of the texts.
        run: records every epoch; an interrupted training continues from its last saved state.

    Returns:
        Residual and classifiers, as `DenseModel.of` takes them; where processes split the labels, each has its rows.

    Raises:
        DivergedError: the loss became NaN or infinite.
    """
    section: SurrogateSection | ExtremeSection | RerankerSection = getattr(config, name)
    probe, features, labels = lesson.probe, lesson.features, lesson.labels
    task = OneVsAllTask(name, features, labels, encoder.dim, config.model, generator, encoder.device, mesh)
    if lesson.start is not None:
        task.start_from(lesson.start)

    def measure() -> dict[str, float]:
        return task.precision(probe.represent(), probe.labels, probe.candidates)

    schedule = Schedule.of(section, features.num_texts, continues=lesson.start is not None)
    Loop(task, schedule, seed, measure).run(run)
    return task.learnt()
