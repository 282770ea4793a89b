"""The command line `astec-train`: from a file of texts and labels to a run folder."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.table import Table

from astec.export.console import console
from astec.export.readers import DataError, ReadOptions
from astec.export.readers.command_options import (
    Delimiter,
    Encoding,
    LabelColumn,
    LabelSeparator,
    SkipBadLines,
    TextColumn,
    WeightColumn,
    given_options,
)
from astec.export.readers.places.remote_path import data_path
from astec.trainer.bench.synthetic import SHAPES, ScaleError
from astec.trainer.demo.log import MAX_QUERIES, DemoLogConfig, default_num_queries, write_demo_log
from astec.trainer.demo.products import MAX_PHRASES, MAX_SMALL_PHRASES, MIN_PHRASES
from astec.trainer.failure import fail
from astec.trainer.run.allocator import use_huge_pages
from astec.trainer.run.folder import DEFAULT_SAVE_MINUTES, RunError
from astec.trainer.run.warm_start import warm_settings
from astec.trainer.settings.config import ConfigError
from astec.trainer.settings.config_file import load_config, seed_settings
from astec.trainer.settings.listing import all_settings
from astec.trainer.tuning.command import tune

# torch takes seconds to load. It must not be loaded for --help, nor before the arguments are known to be valid, so
# modules that need it are imported inside the functions below.

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
            help="A file, or a folder with train.* in it, and valid.* if that is to be held out: JSON Lines, TSV, CSV, "
            "fastText or the XC repository's formats, plain or compressed (gzip, bzip2, xz, Zstandard), found by "
            "content; Parquet; or .npy vectors with their labels beside them. Also a folder of parts such as "
            "part-0.parquet, or an address such as s3://bucket/log. - reads a file from stdin.",
            parser=data_path,
            metavar="DATA",
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
    skip_bad_lines: SkipBadLines = False,
    encoding: Encoding = None,
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    weight_column: WeightColumn = None,
    label_separator: LabelSeparator = None,
    delimiter: Delimiter = None,
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
    warm_start: Annotated[
        Path | None,
        typer.Option(
            metavar="OLD_RUN",
            help="Start from a finished run, on newer data: what it learnt of tokens, labels and clusters that stay is "
            "taken over, new ones start from their texts. Its settings are the defaults, with fewer epochs (4 and 2).",
            show_default=False,
        ),
    ] = None,
    ignore_memory: Annotated[
        bool,
        typer.Option(
            "--ignore-memory",
            help="Train even if the memory or disk that the sizes of the data call for seems to be missing. What is "
            "needed is an estimate, which lies rather above than below.",
        ),
    ] = False,
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

    Exit code: 0 trained, or resumed a run that had finished; 2 refused, for example because memory would not suffice,
    diverged or out of disk; 130 and 143 interrupted by Ctrl-C and by SIGTERM.
    """
    reading = ReadOptions(text_column, label_column, weight_column, label_separator, delimiter, encoding)
    fixed = {
        "DATA": data is not None,
        "--config": config is not None,
        "--set": bool(overrides),
        "--seed": seed is not None,
        "--seeds": seeds is not None,
        "--skip-bad-lines": skip_bad_lines,
        **dict.fromkeys(given_options(reading), True),
        "--warm-start": warm_start is not None,
    }
    try:
        if resume is not None:
            if given := [name for name, is_given in fixed.items() if is_given]:
                fail(f"a resumed run keeps its data and settings: leave out {', '.join(given)}, or begin another run")
            from astec.trainer.launch import RunOptions, resume_run

            resume_run(resume, RunOptions(device, save_minutes, tensorboard, ignore_memory))
            return
        if data is None or run_folder is None:
            fail("what is to be trained on, and where? Give DATA and RUN, or --resume RUN")
        defaults = None if warm_start is None else warm_settings(warm_start)
        settings = load_config(config, [*(overrides or []), *seed_settings(seed, seeds)], defaults)
        from astec.trainer.launch import RunOptions, begin_run

        options = RunOptions(device, save_minutes, tensorboard, ignore_memory)
        begin_run(
            data, run_folder, settings, options, skip_bad_lines=skip_bad_lines, reading=reading, warm_start=warm_start
        )
    except (ConfigError, DataError, RunError) as error:
        fail(str(error))


@app.command()
def report(
    run_folder: Annotated[
        Path, typer.Argument(metavar="RUN", help="The folder of a finished run.", show_default=False)
    ],
) -> None:
    """Write RUN/report.html again, from what the run has left beside it."""
    from astec.trainer.report.evaluation import EvaluationError
    from astec.trainer.report.report_page import write_report
    from astec.trainer.run.history import HistoryError

    try:
        path = write_report(run_folder)
    except (ConfigError, EvaluationError, HistoryError, OSError) as error:
        fail(str(error))
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
        float, typer.Option(min=0, max=20, help="Share of its texts, features and labels; means stay.")
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
    plan: Annotated[
        bool,
        typer.Option(
            "--plan",
            help="Train nothing: only work out memory and disk, with --device cuda for a GPU that need not be here.",
        ),
    ] = False,
) -> None:
    """Measure time, speed and peak memory of every stage of training, on made-up data of a published shape.

    The data has the sizes and frequencies of the paper's Table 3, and labels that can be learnt. Beside the measured
    peaks stand those that were planned, as `astec-train train` does before it begins.
    """
    if shape not in SHAPES:
        fail(f"--shape {shape} is not known; there are {', '.join(SHAPES)}")
    from astec.trainer.bench.cost import paper_settings, run_bench
    from astec.trainer.bench.planned import plan_shape, plan_table
    from astec.trainer.numerics.device import DeviceError, pick_device
    from astec.trainer.training.loop import DivergedError

    given = [*(overrides or []), *seed_settings(seed)]
    try:
        settings = load_config(config, [*(paper_settings(shape) if paper else []), *given])
        if plan:
            planned = plan_shape(SHAPES[shape].scaled(scale), settings, device)
            console.print(plan_table(f"{shape} at scale {scale:g}, planned", planned))
            return
        chosen = pick_device(device)
        with TemporaryDirectory(prefix="astec-bench-") as temporary:
            measured = run_bench(shape, scale, settings, chosen, run_folder or Path(temporary) / "run")
    except (ConfigError, DeviceError, RunError, DivergedError, ScaleError, OSError) as error:
        fail(str(error))
    if as_json:
        typer.echo(json.dumps(measured.as_json()))
    else:
        console.print(measured.table())


@app.command()
def demo_log(
    folder: Annotated[Path, typer.Argument(help="Where train.jsonl.gz and test.jsonl.gz go.", show_default=False)],
    labels: Annotated[
        int,
        typer.Option(
            help=f"Bid phrases, {MIN_PHRASES:,} to {MAX_PHRASES:,}; some rare ones get no click. More than "
            f"{MAX_SMALL_PHRASES:,} are from a larger market: more products, makers, models, sizes, colours and so on."
        ),
    ] = DemoLogConfig().num_phrases,
    queries: Annotated[
        int | None,
        typer.Option(
            help=f"Training queries, at most {MAX_QUERIES:,}; fewer train faster and match worse. Default: two for "
            "each label, at least 100,000; ten for each of fewer than 10,000 labels.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same log.")] = 0,
) -> None:
    """Write the embedded demo: a made-up click log of a sponsored search engine."""
    try:
        num_queries = default_num_queries(labels) if queries is None else queries
        config = DemoLogConfig(seed=seed, num_queries=num_queries, num_phrases=labels)
    except ValueError as error:
        fail(str(error))
    num_clicked = write_demo_log(folder, config)
    console.print(
        f"wrote {folder}/train.jsonl.gz and {folder}/test.jsonl.gz: {config.num_queries:,} and "
        f"{config.num_test_queries:,} queries; {num_clicked:,} of {labels:,} labels have a click in the training file",
        markup=False,
        soft_wrap=True,
    )


def main() -> None:
    """Run the command line; arguments that begin with no command's name are for `train`."""
    use_huge_pages()
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
