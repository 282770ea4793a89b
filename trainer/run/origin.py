"""The file `run.json`: what a run was begun with besides its settings, which resuming it needs."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Self

import numpy as np

from astec.export.artifact.manifest import Frozen
from astec.export.readers import AS_FOUND, ReadOptions
from astec.trainer.data.training_data import TrainingData
from astec.trainer.settings.config import TrainerConfig
from astec.trainer.settings.config_file import dump_config


class Fingerprint(Frozen):
    """The identity of the data: numbers of texts, and the SHA-256 of labels, vocabulary and featurised texts.

    Settings and data decide which texts are held out; `valid_texts` says how many are of a validation file. `clicks`
    are those of joined rows, 0 if none were joined.
    """

    texts: int
    labels: str
    vocabulary: str
    examples: str
    valid_texts: int = 0
    clicks: float = 0

    @classmethod
    def of(cls, data: TrainingData) -> Self:
        """Compute the fingerprint of featurised data; not of the weights, which another CPU may round differently."""
        bags, labels_NL = data.examples.bags, data.examples.labels
        examples = sha256()
        for array in (bags.offsets, bags.ids, labels_NL.indptr, labels_NL.indices):
            examples.update(np.ascontiguousarray(array).data)
        return cls(
            texts=data.num_texts,
            labels=data.label_texts.sha256(),
            vocabulary=data.featurizer.vocabulary_sha256(),
            examples=examples.hexdigest(),
            valid_texts=data.num_valid_texts,
            clicks=0 if data.traffic is None else data.traffic.clicks,
        )

    def difference(self, now: Fingerprint) -> str | None:
        """Describe for people how the data of `now` differs from this data; None if it is the same."""
        if now.texts != self.texts:
            return f"it had {self.texts:,} texts with labels then and has {now.texts:,} now"
        if now.valid_texts != self.valid_texts:
            return f"{self.valid_texts:,} of its texts were of a validation file then and {now.valid_texts:,} are now"
        changed = [name for name, value in self if value != getattr(now, name)]
        return f"other {' and '.join(changed)} than then" if changed else None


class Origin(Frozen):
    """The data and options that a run was begun with.

    Attributes:
        data: absolute path or address of the training data.
        skip_bad_lines: True if malformed lines were left out.
        device: the device as the user named it, such as auto.
        save_minutes: minutes between saves of the state of a module under way.
        tensorboard: True if TensorBoard's curves are written.
        settings: SHA-256 of the settings.
        fingerprint: the identity of the data.
        reading: what the user said about the data's files.
        warm_start: absolute path of the run that it started from; None: it started from nothing.
        warm_start_version: the version of that run's checkpoint.
    """

    data: str
    skip_bad_lines: bool
    device: str
    save_minutes: float
    tensorboard: bool
    settings: str
    fingerprint: Fingerprint
    reading: ReadOptions = AS_FOUND
    warm_start: Path | None = None
    warm_start_version: str | None = None

    def has_settings(self, config: TrainerConfig) -> bool:
        """Return True if the run was begun with these settings."""
        return self.settings == settings_sha256(config)


def settings_sha256(config: TrainerConfig) -> str:
    """Return the SHA-256 of the settings, written as TOML."""
    return sha256(dump_config(config)).hexdigest()
