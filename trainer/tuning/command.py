"""The command `astec-train tune`, which chooses settings on held-out texts."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from astec.export.console import console
from astec.export.readers import DataError, ReadOptions, open_dataset
from astec.export.readers.command_options import (
    Delimiter,
    Encoding,
    LabelColumn,
    LabelSeparator,
    SkipBadLines,
    TextColumn,
    WeightColumn,
)
from astec.export.readers.places.remote_path import data_path
from astec.trainer.failure import fail
from astec.trainer.settings.config import ConfigError
from astec.trainer.settings.config_file import load_config, seed_settings

if TYPE_CHECKING:
    from astec.trainer.tuning.search import Search, TrialResult

EXIT_INTERRUPTED = 130


class MetricOption(StrEnum):
    """The metric that the search maximises."""

    P = "P"
    PSP = "PSP"


def tune(
    data: Annotated[
        Path,
        typer.Argument(
            help="As of `astec-train train`; a test file is never looked at.",
            parser=data_path,
            metavar="DATA",
            show_default=False,
        ),
    ],
    folder: Annotated[
        Path,
        typer.Argument(
            help="Folder for the trials, a run each, and best.toml. The same again goes on where it stopped.",
            show_default=False,
        ),
    ],
    trials: Annotated[int, typer.Option(min=1, help="Trials in all; more find better settings.")] = 20,
    minutes: Annotated[
        float | None, typer.Option(min=0, help="Begin no trial after so many minutes.", show_default=False)
    ] = None,
    metric: Annotated[
        MetricOption, typer.Option(help="Maximise the mean of P, or of PSP, at 1, 3 and 5; PSP favours rare labels.")
    ] = MetricOption.P,
    config: Annotated[
        Path | None, typer.Option(help="TOML file of settings to start from.", show_default=False)
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="One setting; a knob that is set is held.", show_default=False),
    ] = None,
    device: Annotated[str, typer.Option(help="auto (a GPU where there is one), cpu, cuda or cuda:1.")] = "auto",
    seed: Annotated[int | None, typer.Option(help="Of the search and of every trial.", show_default=False)] = None,
    skip_bad_lines: SkipBadLines = False,
    encoding: Encoding = None,
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    weight_column: WeightColumn = None,
    label_separator: LabelSeparator = None,
    delimiter: Delimiter = None,
) -> None:
    """Choose the settings that matter most, judged on texts held out of DATA's training file.

    The first trial has the settings given; every other is drawn in the light of those before. A trial that diverges
    counts as none. Ctrl-C keeps the finished trials, and so does a kill.
    """
    given = [*(overrides or []), *seed_settings(seed)]
    try:
        # torch and optuna take seconds to load, and optuna is an extra.
        from astec.trainer.data.loading import load_training_data
        from astec.trainer.data.validation_file import open_validation_file
        from astec.trainer.numerics.device import DeviceError, pick_device
        from astec.trainer.run.folder import RunError
        from astec.trainer.tuning.search import Search, SearchError, check_folder, open_storage
    except ModuleNotFoundError as error:
        fail(f"tuning needs {error.name}; install it with pip install 'astec[train,tune]'")
    try:
        settings, chosen = load_config(config, given), pick_device(device)
        check_folder(folder)
        reading = ReadOptions(text_column, label_column, weight_column, label_separator, delimiter, encoding)
        dataset, valid = open_dataset(data, "train", reading), open_validation_file(data, settings.validation, reading)
        loaded = load_training_data(dataset, settings, skip_bad_lines=skip_bad_lines, valid=valid)
        held = [override.partition("=")[0] for override in given]
        with open_storage(folder) as storage:
            search = Search(folder, loaded, settings, held, metric.value, chosen, storage)
            interrupted = _run(search, trials, minutes)
            _show(search)
            _say_how_to_train(search, data)
    except (ConfigError, DataError, DeviceError, RunError, SearchError, OSError) as error:
        fail(str(error))
    if interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)


def _run(search: Search, trials: int, minutes: float | None) -> bool:
    """Run the search, and return True if it was interrupted."""
    if earlier := len(search.results()):
        _say(f"{earlier} finished trials are there already")
    try:
        search.run(trials, minutes, lambda result: _say(_describe(result, search.best_score(), trials)))
    except KeyboardInterrupt:
        _say(f"interrupted; the same command goes on after {len(search.results())} finished trials")
        return True
    return False


def _describe(result: TrialResult, best_score: float | None, trials: int) -> str:
    score = "diverged" if result.score is None else f"{result.score:.2f}"
    best = "" if best_score is None else f"; best so far {best_score:.2f}"
    return f"trial {result.number} (of {trials} trials): {score}{best}"


def _show(search: Search) -> None:
    """Print a row for each trial, the best in bold, and how important each setting was for a good score."""
    names, knobs, shares = search.judged, list(search.space), search.importance()
    table = Table(box=None)
    for header in ("trial", "mean", *names, *(re.sub(r"[._]", "\n", knob) for knob in knobs)):
        table.add_column(header, justify="right", overflow="fold")
    best = search.best().number
    for result in search.results():
        score = "diverged" if result.score is None else f"{result.score:.2f}"
        figures = [f"{result.metrics[name]:.2f}" if result.metrics else "" for name in names]
        values = [f"{result.values[knob]:.3g}" for knob in knobs]
        style = "bold" if result.number == best else None
        table.add_row(str(result.number), score, *figures, *values, style=style)
    if shares:
        table.add_row("share", "", *[""] * len(names), *(f"{100 * shares[knob]:.0f}%" for knob in knobs))
    console.print(table)


def _say_how_to_train(search: Search, data: Path) -> None:
    best = search.best()
    _say(f"best: trial {best.number}; train with its settings: astec-train {data} RUN --config {search.best_file}")
    _say(f"or export it as it is: astec-export {search.trial_folder(best.number)} ARTIFACT")


def _say(message: str) -> None:
    console.print(message, markup=False, soft_wrap=True)
