"""The search of `astec-train tune`: settings drawn by optuna, trained as ordinary runs, judged on held-out texts.

The next settings depend on the seed and the finished trials alone, so that an interrupted search continues as if it had
not been interrupted.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Literal

import optuna
import torch
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.samplers import TPESampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy import URL

from astec.export.artifact.storage.atomic_files import write_file_atomically
from astec.export.model.checkpoint_folder import CHECKPOINT_FOLDER
from astec.trainer.data.training_data import TrainingData
from astec.trainer.pipeline.stages import train
from astec.trainer.run.folder import Run
from astec.trainer.settings.config import ExtremeSection, SurrogateSection, TrainerConfig
from astec.trainer.settings.config_file import dump_config
from astec.trainer.training.loop import DivergedError, Schedule

Metric = Literal["P", "PSP"]
Value = int | float
Distribution = IntDistribution | FloatDistribution

STORAGE_FILE = "trials.sqlite3"
_STUDY = "tune"
_SUBJECT, _METRICS = "subject", "metrics"
_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
_RANDOM_TRIALS = 6
_TRIALS_FOR_IMPORTANCE = 12
_GOOD_SHARE = 0.25


class SearchError(Exception):
    """A folder that cannot hold a search, or a search without a result; the message says why, and what to do."""


def search_space(config: TrainerConfig, num_texts: int, held: Collection[str]) -> dict[str, Distribution]:
    """Return the settings that matter most, and the range in which each is searched.

    Args:
        config: settings that the search starts from.
        num_texts: number of texts that are learnt from.
        held: keys of settings that are not searched.
    """
    space: dict[str, Distribution] = {
        "model.dim": IntDistribution(200, 600, step=100),
        "model.dropout": FloatDistribution(0.2, 0.7),
        "surrogate.learning_rate": FloatDistribution(0.001, 0.02, log=True),
        "surrogate.epochs": _epochs(config.surrogate, num_texts),
        "extreme.learning_rate": FloatDistribution(0.0005, 0.02, log=True),
        "extreme.epochs": _epochs(config.extreme, num_texts),
    }
    return {key: distribution for key, distribution in space.items() if key not in held}


def apply_values(config: TrainerConfig, values: dict[str, Value]) -> TrainerConfig:
    """Return `config` with some settings changed to `values`.

    If the epochs of a section are changed, its `min_steps` becomes 0, which would otherwise raise them.
    """
    settings = config.model_dump()
    for key, value in values.items():
        section, name = key.split(".")
        settings[section][name] = value
        if name == "epochs":
            settings[section]["min_steps"] = 0
    return TrainerConfig.model_validate(settings)


@dataclass(frozen=True, slots=True)
class TrialResult:
    """A finished trial.

    Attributes:
        values: the values of the searched settings, by key.
        score: the figure that is maximised, in percent; None if the trial diverged.
        metrics: the checkpoint's metrics on held-out texts; empty if the trial diverged.
    """

    number: int
    values: dict[str, Value]
    score: float | None
    metrics: dict[str, float]


class Search:
    """A search for settings, in a folder that keeps every finished trial.

    Args:
        folder: holds `best.toml` and a run for each trial; a search that was begun there with the same data and
            settings is continued.
        data: the training data, read once for all trials.
        config: settings that the search starts from; the first trial uses their own values.
        held: keys of settings that are not searched.
        metric: P or PSP; its mean over ranks 1, 3 and 5 is maximised.
        device: the device to train on.
        storage: the stored trials, from `open_storage`.

    Attributes:
        best_file: the best settings so far, in a file for `--config`.
        space: the range in which each setting is searched, by key.
        judged: the metrics whose mean is maximised.

    Raises:
        SearchError: the folder holds a search over other data or settings, or nothing is left to choose.
    """

    def __init__(
        self,
        folder: Path,
        data: TrainingData,
        config: TrainerConfig,
        held: Collection[str],
        metric: Metric,
        device: torch.device,
        storage: RDBStorage,
    ) -> None:
        self.best_file = folder / "best.toml"
        self._folder = folder
        self._data, self._config, self._device = data, config, device
        self.judged = [f"{metric}@{k}" for k in (1, 3, 5)]
        self._num_texts = len(data.examples) - config.validation.size(data.num_texts, data.num_valid_texts)
        self.space = search_space(config, self._num_texts, held)
        if not self.space:
            raise SearchError("every knob is held by --set; leave one to choose")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = optuna.create_study(storage=storage, study_name=_STUDY, direction="maximize", load_if_exists=True)
        self._claim()
        self._drop_unfinished()

    def run(self, num_trials: int, minutes: float | None, report: Callable[[TrialResult], None]) -> None:
        """Train until there are `num_trials` finished trials in all, or `minutes` have passed.

        A trial that has begun is always finished. An interrupted trial is dropped, and the next call repeats it.

        Raises:
            OSError: a run cannot be written.
        """
        self._keep_best()  # an earlier search may have been killed before it did this
        end = None if minutes is None else time.monotonic() + 60 * minutes
        while (done := len(self.results())) < num_trials and (end is None or time.monotonic() < end):
            self._study.sampler = TPESampler(n_startup_trials=_RANDOM_TRIALS, seed=self._config.seed + done)
            if done == 0 and not self._study.get_trials(states=(TrialState.WAITING,)):
                self._study.enqueue_trial(self._start())
            trial = self._study.ask(dict(self.space))
            try:
                self._train(trial)
            finally:
                self._drop_unfinished()
            self._keep_best()
            report(self.results()[-1])

    def results(self) -> list[TrialResult]:
        """Return all finished trials, in the order of their numbers."""
        return [_result(trial) for trial in self._study.get_trials(states=_FINISHED)]

    def best(self) -> TrialResult:
        """Return the trial with the highest score.

        Raises:
            SearchError: no trial has a score.
        """
        if not self._study.get_trials(states=(TrialState.COMPLETE,)):
            raise SearchError("no trial has a score yet; give more --trials or --minutes, or lower the learning rates")
        return _result(self._study.best_trial)

    def best_score(self) -> float | None:
        """Return the score of the best trial, in percent; None if no trial has a score."""
        return max((result.score for result in self.results() if result.score is not None), default=None)

    def importance(self) -> dict[str, float]:
        """Compute each setting's share in the difference between the best quarter of the trials and the others.

        Empty if fewer than 12 trials have a score.
        """
        if len(self._study.get_trials(states=(TrialState.COMPLETE,))) < _TRIALS_FOR_IMPORTANCE:
            return {}
        return get_param_importances(self._study, evaluator=PedAnovaImportanceEvaluator(target_quantile=_GOOD_SHARE))

    def trial_folder(self, number: int) -> Path:
        """Return the run folder of a trial."""
        return self._folder / f"trial-{number:04d}"

    def _train(self, trial: Trial) -> None:
        config = apply_values(self._config, trial.params)
        run = Run(self.trial_folder(trial.number))
        run.begin(config)
        try:
            metrics = train(self._data, config, self._device, run).metrics
        except DivergedError:
            self._study.tell(trial, state=TrialState.PRUNED)
            return
        trial.set_user_attr(_METRICS, metrics)
        self._study.tell(trial, fmean(metrics[name] for name in self.judged))

    def _keep_best(self) -> None:
        """Write the best settings, and delete the checkpoints of all other trials, which are large."""
        if self.best_score() is None:
            return
        best = self.best()
        write_file_atomically(self.best_file, dump_config(apply_values(self._config, best.values)))
        for result in self.results():
            if result.number != best.number:
                shutil.rmtree(self.trial_folder(result.number) / CHECKPOINT_FOLDER, ignore_errors=True)

    def _start(self) -> dict[str, Value]:
        """Return the values of the initial settings, each moved to the nearest value of its range."""
        epochs = {
            "surrogate.epochs": Schedule.of(self._config.surrogate, self._num_texts).epochs,
            "extreme.epochs": Schedule.of(self._config.extreme, self._num_texts).epochs,
        }
        settings = self._config.model_dump()
        start: dict[str, Value] = {}
        for key, distribution in self.space.items():
            section, name = key.split(".")
            start[key] = _nearest(distribution, epochs.get(key, settings[section][name]))
        return start

    def _claim(self) -> None:
        """Record what the search is about; refuse a folder whose trials cannot be compared with this search's.

        Raises:
            SearchError: the folder holds a search over other data, settings or metrics.
        """
        subject = {
            "texts": self._data.num_texts,
            "texts of a validation file": self._data.num_valid_texts,
            "labels": self._data.label_texts.sha256(),
            "vocabulary": self._data.featurizer.vocabulary_sha256(),
            "settings": self._config.model_dump(),
            "knobs": sorted(self.space),
            "judged": self.judged,
        }
        # Converted to JSON and back, as the storage does, since tuples become lists.
        subject = json.loads(json.dumps(subject))
        earlier = self._study.user_attrs.get(_SUBJECT, subject)
        if earlier != subject:
            other = ", ".join(key for key in subject if earlier.get(key) != subject[key])
            raise SearchError(
                f"{self._folder} holds a search that differs in its {other}; choose another folder, or repeat what it "
                "was begun with to go on with it"
            )
        self._study.set_user_attr(_SUBJECT, subject)

    def _drop_unfinished(self) -> None:
        """Delete trials that were interrupted, so that the search continues as if they had not begun."""
        for trial in self._study.get_trials(states=(TrialState.RUNNING,)):
            self._study.tell(trial.number, state=TrialState.FAIL)
            shutil.rmtree(self.trial_folder(trial.number), ignore_errors=True)


def check_folder(folder: Path) -> None:
    """Refuse a folder that holds something other than a search.

    Raises:
        SearchError: the folder is not empty and holds no search.
    """
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / STORAGE_FILE).exists())):
        raise SearchError(f"{folder} exists and holds no search; choose another folder")


@contextmanager
def open_storage(folder: Path) -> Iterator[RDBStorage]:
    """Open the stored trials of a search, `folder/trials.sqlite3`; the folder is created if it does not exist.

    Raises:
        OSError: the folder cannot be created.
    """
    path = folder / STORAGE_FILE
    folder.mkdir(parents=True, exist_ok=True)
    storage = RDBStorage(URL.create("sqlite", database=str(path)).render_as_string())
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _epochs(settings: SurrogateSection | ExtremeSection, num_texts: int) -> IntDistribution:
    """Return the range from half to twice the epochs that the settings mean for this number of texts."""
    epochs = Schedule.of(settings, num_texts).epochs
    return IntDistribution(max(1, epochs // 2), 2 * epochs, log=True)


def _nearest(distribution: Distribution, value: Value) -> Value:
    inside = min(max(value, distribution.low), distribution.high)
    if isinstance(distribution, FloatDistribution):
        return inside
    return distribution.low + distribution.step * round((inside - distribution.low) / distribution.step)


def _result(trial: FrozenTrial) -> TrialResult:
    return TrialResult(trial.number, trial.params, trial.value, trial.user_attrs.get(_METRICS, {}))
