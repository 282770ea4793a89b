"""Launching a training run: a new one is begun, an interrupted one is resumed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from astec.export.console import console
from astec.export.readers import AS_FOUND, ReadOptions, open_dataset
from astec.export.readers.places.remote_path import data_path
from astec.export.readers.streams.stored_file import STDIN, is_piped, named_input
from astec.trainer.data.loading import load_training_data
from astec.trainer.data.training_data import TrainingData
from astec.trainer.data.validation_file import open_validation_file
from astec.trainer.failure import fail
from astec.trainer.numerics.device import DeviceError
from astec.trainer.parallel.distributed import PeerError, join_world
from astec.trainer.parallel.world import World
from astec.trainer.pipeline.stages import train, train_along
from astec.trainer.planning.need import Need, NeedError
from astec.trainer.planning.sizes import DataSizes
from astec.trainer.report.evaluation import EvaluationError
from astec.trainer.report.report_page import write_report
from astec.trainer.report.tensorboard import TENSORBOARD_FOLDER, TensorBoard, TensorBoardError, require_tensorboard
from astec.trainer.run.folder import (
    CONFIG_FILE,
    DEFAULT_SAVE_MINUTES,
    HISTORY_FILE,
    ORIGIN_FILE,
    Run,
    RunError,
    read_origin,
)
from astec.trainer.run.history import History, HistoryError
from astec.trainer.run.interruption import exit_when_interrupted
from astec.trainer.run.lock import locked
from astec.trainer.run.origin import Fingerprint, Origin, settings_sha256
from astec.trainer.run.warm_start import OldRun, WarmStart
from astec.trainer.settings.config import TrainerConfig
from astec.trainer.settings.config_file import load_config
from astec.trainer.training.loop import DivergedError


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Options that a resumed run may change.

    Attributes:
        device: auto, cpu, cuda or one GPU such as cuda:1; None: as before, or auto.
        save_minutes: minutes between saves of a module under way; None: as before, or the default.
        tensorboard: write TensorBoard's curves too; a run that was begun with them keeps them.
        ignore_memory: train even if the machine seems to have too little memory or disk.
    """

    device: str | None
    save_minutes: float | None
    tensorboard: bool
    ignore_memory: bool = False


def begin_run(
    data: Path,
    run_folder: Path,
    settings: TrainerConfig,
    options: RunOptions,
    *,
    skip_bad_lines: bool,
    reading: ReadOptions = AS_FOUND,
    warm_start: Path | None = None,
) -> None:
    """Train on the training file `data`, from the start, or from the finished run `warm_start`.

    `reading` says what the user said about the files.

    Raises:
        ConfigError: settings that do not suit the data.
        DataError: data that cannot be trained on.
        typer.Exit: any other failure that the user can remedy, after its message.
    """
    device = options.device or "auto"
    save_minutes = DEFAULT_SAVE_MINUTES if options.save_minutes is None else options.save_minutes
    with _exit_on_failure(run_folder), _join_world(device, tensorboard=options.tensorboard) as (world, chosen):
        run = Run(run_folder, save_minutes, world)
        run.require_free()
        if run_folder.exists():  # Refuse before the data is read; a folder is only made once it has been.
            with _locked(run):
                pass
        if is_piped(named_input(data)) and world.size > 1:
            raise RunError(f"{data} is a pipe, which {world.size} processes cannot each read; write a file first")
        old = None if warm_start is None else OldRun(warm_start, settings)
        loaded = _load(data, settings, reading, skip_bad_lines=skip_bad_lines)
        warm = None if old is None else old.hand_over(loaded)
        _require_room(loaded, settings, chosen, run, options, resumed=False)
        origin = Origin(
            # A resumed run reads stdin again, whichever pipe the data came through.
            data=str(STDIN if is_piped(named_input(data)) else named_input(data).absolute()),
            skip_bad_lines=skip_bad_lines,
            reading=reading,
            device=device,
            save_minutes=save_minutes,
            tensorboard=options.tensorboard,
            settings=settings_sha256(settings),
            fingerprint=Fingerprint.of(loaded),
            warm_start=None if old is None else old.folder.absolute(),
            warm_start_version=None if old is None else old.version,
        )
        with _locked(run):
            run.begin(settings, origin)
            _train(loaded, settings, chosen, run, warm, tensorboard=options.tensorboard)


def resume_run(run_folder: Path, options: RunOptions) -> None:
    """Continue an interrupted run with its own data and settings; a finished run only gets its clean-up.

    Raises:
        ConfigError: the settings in the folder cannot be read.
        DataError: the data cannot be read any more.
        typer.Exit: any other failure that the user can remedy, after its message.
    """
    with _exit_on_failure(run_folder):
        origin = read_origin(run_folder)
        save_minutes = origin.save_minutes if options.save_minutes is None else options.save_minutes
        tensorboard = options.tensorboard or origin.tensorboard
        joined = _join_world(options.device or origin.device, tensorboard=tensorboard)
        with joined as (world, chosen), ExitStack() as closing:
            run = Run(run_folder, save_minutes, world)
            closing.enter_context(_locked(run))
            if run.finished:
                _clean_up(run)
                return
            settings = load_config(run_folder / CONFIG_FILE, [])
            if not origin.has_settings(settings):
                raise RunError(
                    f"{run_folder / CONFIG_FILE} was changed since the run began; put it back, or begin anew with "
                    "astec-train DATA RUN"
                )
            loaded = _load(data_path(origin.data), settings, origin.reading, skip_bad_lines=origin.skip_bad_lines)
            if difference := origin.fingerprint.difference(Fingerprint.of(loaded)):
                raise RunError(
                    f"{origin.data} was changed since the run {run_folder} began: {difference}; put it back, or begin "
                    "anew with astec-train DATA RUN"
                )
            warm = _reopen_warm_start(origin, settings, loaded)
            _require_room(loaded, settings, chosen, run, options, resumed=True)
            run.resume()
            _train(loaded, settings, chosen, run, warm, tensorboard=tensorboard)


def _reopen_warm_start(origin: Origin, settings: TrainerConfig, data: TrainingData) -> WarmStart | None:
    """Return what the run that an interrupted one started from hands over; None if there was none.

    Raises:
        RunError: that run is not there any more, or is another one.
    """
    if origin.warm_start is None:
        return None
    old = OldRun(origin.warm_start, settings)
    if old.version != origin.warm_start_version:
        raise RunError(
            f"{origin.warm_start}, from which this run started, was changed since; put it back, or begin anew with "
            "astec-train DATA RUN --warm-start OLD_RUN"
        )
    return old.hand_over(data)


def _locked(run: Run) -> AbstractContextManager[None]:
    """Lock the folder of a run, in the process that writes it."""
    return locked(run.folder) if run.world.leads else nullcontext()


def _clean_up(run: Run) -> None:
    """Do what a run that was killed after writing its checkpoint had still to do, and tell that it has finished.

    It succeeds however often it is repeated: a script may restart the run until it exits with 0.
    """
    if not run.world.leads:
        return
    if not run.cleaned_up:
        write_report(run.folder)
        run.finish()
    done = f"{run.folder} has finished already; export it: astec-export {run.folder} ARTIFACT"
    console.print(done, markup=False, soft_wrap=True)


@contextmanager
def _exit_on_failure(run_folder: Path) -> Iterator[None]:
    """End the command with a message on a failure that the user can remedy."""
    try:
        yield
    except (
        DeviceError,
        RunError,
        NeedError,
        PeerError,
        DivergedError,
        EvaluationError,
        HistoryError,
        TensorBoardError,
    ) as error:
        fail(str(error))
    except OSError as error:
        kept = f". The last good state is kept: make room, then go on with astec-train --resume {run_folder}"
        fail(f"{run_folder}: {error}{kept if (run_folder / ORIGIN_FILE).is_file() else ''}")


@contextmanager
def _join_world(device: str, *, tensorboard: bool) -> Iterator[tuple[World, torch.device]]:
    if tensorboard:
        require_tensorboard()
    with join_world(device) as joined:
        yield joined


def _load(data: Path, settings: TrainerConfig, reading: ReadOptions, *, skip_bad_lines: bool) -> TrainingData:
    dataset, valid = open_dataset(data, "train", reading), open_validation_file(data, settings.validation, reading)
    loaded = load_training_data(dataset, settings, skip_bad_lines=skip_bad_lines, valid=valid)
    bad_lines = dataset.bad_lines + (0 if valid is None else valid.bad_lines)
    if bad_lines or loaded.dropped_rows:
        console.print(f"left out: {bad_lines:,} bad lines, {loaded.dropped_rows:,} rows without a label")
    return loaded


def _require_room(
    data: TrainingData, settings: TrainerConfig, device: torch.device, run: Run, options: RunOptions, *, resumed: bool
) -> None:
    """Print what the training needs and what there is, before anything is written.

    Raises:
        NeedError: it does not fit into the machine.
    """
    settings = settings.with_word_vectors(data.word_vectors)
    need = Need.of(DataSizes.of(data), settings, device, run.folder, run.world, resumed=resumed)
    console.print(need.announcement(), markup=False, soft_wrap=True)
    if not options.ignore_memory:
        need.require()


def _train(
    data: TrainingData,
    settings: TrainerConfig,
    device: torch.device,
    run: Run,
    warm: WarmStart | None,
    *,
    tensorboard: bool,
) -> None:
    with ExitStack() as closing:
        if not run.world.leads:
            closing.enter_context(exit_when_interrupted())
            train_along(data, settings, device, run, warm)
            return
        closing.enter_context(exit_when_interrupted(f"interrupted; go on with astec-train --resume {run.folder}"))
        if tensorboard:
            observer = TensorBoard(run.folder / TENSORBOARD_FOLDER, History.read(run.folder / HISTORY_FILE))
            run.observers.append(closing.enter_context(observer))
        train(data, settings, device, run, warm)
