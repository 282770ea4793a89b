"""A warm start: what a finished run hands to a new one over newer data.

Tokens and labels are taken over by their text. The checkpoint holds nearly all that is needed; a small file beside it
holds what the export does not need: the clusters of Module I, their classifiers, and an encoder's further parameters.

Shapes: D dimensions; V tokens, L labels and K clusters of the new run, V', L' and K' of the old one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.text.featurizer import Featurizer, TextFeaturizer
from astec.export.artifact.text.words import word_ids
from astec.export.model.checkpoint import Checkpoint
from astec.export.model.checkpoint_folder import (
    CHECKPOINT_FOLDER,
    SUMMARY_FILE,
    CheckpointError,
    read_checkpoint,
    read_training,
)
from astec.trainer.data.chunks import join_bags, text_chunks
from astec.trainer.data.training_data import TrainingData
from astec.trainer.data.validation_split import EarlierTexts
from astec.trainer.parallel.world import Arrays
from astec.trainer.run.array_file import map_arrays, write_arrays
from astec.trainer.run.folder import CONFIG_FILE, RunError
from astec.trainer.settings.config import ConfigError, ExtremeSection, SurrogateSection, TrainerConfig
from astec.trainer.settings.config_file import load_config

SURROGATE_EPOCHS, EXTREME_EPOCHS = 4, 2
"""The epochs of Module I and of Modules III and IV in a warm start, unless settings say otherwise."""
FASTER = 2.0
"""How many times the learning rate of the old run that of a warm start is: fewer steps have to be longer ones."""
CONTINUED_FRAMEWORKS = ("deepxml", "deepxml-ova")
EMBEDDINGS = "embeddings"
WORD_VECTORS = "word_vectors"
"""What a checkpoint's `training` says of the source of the word vectors; absent: there are none."""
CLUSTER_PREFIX = "surrogate."
_TOKEN_RULES = ("word_ngrams", "min_char_ngram", "max_char_ngram", "max_chars", "rules")


@dataclass(frozen=True, slots=True)
class LearnerStart:
    """Where one learner begins.

    Attributes:
        encoder: the old encoder's embeddings [V', D] and further parameters, by name.
        dense: old residual, classifiers [L', D] and biases, as `DenseModel.of` takes them.
        clusters: the same of clusters, and `clusters`, the cluster of each old label, int64 [L']; empty where the old
            run has none.
    """

    encoder: Arrays
    dense: Arrays
    clusters: Arrays


@dataclass(frozen=True, slots=True)
class WarmStart:
    """What an old run hands to a new one.

    Attributes:
        name: of the old run's folder.
        version: beginning of the SHA-256 of its checkpoint's summary.
        tokens: the old row of each row of the table of embeddings, int64 [V]; -1: it is new.
        labels: the old id of each label, int64 [L]; -1: it is new.
        learners: by the seeds of the new run.
        texts: those that the old run has learnt, and those that it held out; None where it kept none, as of data that
            has features in place of texts.
    """

    name: str
    version: str
    tokens: NDArray[np.int64]
    labels: NDArray[np.int64]
    learners: dict[int, LearnerStart]
    texts: EarlierTexts | None = None

    def summary(self) -> dict[str, str | int]:
        """Return what the checkpoint and the report of the new run say of it."""
        return {
            "warm_start": self.name,
            "warm_start_version": self.version,
            "tokens_taken_over": int(np.sum(self.tokens >= 0)),
            "labels_taken_over": int(np.sum(self.labels >= 0)),
        }


def warm_settings(folder: Path) -> TrainerConfig:
    """Return the settings of an old run with epochs and learning rates of a warm start: the defaults of the new one.

    What the old run left to a trial on its data, such as whether there are word vectors, a new trial decides.

    Raises:
        RunError: there is no such run, or it has not finished.
        ConfigError: its settings cannot be read.
    """
    _require_finished(folder)
    old = load_config(folder / CONFIG_FILE, [])

    def shortened(section: SurrogateSection | ExtremeSection, epochs: int) -> dict[str, float]:
        if section.epochs <= epochs:  # a warm start itself
            return {}
        steps, rate = section.min_steps * epochs // section.epochs, section.learning_rate * FASTER
        return {"epochs": epochs, "min_steps": steps, "learning_rate": rate}

    surrogate, extreme = shortened(old.surrogate, SURROGATE_EPOCHS), shortened(old.extreme, EXTREME_EPOCHS)
    return old.model_copy(
        update={
            "surrogate": old.surrogate.model_copy(update=surrogate),
            "extreme": old.extreme.model_copy(update=extreme),
        }
    )


class OldRun:
    """A finished run that a new one with some settings can start from.

    Args:
        folder: of the old run.
        settings: of the new run.

    Raises:
        RunError: there is no such run, it has not finished, or its files are damaged.
        ConfigError: it has another encoder, other dimensions, other rules of tokens or another number of learners.
    """

    def __init__(self, folder: Path, settings: TrainerConfig) -> None:
        _require_finished(folder)
        self.folder, self._settings = folder, settings
        self._old = _settings_of(folder)  # with the word vectors that it chose
        _require_same(folder, self._old, settings)
        self.version = sha256((folder / CHECKPOINT_FOLDER / SUMMARY_FILE).read_bytes()).hexdigest()[:12]

    def hand_over(self, data: TrainingData) -> WarmStart:
        """Read the old model, and find the tokens and labels of `data` in it.

        Raises:
            RunError: a file is damaged.
            ConfigError: one run has texts and the other features, or they have different numbers of features.
        """
        try:
            checkpoint = read_checkpoint(self.folder)
            kept = [map_arrays(path) if path.exists() else {} for path in self._files()]
        except (CheckpointError, OSError, ValueError) as error:
            raise RunError(f"--warm-start: {error}") from error
        old, new = self._old, self._settings.with_word_vectors(data.word_vectors)
        tokens = _rows_of_tokens(checkpoint, data.featurizer, new.encoder.reads)
        if old.word_vectors.encoder:
            # Module I has learnt nothing of words that only word vectors have brought.
            lengths_V = np.abs(checkpoint.model.embeddings[:, : old.model.dim]).max(axis=1)
            tokens = np.where((tokens >= 0) & (lengths_V[tokens] > 0), tokens, -1)
        return WarmStart(
            self.folder.resolve().name,
            self.version,
            tokens,
            find_by_text(checkpoint.labels, data.label_texts),
            {
                seed: _learner_start(checkpoint, position, old, new, arrays)
                for position, (seed, arrays) in enumerate(zip(new.seeds, kept, strict=True))
            },
            _earlier_texts(checkpoint, data.featurizer),
        )

    def _files(self) -> list[Path]:
        return [kept_file(self.folder, seed) for seed in self._old.seeds]


def kept_file(folder: Path, seed: int) -> Path:
    """Return the path of what a run keeps of a learner for a warm start, besides the checkpoint."""
    return folder / f"warm-start-{seed}.safetensors"


def keep_for_warm_start(folder: Path, seed: int, module_one: Arrays) -> None:
    """Write what a warm start needs of Module I and is not in the checkpoint.

    Args:
        folder: of the run.
        seed: of the learner.
        module_one: the encoder's arrays, and those of the clusters, with `CLUSTER_PREFIX` before their names.

    Raises:
        OSError: the disk is full.
    """
    kept = {name: one for name, one in module_one.items() if name != EMBEDDINGS}
    if kept:
        write_arrays(kept_file(folder, seed), kept)


def find_by_text(old: Sequence[str], new: Iterable[str]) -> NDArray[np.int64]:
    """Return the position in `old` of each text of `new`; -1 where it is not there."""
    positions = {text: position for position, text in enumerate(old)}
    return np.array([positions.get(text, -1) for text in new], np.int64)


def _settings_of(folder: Path) -> TrainerConfig:
    """Return the settings of a finished run, with the word vectors that it chose.

    Raises:
        RunError: its summary cannot be read.
        ConfigError: its settings cannot be read.
    """
    settings = load_config(folder / CONFIG_FILE, [])
    try:
        chosen = read_training(folder).get(WORD_VECTORS, "")
    except CheckpointError as error:
        raise RunError(f"--warm-start: {error}") from error
    return settings.with_word_vectors(str(chosen))


def _learner_start(
    checkpoint: Checkpoint, position: int, old: TrainerConfig, new: TrainerConfig, kept: Arrays
) -> LearnerStart:
    """Take one learner out of the joined model, whose logit is the mean of the learners' logits.

    Of the embeddings, the part that Module I learnt is taken, without the word vectors beside it.
    """
    model, count = checkpoint.model, len(old.seeds)
    dim = checkpoint.model.dim // count
    columns = slice(position * dim, (position + 1) * dim)
    learnt_VD = model.embeddings[:, columns][:, : old.model.dim] * _shortened_by(old)
    dense = {
        "residuals": model.residuals[position : position + 1],
        "classifier": model.classifier[:, columns] * np.float32(count),
        "bias": model.bias,
    }
    if old.word_vectors != new.word_vectors:
        dense = _with_other_words(dense, old, new)
    further = {name: one for name, one in kept.items() if not name.startswith(CLUSTER_PREFIX)}
    clusters = {name.removeprefix(CLUSTER_PREFIX): one for name, one in kept.items() if name not in further}
    return LearnerStart({EMBEDDINGS: learnt_VD, **further}, dense, clusters)


def _shortened_by(settings: TrainerConfig) -> np.float32:
    """Return the factor by which word vectors beside it shorten the learnt part of v."""
    return np.float32(np.hypot(1, settings.word_vectors.weight) if settings.word_vectors.encoder else 1)


def _with_other_words(dense: Arrays, old: TrainerConfig, new: TrainerConfig) -> Arrays:
    """Keep what a learner knows of the learnt part of v; what it knows of word vectors holds for the old ones only.

    The new dimensions of word vectors begin as all do: R is 1 on the diagonal, and the classifiers are 0.
    """
    learnt = old.model.dim
    dim = new.dim
    classifier_LD = np.zeros((len(dense["classifier"]), dim), np.float32)
    classifier_LD[:, :learnt] = dense["classifier"][:, :learnt] * (_shortened_by(new) / _shortened_by(old))
    residual_DD = np.eye(dim, dtype=np.float32)
    residual_DD[:learnt, :learnt] = dense["residuals"][0, :learnt, :learnt]
    return {"residuals": residual_DD[None], "classifier": classifier_LD, "bias": dense["bias"]}


def _earlier_texts(checkpoint: Checkpoint, new: Featurizer) -> EarlierTexts | None:
    """Return the texts of the old run as the new run's featurizer reads them."""
    if checkpoint.point_texts is None:
        return None
    bags = join_bags([new.transform(chunk) for chunk in text_chunks(checkpoint.point_texts)])
    return EarlierTexts.of(bags, checkpoint.held_out.points)


def _rows_of_tokens(checkpoint: Checkpoint, new: Featurizer, reads: str) -> NDArray[np.int64]:
    """Return the old row of each row of the table of embeddings."""
    old = checkpoint.featurizer
    if isinstance(old, TextFeaturizer) != isinstance(new, TextFeaturizer):
        forms = ["texts" if isinstance(one, TextFeaturizer) else "features" for one in (old, new)]
        raise ConfigError(f"--warm-start: the old run reads {forms[0]}, and this data has {forms[1]}")
    if isinstance(old, TextFeaturizer) and isinstance(new, TextFeaturizer) and reads in ("bag", "words"):
        if reads == "bag":
            return find_by_text(old.vocabulary, new.vocabulary)
        words = [[one.vocabulary[token] for token in word_ids(one).tolist()] for one in (old, new)]
        return find_by_text(*words)
    if not isinstance(old, TextFeaturizer) and old.num_features != new.num_features:
        raise ConfigError(
            f"--warm-start: the old run has {old.num_features:,} features, and this data has {new.num_features:,}"
        )
    return np.arange(len(checkpoint.model.embeddings))  # of ids, or of the pieces of the same tokenizer


def _require_finished(folder: Path) -> None:
    if (folder / CHECKPOINT_FOLDER / SUMMARY_FILE).is_file():
        return
    if (folder / CONFIG_FILE).is_file():
        raise RunError(
            f"--warm-start {folder}: that run has not finished; finish it with astec-train --resume {folder}, or name "
            "another"
        )
    raise RunError(f"--warm-start {folder}: there is no run in that folder; name the folder of a finished run")


def _require_same(folder: Path, old: TrainerConfig, new: TrainerConfig) -> None:
    """Check that parameters of one run have the same meaning in the other.

    Raises:
        ConfigError: names the first setting that differs, and both values.
    """
    pairs = {f"encoder.{key}": (value, getattr(new.encoder, key, None)) for key, value in old.encoder}
    pairs = {"encoder.kind": pairs.pop("encoder.kind"), **pairs, "model.dim": (old.model.dim, new.model.dim)}
    pairs |= {
        f"featurizer.{rule}": (getattr(old.featurizer, rule), getattr(new.featurizer, rule)) for rule in _TOKEN_RULES
    }
    pairs["number of seeds"] = (len(old.seeds), len(new.seeds))
    for key, (before, now) in pairs.items():
        if before != now:
            raise ConfigError(
                f"--warm-start {folder}: its {key} is {_shown(before)}, and that of this run is {_shown(now)}; they "
                "must be the same for what was learnt to be taken over"
            )
    for when, framework in (("its", old.framework), ("this run's", new.framework)):
        if framework not in CONTINUED_FRAMEWORKS:
            raise ConfigError(
                f"--warm-start {folder}: {when} framework is {framework}, and only those of "
                f"{' and '.join(CONTINUED_FRAMEWORKS)} can be continued"
            )


def _shown(value: object) -> object:
    return "empty" if value == "" else value
