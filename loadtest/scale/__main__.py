"""`python -m astec.loadtest.scale`: the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from astec.export.artifact.verification import ArtifactError, read_manifest
from astec.export.console import console
from astec.export.readers import DataError
from astec.loadtest.bench.serving import ServeError
from astec.loadtest.command_line import EXIT_INTERRUPTED, fail
from astec.loadtest.generator.client import UnreachableError
from astec.loadtest.report.dated_page import RESULTS, DatedPage
from astec.loadtest.scale.engines import EngineRun, measure_engines
from astec.loadtest.scale.engines_page import engines_markdown
from astec.loadtest.scale.errors import ScaleError
from astec.loadtest.scale.shards import measure_shards
from astec.loadtest.scale.shards_page import shards_markdown
from astec.loadtest.scale.sizes import measure_sizes
from astec.loadtest.scale.sizes_page import sizes_markdown
from astec.loadtest.scale.texts import read_texts
from astec.server.client import AstecError
from astec.server.system.cpus import usable_cpus

EXIT_FAILED = 1
_PROBLEMS = (ArtifactError, DataError, ScaleError, ServeError, OSError)
_TEXTS_HELP = "Texts to ask: a file, or a folder with a test file."

app = typer.Typer(
    add_completion=False,
    help="Compare artifacts of different sizes (`sizes`), a model in shards with the whole one (`shards`), or Ray Data "
    "and Spark with `astec-predict` (`engines`).",
)


@app.command()
def sizes(
    artifacts: Annotated[
        list[Path],
        typer.Argument(help="Artifacts of `astec-loadtest synth-artifact`, the smallest first.", show_default=False),
    ],
    queries: Annotated[int, typer.Option(min=1, help="Queries of a round in process.")] = 1_000,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds, in which each artifact has its turn.")] = 5,
    seconds: Annotated[float, typer.Option(min=0.1, help="Seconds of requests to each server in each round.")] = 5.0,
    output: Annotated[Path, typer.Option(help="Folder for the dated page.")] = RESULTS,
) -> None:
    """Compare ARTIFACTS: their disk and memory, the time to start, and the time of a query in process and over HTTP.

    Exit codes: 0 done, 2 wrong usage or a server that does not answer, 130 interrupted.
    """
    try:
        figures = measure_sizes(artifacts, queries, rounds, seconds)
    except (*_PROBLEMS, UnreachableError) as error:
        fail("scale sizes", str(error))
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_INTERRUPTED) from None
    page = DatedPage.create(output, "sizes")
    settings = (
        f"in process: {rounds} rounds of {queries:,} queries each, one at a time on one thread, in turns",
        f"`/predict`: servers of one worker, {rounds} rounds of {seconds:g} s each, in turns; one connection, one "
        "query a request, no cache",
    )
    _publish(page, sizes_markdown(page.stamp, settings, figures))


@app.command()
def shards(
    artifact: Annotated[Path, typer.Argument(help="The whole model.", show_default=False)],
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="SHARDS",
            help="Folder of `astec-export --shards`, of the same run with the same settings.",
            show_default=False,
        ),
    ],
    data: Annotated[Path, typer.Argument(metavar="TEST_DATA", help=_TEXTS_HELP, show_default=False)],
    queries: Annotated[int, typer.Option(min=1, help="Texts that are asked, the first of TEST_DATA.")] = 2_000,
    rounds: Annotated[
        int, typer.Option(min=1, help="Parts of the texts; each is asked in three ways, one after the other.")
    ] = 8,
    top_k: Annotated[int, typer.Option(min=1, max=100, help="Most labels of an answer.")] = 10,
    output: Annotated[Path, typer.Option(help="Folder for the dated page.")] = RESULTS,
) -> None:
    """Compare SHARDS, by `astec.Client` and behind `astec-serve --upstream`, with ARTIFACT; then kill a shard.

    Exit codes: 0 done, 1 an answer after the shard was killed is not what `--on-missing` promises (the page says
    which), 2 wrong usage or a server that does not answer, 130 interrupted.
    """
    try:
        texts = read_texts(data)[:queries]
        figures = measure_shards(artifact, folder, texts, rounds, top_k)
    except (*_PROBLEMS, AstecError) as error:
        fail("scale shards", str(error))
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_INTERRUPTED) from None
    page = DatedPage.create(output, "shards")
    settings = (
        f"{len(texts):,} texts of {data.name}, `top_k` {top_k}, one at a time by `astec.Client`; in {rounds} rounds, "
        "each with other texts, the three ways to ask have their turns",
        "a server of one worker for the whole model, for each shard and for each `--on-missing`; no cache",
    )
    _publish(page, shards_markdown(page.stamp, settings, figures))
    if any(loss.wrong for loss in figures.losses):
        raise typer.Exit(EXIT_FAILED)


@app.command()
def engines(
    artifact: Annotated[Path, typer.Argument(help="The model, one of texts.", show_default=False)],
    queries: Annotated[Path, typer.Argument(metavar="QUERIES_FILE", help=_TEXTS_HELP, show_default=False)],
    texts: Annotated[
        int,
        typer.Option(min=2, help="Texts that are scored: those of the file, again and again until there are enough."),
    ] = 200_000,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds, in which each engine has its turn.")] = 3,
    environment: Annotated[
        Path, typer.Option(help="Folder of the environment that `make engines` makes.", envvar="ENGINES")
    ] = Path("~/.cache/astec/engines"),
    output: Annotated[Path, typer.Option(help="Folder for the dated page.")] = RESULTS,
) -> None:
    """Score texts by `astec-predict`, Ray Data and Spark, each with a process for every usable CPU.

    Exit codes: 0 done, 1 an engine does not give the answers of `astec-predict`, 2 wrong usage, or an engine is missing
    or fails, 130 interrupted.
    """
    cores = usable_cpus()
    try:
        manifest, pool = read_manifest(artifact), read_texts(queries)
        python = environment.expanduser() / "bin" / "python"
        compared = measure_engines(EngineRun(python, artifact.resolve(), cores), pool, texts, rounds)
    except _PROBLEMS as error:
        fail("scale engines", str(error))
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_INTERRUPTED) from None
    page = DatedPage.create(output, "engines")
    settings = (
        f"{texts:,} texts, the {len(pool):,} of {queries.name} again and again; the best 5 labels of each",
        f"{cores} scoring processes of each engine; {rounds} rounds, in turns, after an untimed run of each",
    )
    _publish(page, engines_markdown(page.stamp, settings, manifest, compared))
    if any(figures.same != texts for figures in compared.engines):
        raise typer.Exit(EXIT_FAILED)


def _publish(page: DatedPage, text: str) -> None:
    """Write a page, and print it."""
    page.write(text)
    typer.echo(text)
    console.print(f"wrote {page.path}", markup=False, soft_wrap=True)


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
