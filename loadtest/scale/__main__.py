"""`python -m astec.loadtest.scale`: the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from astec.export.artifact.verification import ArtifactError
from astec.export.console import console
from astec.export.readers import DataError
from astec.loadtest.bench.serving import ServeError
from astec.loadtest.command_line import EXIT_INTERRUPTED, fail
from astec.loadtest.generator.client import UnreachableError
from astec.loadtest.report.dated_page import RESULTS, DatedPage
from astec.loadtest.scale.sizes import ScaleError, measure_sizes
from astec.loadtest.scale.sizes_page import sizes_markdown

app = typer.Typer(add_completion=False, help="Measure artifacts of different sizes, or a model in shards.")


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
    except (ArtifactError, DataError, ScaleError, ServeError, UnreachableError, OSError) as error:
        fail("scale sizes", str(error))
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_INTERRUPTED) from None
    page = DatedPage.create(output, "sizes")
    settings = (
        f"in process: {rounds} rounds of {queries:,} queries each, one at a time on one thread, in turns",
        f"`/predict`: servers of one worker, {rounds} rounds of {seconds:g} s each, in turns; one connection, one "
        "query a request, no cache",
    )
    text = sizes_markdown(page.stamp, settings, figures)
    page.write(text)
    typer.echo(text)
    console.print(f"wrote {page.path}", markup=False, soft_wrap=True)


@app.callback()
def _several_commands() -> None:
    """Keep the name of the command in its line while there is one only."""


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
