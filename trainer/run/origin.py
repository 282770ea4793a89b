"""`run.json`: what a run was begun with besides its settings, so that it can go on."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Self

import numpy as np

from astec.export.artifact.manifest import Frozen
from astec.trainer.data.training_data import TrainingData
from astec.trainer.settings.config import TrainerConfig, dump_config


class Fingerprint(Frozen):
    """What tells one training file from another: number of texts, and SHA-256 of what they became."""

    texts: int
    labels: str
    vocabulary: str
    examples: str

    @classmethod
    def of(cls, data: TrainingData) -> Self:
        """Of featurised data. Weights are left out: another CPU may round them otherwise."""
        bags, labels_NL = data.examples.bags, data.examples.labels
        examples = sha256()
        for array in (bags.offsets, bags.ids, labels_NL.indptr, labels_NL.indices):
            examples.update(np.ascontiguousarray(array).data)
        return cls(
            texts=data.num_texts,
            labels=data.label_texts.sha256(),
            vocabulary=data.featurizer.vocabulary_sha256(),
            examples=examples.hexdigest(),
        )

    def difference(self, now: Fingerprint) -> str | None:
        """How the data of `now` differs from this, for people; None where it is the same."""
        if now.texts != self.texts:
            return f"it had {self.texts:,} texts with labels then and has {now.texts:,} now"
        changed = [name for name, value in self if value != getattr(now, name)]
        return f"other {' and '.join(changed)} than then" if changed else None


class Origin(Frozen):
    """How a run was begun.

    Attributes:
        data: absolute path of the training data.
        skip_bad_lines: whether malformed lines of it were left out.
        device: as it was asked for, such as auto.
        save_minutes: how often the state of a module under way is saved.
        tensorboard: whether TensorBoard is written.
        settings: SHA-256 of the settings.
        fingerprint: of the data.
    """

    data: Path
    skip_bad_lines: bool
    device: str
    save_minutes: float
    tensorboard: bool
    settings: str
    fingerprint: Fingerprint

    def has_settings(self, config: TrainerConfig) -> bool:
        """Whether these are the settings that the run was begun with."""
        return self.settings == settings_sha256(config)


def settings_sha256(config: TrainerConfig) -> str:
    """Identity of settings."""
    return sha256(dump_config(config)).hexdigest()
