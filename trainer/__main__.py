"""astec-train: from a file of texts and labels to a run folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from export.readers import DataError, open_dataset
from export.readers.progress import console
from trainer.config import ConfigError, TrainerConfig, describe_settings, load_config
from trainer.demo_log import DemoLogConfig, write_demo_log

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
        Path,
        typer.Argument(
            help="A file, or a folder with train.* in it: JSON Lines, TSV, fastText or the XC repository's sparse "
            "format, plain or .gz, found by content.",
            show_default=False,
        ),
    ],
    run_folder: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="Folder for the configuration, history and checkpoint.", show_default=False),
    ],
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
    device: Annotated[str, typer.Option(help="auto (a GPU where there is one), cpu, cuda or cuda:1.")] = "auto",
    seed: Annotated[
        int | None,
        typer.Option(help="Same seed, same model (on a CPU). Default: 0, or the configuration's.", show_default=False),
    ] = None,
    skip_bad_lines: Annotated[
        bool, typer.Option("--skip-bad-lines", help="Count malformed lines and go on, instead of refusing the file.")
    ] = False,
) -> None:
    """Train on DATA and leave the model in RUN."""
    try:
        settings = load_config(config, [*(overrides or []), *([] if seed is None else [f"seed={seed}"])])
        _train(data, run_folder, settings, device, skip_bad_lines=skip_bad_lines)
    except (ConfigError, DataError) as error:
        _fail(str(error))


@app.command()
def settings() -> None:
    """List every setting with its default and what it trades off."""
    table = Table("setting", "default", "meaning", box=None)
    for key, default, meaning in describe_settings():
        table.add_row(key, str(default), meaning)
    console.print(table)


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


def _train(data: Path, run_folder: Path, settings: TrainerConfig, device: str, *, skip_bad_lines: bool) -> None:
    # torch takes seconds to load: not for --help, and not before the arguments are known to be good.
    from trainer.data import load_training_data
    from trainer.loop import DivergedError
    from trainer.run import Run, RunError
    from trainer.stages import train as train_learner
    from trainer.tensors import DeviceError, pick_device

    try:
        chosen = pick_device(device)
        run = Run(run_folder)
        dataset = open_dataset(data, "train")
        loaded = load_training_data(dataset, settings.featurizer, skip_bad_lines=skip_bad_lines)
        if dataset.bad_lines or loaded.dropped_rows:
            console.print(f"left out: {dataset.bad_lines:,} bad lines, {loaded.dropped_rows:,} rows without a label")
        run.begin(settings)
        train_learner(loaded, settings, chosen, run)
    except (DeviceError, RunError, DivergedError, OSError) as error:
        _fail(str(error))


def _fail(message: str) -> None:
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
