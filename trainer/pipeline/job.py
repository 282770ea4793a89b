"""The data, settings and run folder of one training, split into texts to learn from and held-out texts.

Shapes: N texts to learn from, R held-out texts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from astec.export.console import console
from astec.trainer.data.examples import Examples
from astec.trainer.data.training_data import TrainingData
from astec.trainer.data.validation_split import split_validation
from astec.trainer.run.folder import Run
from astec.trainer.settings.config import TrainerConfig
from astec.trainer.training.probe import PROBE_TEXTS


@dataclass(frozen=True, slots=True)
class Job:
    """The input of every stage.

    Attributes:
        data: all texts, with the sequences that the encoder reads.
        config: all settings.
        device: where the models live.
        run: the run folder, and the processes that train together.
        train_rows: rows of `data.examples` to learn from, int64 [N]: texts, then labels' own texts.
        held_rows: rows of `data.examples` that are held out, int64 [R].
        train: the examples at `train_rows`.
        held: the examples at `held_rows`, on which the shares are chosen and the model is evaluated.
    """

    data: TrainingData
    config: TrainerConfig
    device: torch.device
    run: Run
    train_rows: NDArray[np.int64]
    held_rows: NDArray[np.int64]
    train: Examples
    held: Examples

    @property
    def probe(self) -> Examples:
        """The held-out examples that show the progress of a module after every epoch."""
        return self.held.take(np.arange(min(len(self.held), PROBE_TEXTS)))

    @property
    def labels_device(self) -> torch.device:
        """The device of the finished classifiers: main memory where several processes split them to learn them.

        They need not fit on the first process's GPU, and its stage file is mapped.
        """
        return self.device if self.run.world.size == 1 else torch.device("cpu")


def split(data: TrainingData, config: TrainerConfig, device: torch.device, run: Run) -> Job:
    """Split the texts into those to learn from and those held out, and print how many there are of each.

    Raises:
        ConfigError: the encoder cannot read this data.
    """
    data = data.read_for(config.encoder, config.model.dim)
    texts = data.examples.bags.take(np.arange(data.num_texts))
    learnt, held = split_validation(texts, config.validation.size(data.num_texts), config.seed)
    train_rows = np.append(learnt, data.label_text_rows(held))
    console.print(
        f"{len(learnt):,} texts to learn from, {len(held):,} held out, {data.num_labels:,} labels, "
        f"{data.featurizer.num_features:,} tokens, on {device}",
        soft_wrap=True,
    )
    if said := _about_label_texts(data, config):
        console.print(said, soft_wrap=True)
    return Job(data, config, device, run, train_rows, held, data.examples.take(train_rows), data.examples.take(held))


def _about_label_texts(data: TrainingData, config: TrainerConfig) -> str | None:
    """Say whether labels' own texts are learnt from, and why; None if they are not, and nobody could expect it."""
    trial = data.label_text_trial
    learnt = f"{data.num_label_texts:,} labels are learnt from as texts, too" if data.num_label_texts else None
    if config.labels.as_texts != "auto" or data.texts is None:
        return learnt
    learnt = learnt or "labels are not learnt from as texts"
    if trial is None:
        return f"{learnt}: there are too few texts to try it"
    needed = f"at least {trial.least_gain:.2f} are wanted"
    return f"{learnt}: in a trial before training this changed P@k by {trial.gain:+.2f} points, and {needed}"
