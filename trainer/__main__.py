"""astec-train: from a file of texts and labels to a run folder."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.table import Table

from astec.export.console import console
from astec.export.readers import DataError, open_dataset
from astec.trainer.bench.synthetic import SHAPES, ScaleError
from astec.trainer.demo.log import DemoLogConfig, write_demo_log
from astec.trainer.run.folder import DEFAULT_SAVE_MINUTES
from astec.trainer.run.interruption import exit_when_interrupted
from astec.trainer.settings.config import ConfigError, TrainerConfig, all_settings, load_config, seed_settings
from astec.trainer.tuning.command import tune

if TYPE_CHECKING:
    import torch

    from astec.trainer.data.training_data import TrainingData
    from astec.trainer.parallel.world import World
    from astec.trainer.run.folder import Run

EXIT_BAD_INPUT = 2


app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="markdown")


@app.callback()
def about() -> None:
    """Train Astec on texts and labels.

    **astec-train DATA RUN** trains on DATA and leaves the model in the folder RUN; it is short for
    `astec-train train DATA RUN` (see `astec-train train --help`).
    """


@app.command()
def train(
    data: Annotated[
        Path | None,
        typer.Argument(
            help="A file, or a folder with train.* in it: JSON Lines, TSV, fastText or the XC repository's sparse "
            "format, plain or .gz, found by content; or .npy vectors with their labels beside them.",
            show_default=False,
        ),
    ] = None,
    run_folder: Annotated[
        Path | None,
        typer.Argument(metavar="RUN", help="Folder for the configuration, history and checkpoint.", show_default=False),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="TOML file of settings; what it leaves out keeps its default.", show_default=False),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="One setting, for example model.dim=512; see `astec-train settings`.",
            show_default=False,
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            help="auto (a GPU where there is one), cpu, cuda or cuda:1. Default: auto, or the resumed run's.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Same seed, same model (on a CPU). Default: 0, or the configuration's.", show_default=False),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            metavar="N,N,...",
            help="A learner for each, such as 1,2,3, served as one model; more accurate, and as many times the time, "
            "size and latency.",
            show_default=False,
        ),
    ] = None,
    skip_bad_lines: Annotated[
        bool, typer.Option("--skip-bad-lines", help="Count malformed lines and go on, instead of refusing the file.")
    ] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write RUN/tensorboard too, for `tensorboard --logdir RUN`.")
    ] = False,
    save_minutes: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Minutes between saves of the module under way, at the end of an epoch; 0 saves after each. Fewer: "
            "less to do again after a kill, more writing; a save takes the disk about three times the module's size. "
            f"Default: {DEFAULT_SAVE_MINUTES:g}, or the resumed run's.",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Go on with a run that was interrupted, with its own data and settings; the model is the one that it "
            "would have become (on a CPU, with as many threads).",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Train on DATA and leave the model in RUN.

    Exit code: 0 trained, or resumed a run that had finished; 2 refused, diverged or out of disk; 130 and 143
    interrupted by Ctrl-C and by SIGTERM.
    """
    fixed = {
        "DATA": data is not None,
        "--config": config is not None,
        "--set": bool(overrides),
        "--seed": seed is not None,
        "--seeds": seeds is not None,
        "--skip-bad-lines": skip_bad_lines,
    }
    options = _Options(device, save_minutes, tensorboard)
    try:
        if resume is not None:
            if given := [name for name, is_given in fixed.items() if is_given]:
                _fail(f"a resumed run keeps its data and settings: leave out {', '.join(given)}, or begin another run")
            _resume(resume, options)
            return
        if data is None or run_folder is None:
            _fail("what is to be trained on, and where? Give DATA and RUN, or --resume RUN")
        settings = load_config(config, [*(overrides or []), *seed_settings(seed, seeds)])
        _begin(data, run_folder, settings, options, skip_bad_lines=skip_bad_lines)
    except (ConfigError, DataError) as error:
        _fail(str(error))


@app.command()
def report(
    run_folder: Annotated[
        Path, typer.Argument(metavar="RUN", help="The folder of a finished run.", show_default=False)
    ],
) -> None:
    """Write RUN/report.html again, from what the run has left beside it."""
    from astec.trainer.report.evaluation import EvaluationError
    from astec.trainer.report.page import write_report
    from astec.trainer.run.history import HistoryError

    try:
        path = write_report(run_folder)
    except (ConfigError, EvaluationError, HistoryError, OSError) as error:
        _fail(str(error))
    console.print(f"wrote {path}", markup=False, soft_wrap=True)


app.command()(tune)


@app.command()
def settings() -> None:
    """List every setting with its default and what it trades off."""
    table = Table("setting", "default", "meaning", box=None)
    for key, default, meaning in all_settings():
        table.add_row(key, str(default), meaning)
    console.print(table)


@app.command()
def bench(
    shape: Annotated[str, typer.Option(help=f"The data set whose sizes are taken: {', '.join(SHAPES)}.")],
    scale: Annotated[
        float, typer.Option(min=0, max=10, help="Share of its texts, features and labels; means stay.")
    ] = 1.0,
    config: Annotated[Path | None, typer.Option(help="TOML file of settings.", show_default=False)] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One setting.", show_default=False)
    ] = None,
    paper: Annotated[bool, typer.Option("--paper", help="Start from the paper's epochs, sizes and rates.")] = False,
    device: Annotated[str, typer.Option(help="auto (a GPU where there is one), cpu, cuda or cuda:1.")] = "auto",
    seed: Annotated[int | None, typer.Option(help="Of data and training.", show_default=False)] = None,
    run_folder: Annotated[
        Path | None, typer.Option("--run", help="Keep the run in this folder.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout instead of a table.")] = False,
) -> None:
    """Measure time, speed and peak memory of every stage of training, on made-up data of a published shape.

    The data has the sizes and frequencies of the paper's Table 3, and labels that can be learnt.
    """
    if shape not in SHAPES:
        _fail(f"--shape {shape} is not known; there are {', '.join(SHAPES)}")
    from astec.trainer.bench.cost import paper_settings, run_bench
    from astec.trainer.numerics.device import DeviceError, pick_device
    from astec.trainer.run.folder import RunError
    from astec.trainer.training.loop import DivergedError

    given = [*(overrides or []), *seed_settings(seed)]
    try:
        settings = load_config(config, [*(paper_settings(shape) if paper else []), *given])
        chosen = pick_device(device)
        with TemporaryDirectory(prefix="astec-bench-") as temporary:
            measured = run_bench(shape, scale, settings, chosen, run_folder or Path(temporary) / "run")
    except (ConfigError, DeviceError, RunError, DivergedError, ScaleError, OSError) as error:
        _fail(str(error))
    if as_json:
        typer.echo(json.dumps(measured.as_json()))
    else:
        console.print(measured.table())


@app.command()
def demo_log(
    folder: Annotated[Path, typer.Argument(help="Where train.jsonl.gz and test.jsonl.gz go.", show_default=False)],
    queries: Annotated[
        int, typer.Option(min=1000, help="Training queries; fewer train faster and match worse.")
    ] = 100_000,
    seed: Annotated[int, typer.Option(help="Same seed, same log.")] = 0,
) -> None:
    """Write the embedded demo: a made-up click log of a sponsored search engine."""
    write_demo_log(folder, DemoLogConfig(seed=seed, num_queries=queries))
    console.print(f"wrote {folder}/train.jsonl.gz and {folder}/test.jsonl.gz", markup=False, soft_wrap=True)


@dataclass(frozen=True, slots=True)
class _Options:
    """What may change when a run is resumed; None: as before, or the default."""

    device: str | None
    save_minutes: float | None
    tensorboard: bool


# torch takes seconds to load: not for --help, and not before the arguments are known to be good. So the imports of what
# needs it stand in the functions.


def _begin(data: Path, run_folder: Path, settings: TrainerConfig, options: _Options, *, skip_bad_lines: bool) -> None:
    """Train from the start."""
    from astec.trainer.run.folder import Run
    from astec.trainer.run.origin import Fingerprint, Origin, settings_sha256

    device = options.device or "auto"
    save_minutes = DEFAULT_SAVE_MINUTES if options.save_minutes is None else options.save_minutes
    with _failures(run_folder), _join_world(device, tensorboard=options.tensorboard) as (world, chosen):
        run = Run(run_folder, save_minutes, world)
        run.require_free()
        loaded = _load(data, settings, skip_bad_lines=skip_bad_lines)
        origin = Origin(
            data=data.absolute(),
            skip_bad_lines=skip_bad_lines,
            device=device,
            save_minutes=save_minutes,
            tensorboard=options.tensorboard,
            settings=settings_sha256(settings),
            fingerprint=Fingerprint.of(loaded),
        )
        run.begin(settings, origin)
        _learn(loaded, settings, chosen, run, tensorboard=options.tensorboard)


def _resume(run_folder: Path, options: _Options) -> None:
    """Go on with an interrupted run."""
    from astec.trainer.run.folder import CONFIG_FILE, Run, RunError, read_origin
    from astec.trainer.run.origin import Fingerprint

    with _failures(run_folder):
        origin = read_origin(run_folder)
        save_minutes = origin.save_minutes if options.save_minutes is None else options.save_minutes
        tensorboard = options.tensorboard or origin.tensorboard
        with _join_world(options.device or origin.device, tensorboard=tensorboard) as (world, chosen):
            run = Run(run_folder, save_minutes, world)
            if run.finished:
                _finish(run)
                return
            settings = load_config(run_folder / CONFIG_FILE, [])
            if not origin.has_settings(settings):
                raise RunError(
                    f"{run_folder / CONFIG_FILE} was changed since the run began; put it back, or begin anew with "
                    "astec-train DATA RUN"
                )
            loaded = _load(origin.data, settings, skip_bad_lines=origin.skip_bad_lines)
            if difference := origin.fingerprint.difference(Fingerprint.of(loaded)):
                raise RunError(
                    f"{origin.data} was changed since the run {run_folder} began: {difference}; put it back, or begin "
                    "anew with astec-train DATA RUN"
                )
            run.resume()
            _learn(loaded, settings, chosen, run, tensorboard=tensorboard)


def _finish(run: Run) -> None:
    """Do what a run that was killed after its checkpoint left undone; whoever restarts it until it succeeds is done."""
    from astec.trainer.report.page import write_report

    if not run.world.leads:
        return
    if not run.cleaned_up:
        write_report(run.folder)
        run.finish()
    done = f"{run.folder} has finished already; export it: astec-export {run.folder} ARTIFACT"
    console.print(done, markup=False, soft_wrap=True)


@contextmanager
def _failures(run_folder: Path) -> Iterator[None]:
    """End with a message on what is the user's to mend."""
    from astec.trainer.numerics.device import DeviceError
    from astec.trainer.parallel.distributed import PeerError
    from astec.trainer.report.evaluation import EvaluationError
    from astec.trainer.report.tensorboard import TensorBoardError
    from astec.trainer.run.folder import ORIGIN_FILE, RunError
    from astec.trainer.run.history import HistoryError
    from astec.trainer.training.loop import DivergedError

    try:
        yield
    except (DeviceError, RunError, PeerError, DivergedError, EvaluationError, HistoryError, TensorBoardError) as error:
        _fail(str(error))
    except OSError as error:
        kept = f". The last good state is kept: make room, then go on with astec-train --resume {run_folder}"
        _fail(f"{run_folder}: {error}{kept if (run_folder / ORIGIN_FILE).is_file() else ''}")


@contextmanager
def _join_world(device: str, *, tensorboard: bool) -> Iterator[tuple[World, torch.device]]:
    from astec.trainer.parallel.distributed import join_world
    from astec.trainer.report.tensorboard import require_tensorboard

    if tensorboard:
        require_tensorboard()
    with join_world(device) as joined:
        yield joined


def _load(data: Path, settings: TrainerConfig, *, skip_bad_lines: bool) -> TrainingData:
    from astec.trainer.data.loading import load_training_data

    dataset = open_dataset(data, "train")
    loaded = load_training_data(dataset, settings, skip_bad_lines=skip_bad_lines)
    if dataset.bad_lines or loaded.dropped_rows:
        console.print(f"left out: {dataset.bad_lines:,} bad lines, {loaded.dropped_rows:,} rows without a label")
    return loaded


def _learn(data: TrainingData, settings: TrainerConfig, device: torch.device, run: Run, *, tensorboard: bool) -> None:
    from astec.trainer.pipeline.stages import train as train_learner
    from astec.trainer.pipeline.stages import train_along
    from astec.trainer.report.tensorboard import TENSORBOARD_FOLDER, TensorBoard
    from astec.trainer.run.folder import HISTORY_FILE
    from astec.trainer.run.history import History

    with ExitStack() as closing:
        if not run.world.leads:
            closing.enter_context(exit_when_interrupted())
            train_along(data, settings, device, run)
            return
        closing.enter_context(exit_when_interrupted(f"interrupted; go on with astec-train --resume {run.folder}"))
        if tensorboard:
            observer = TensorBoard(run.folder / TENSORBOARD_FOLDER, History.read(run.folder / HISTORY_FILE))
            run.observers.append(closing.enter_context(observer))
        train_learner(data, settings, device, run)


def _fail(message: str) -> NoReturn:
    console.print(f"astec-train: {message}", style="red", markup=False, soft_wrap=True)
    raise typer.Exit(EXIT_BAD_INPUT)


def main() -> None:
    """Run the command line; what is no other command is `train`."""
    arguments = sys.argv[1:]
    commands = {
        command.name or command.callback.__name__.replace("_", "-")
        for command in app.registered_commands
        if command.callback
    }
    if arguments and arguments[0] not in commands | {"--help"}:
        arguments = ["train", *arguments]
    app(arguments)


if __name__ == "__main__":
    main()
