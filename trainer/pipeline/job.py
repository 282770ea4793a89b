"""The data, settings and run folder of one training, split into texts to learn from and held-out texts.

Shapes: N texts to learn from, R held-out texts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from astec.export.console import console
from astec.trainer.data.examples import Examples
from astec.trainer.data.training_data import TrainingData
from astec.trainer.data.validation_split import LEARNT, ValidationSplit, split_validation
from astec.trainer.run.folder import Run
from astec.trainer.run.warm_start import WarmStart
from astec.trainer.settings.config import TrainerConfig
from astec.trainer.training.probe import PROBE_TEXTS

_SHOWN_CHARS: Final = 40
_LONG_LABEL: Final = 1_000  # bytes


@dataclass(frozen=True, slots=True)
class Job:
    """The input of every stage.

    Attributes:
        data: all texts, with the sequences that the encoder reads.
        config: all settings.
        device: where the models live.
        run: the run folder, and the processes that train together.
        train_rows: rows of `data.examples` to learn from, int64 [N]: texts, then labels' own texts.
        split: the validation split.
        train: the examples at `train_rows`.
        held: the examples at `held_rows`, on which the shares are chosen and the model is evaluated.
        warm: what an old run hands over; None: everything is learnt from nothing.
    """

    data: TrainingData
    config: TrainerConfig
    device: torch.device
    run: Run
    train_rows: NDArray[np.int64]
    split: ValidationSplit
    train: Examples
    held: Examples
    warm: WarmStart | None = None

    @property
    def held_rows(self) -> NDArray[np.int64]:
        """Rows of `data.examples` that are held out, int64 [R]."""
        return self.split.held

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


def split(
    data: TrainingData, config: TrainerConfig, device: torch.device, run: Run, warm: WarmStart | None = None
) -> Job:
    """Split the texts into those to learn from and those held out, and print how many there are of each.

    Raises:
        ConfigError: the encoder cannot read this data.
    """
    config = config.with_word_vectors(data.word_vectors)
    data = data.read_for(config.encoder, config.model.dim)
    earlier = None if warm is None else warm.texts
    validation = split_validation(data, config.validation, config.seed, earlier)
    learnt, held = validation.learnt, validation.held
    train_rows = np.append(learnt, data.label_text_rows(held))
    console.print(
        f"{len(learnt):,} texts to learn from, {len(held):,} held out, {data.num_labels:,} labels, "
        f"{data.featurizer.num_features:,} tokens, on {device}",
        soft_wrap=True,
    )
    for line in (*_about_useless_rows(data), *_about_traffic(validation, data, config)):
        console.print(line, markup=False, soft_wrap=True)
    console.print(_describe(validation, data, config), soft_wrap=True)
    for said in (_about_label_texts(data), _about_word_vectors(data)):
        if said is not None:
            console.print(said, markup=False, soft_wrap=True)
    train, held_out = data.examples.take(train_rows), data.examples.take(held)
    if warm is not None:
        console.print(_about_warm_start(warm, held_out), markup=False, soft_wrap=True)
    return Job(data, config, device, run, train_rows, validation, train, held_out, warm)


def _about_useless_rows(data: TrainingData) -> Iterator[str]:
    """Yield lines about rows that nothing can be learnt from, such as those of a wrong column."""
    unknown = np.flatnonzero(data.examples.bags.lengths()[: data.num_texts] == 0)
    if len(unknown):
        example = "" if data.texts is None else f", such as {data.texts[int(unknown[0])][:_SHOWN_CHARS]!r}"
        yield (
            f"{len(unknown):,} of {data.num_texts:,} texts have no token that the model knows{example}: nothing is "
            "learnt from them, and such queries get no label"
        )
    if data.num_labels == 1:
        yield (
            f"all texts have the same label, {data.label_texts[0][:_SHOWN_CHARS]!r}, and so will all answers: is it "
            "the right column?"
        )
    lengths_L = np.diff(data.label_texts.offsets)
    if lengths_L.max() > _LONG_LABEL:
        longest = int(lengths_L.argmax())
        yield (
            f"a label has {len(data.label_texts[longest]):,} characters, {data.label_texts[longest][:_SHOWN_CHARS]!r}: "
            "is it one label?"
        )


def _about_traffic(split: ValidationSplit, data: TrainingData, config: TrainerConfig) -> Iterator[str]:
    """Yield lines about the rows of the training file: how many, how often texts repeat, and what clicks weigh."""
    traffic, repeated = data.traffic, f"{100 * split.repeated_share:.1f}% of"
    if traffic is None:
        rows = data.num_texts - data.num_valid_texts
        yield f"{rows:,} rows, {split.num_texts:,} texts, {repeated} rows repeat the text of another row"
    else:
        yield (
            f"{traffic.rows:,} rows of {traffic.clicks:,.0f} clicks, {traffic.texts:,} texts, {repeated} clicks repeat "
            f"a text; rows of a text are joined (clicks.join {_toml(config.clicks.join)}), clicks weigh "
            f"{config.clicks.weighting} (clicks.weighting)"
        )


def _about_warm_start(warm: WarmStart, held: Examples) -> str:
    """Return one line that says what is taken over, and how many held-out texts the old run has learnt."""
    labels, tokens = warm.labels >= 0, warm.tokens >= 0
    line = (
        f"warm start from {warm.name}: {labels.sum():,} of {len(labels):,} labels and {tokens.sum():,} of "
        f"{len(tokens):,} tokens are taken over"
    )
    learnt = len(held) if warm.texts is None else int(np.sum(warm.texts.ranks(held.bags) == LEARNT))
    if learnt:
        known = "may have learnt some" if warm.texts is None else f"has learnt {learnt:,}"
        line += f"; it {known} of the {len(held):,} held-out texts, which flatters the figures of this run"
    return line


def _toml(value: bool | str) -> str:
    """Return a setting as it is written in TOML."""
    return str(value).lower()


def _describe(split: ValidationSplit, data: TrainingData, config: TrainerConfig) -> str:
    """Return one line that says what is held out, and why."""
    how = {
        "texts": "new texts, with all their rows",
        "rows": "rows, as texts repeat in traffic",
        "time": "the last rows",
        "file": "the validation file",
    }[split.kind]
    line = f"held out: {how} (validation.split {config.validation.split})"
    if unseen := int(np.sum(data.label_counts(split.held) == 0)):
        until = "the refit learns them" if config.validation.refit else "they are not learnt without validation.refit"
        line += f"; {unseen:,} labels occur in held-out rows alone: {until}"
    return line


def _about_label_texts(data: TrainingData) -> str | None:
    """Say whether labels' own texts are learnt from, and why; None if they are not, and nobody could expect it."""
    trial = data.label_text_trial
    learnt = f"{data.num_label_texts:,} labels are learnt from as texts, too" if data.num_label_texts else None
    if trial is None:
        return learnt
    return f"{learnt or 'labels are not learnt from as texts'}: {trial.reason}"


def _about_word_vectors(data: TrainingData) -> str | None:
    """Say whether there are word vectors, and why; None if there are none, and nobody could expect it."""
    trial, source = data.word_vector_trial, data.word_vectors
    if trial is None:
        return f"word vectors of {source} are used" if source else None
    return f"{'English word vectors are' if source else 'no word vectors are'} used: {trial.reason}"
