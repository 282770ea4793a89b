"""The search of `astec-train tune`: settings drawn by optuna, trained as ordinary runs, judged on held-out texts.

What is drawn next follows from the seed and the finished trials alone, so that a search that was interrupted goes on as
if it had not been.
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
from astec.export.model.checkpoint import CHECKPOINT_FOLDER
from astec.trainer.data.training_data import TrainingData
from astec.trainer.pipeline.stages import train
from astec.trainer.run.folder import Run
from astec.trainer.settings.config import ExtremeSection, SurrogateSection, TrainerConfig, dump_config
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
    """A folder that cannot be searched in, or a search without a result; the message says why and what to do."""


def search_space(config: TrainerConfig, num_texts: int, held: Collection[str]) -> dict[str, Distribution]:
    """The knobs that matter, and where each is looked for.

    Args:
        config: settings that the search starts from.
        num_texts: that are learnt from.
        held: keys of settings that stay as they are.
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
    """`config` with other values of some knobs.

    Epochs that are chosen hold: `min_steps` of that section becomes 0.
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
        values: of the knobs.
        score: what is maximised, in percent; None of a trial that diverged.
        metrics: of the checkpoint, on held-out texts; empty of a trial that diverged.
    """

    number: int
    values: dict[str, Value]
    score: float | None
    metrics: dict[str, float]


class Search:
    """A search for settings, in a folder that keeps every finished trial.

    Args:
        folder: holds the trials, a run each, and `best.toml`; an earlier search over the same is gone on with.
        data: read once for all trials.
        config: settings that the search starts from; their own values are the first trial.
        held: keys of settings that stay as they are.
        metric: P or PSP; the mean over ranks 1, 3 and 5 is maximised.
        device: to train on.
        storage: see `open_storage`.

    Attributes:
        best_file: the best settings so far, as `--config` reads them.
        space: where each knob is looked for.
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
        self._num_texts = len(data.examples) - config.validation.size(data.num_texts)
        self.space = search_space(config, self._num_texts, held)
        if not self.space:
            raise SearchError("every knob is held by --set; leave one to choose")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = optuna.create_study(storage=storage, study_name=_STUDY, direction="maximize", load_if_exists=True)
        self._claim()
        self._drop_unfinished()

    def run(self, num_trials: int, minutes: float | None, report: Callable[[TrialResult], None]) -> None:
        """Train until there are `num_trials` finished trials in all, or `minutes` have passed.

        A trial that has begun is finished. An interrupted one is dropped, and the next call begins it anew.

        Raises:
            OSError: a run cannot be written.
        """
        self._keep_best()  # a kill may have come just before
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
        """All finished trials, in the order of their numbers."""
        return [_result(trial) for trial in self._study.get_trials(states=_FINISHED)]

    def best(self) -> TrialResult:
        """The trial with the highest score.

        Raises:
            SearchError: no trial has one.
        """
        if not self._study.get_trials(states=(TrialState.COMPLETE,)):
            raise SearchError("no trial has a score yet; give more --trials or --minutes, or lower the learning rates")
        return _result(self._study.best_trial)

    def best_score(self) -> float | None:
        """Of the best trial, in percent; None where no trial has one."""
        return max((result.score for result in self.results() if result.score is not None), default=None)

    def importance(self) -> dict[str, float]:
        """Share of each knob in what tells the best quarter of trials from the rest; empty where there are too few."""
        if len(self._study.get_trials(states=(TrialState.COMPLETE,))) < _TRIALS_FOR_IMPORTANCE:
            return {}
        return get_param_importances(self._study, evaluator=PedAnovaImportanceEvaluator(target_quantile=_GOOD_SHARE))

    def trial_folder(self, number: int) -> Path:
        """The run of a trial."""
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
        """Write the best settings, and drop the checkpoints of all other trials: they are large."""
        if self.best_score() is None:
            return
        best = self.best()
        write_file_atomically(self.best_file, dump_config(apply_values(self._config, best.values)))
        for result in self.results():
            if result.number != best.number:
                shutil.rmtree(self.trial_folder(result.number) / CHECKPOINT_FOLDER, ignore_errors=True)

    def _start(self) -> dict[str, Value]:
        """The settings' own values, or the nearest that the space has."""
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
        """Refuse trials that another subject's could not be compared with."""
        subject = {
            "texts": self._data.num_texts,
            "labels": self._data.label_texts.sha256(),
            "vocabulary": self._data.featurizer.vocabulary_sha256(),
            "settings": self._config.model_dump(),
            "knobs": sorted(self.space),
            "judged": self.judged,
        }
        # By way of JSON, as the storage keeps it: tuples are lists there.
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
        """Forget trials that were interrupted, so that the search goes on as if they had not begun."""
        for trial in self._study.get_trials(states=(TrialState.RUNNING,)):
            self._study.tell(trial.number, state=TrialState.FAIL)
            shutil.rmtree(self.trial_folder(trial.number), ignore_errors=True)


def check_folder(folder: Path) -> None:
    """Refuse to search in a folder of something else.

    Raises:
        SearchError: the folder is not empty and holds no search.
    """
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / STORAGE_FILE).exists())):
        raise SearchError(f"{folder} exists and holds no search; choose another folder")


@contextmanager
def open_storage(folder: Path) -> Iterator[RDBStorage]:
    """The trials of a search, in `folder/trials.sqlite3`; the folder is made where there is none.

    Raises:
        OSError: it cannot be made.
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
    """From half to twice the epochs that the settings come to on so many texts."""
    epochs = Schedule.of(settings, num_texts).epochs
    return IntDistribution(max(1, epochs // 2), 2 * epochs, log=True)


def _nearest(distribution: Distribution, value: Value) -> Value:
    inside = min(max(value, distribution.low), distribution.high)
    if isinstance(distribution, FloatDistribution):
        return inside
    return distribution.low + distribution.step * round((inside - distribution.low) / distribution.step)


def _result(trial: FrozenTrial) -> TrialResult:
    return TrialResult(trial.number, trial.params, trial.value, trial.user_attrs.get(_METRICS, {}))
