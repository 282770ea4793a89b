"""astec-predict: offline scoring, through the code that serves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from astec.server.system.cpus import usable_cpus
from astec.server.system.library_threads import forbid_library_threads

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command()
def predict(
    artifact: Annotated[Path, typer.Argument(help="An exported artifact.", show_default=False)],
    texts: Annotated[list[str] | None, typer.Argument(help="Texts to score.", show_default=False)] = None,
    input_file: Annotated[
        Path | None,
        typer.Option(
            "--input",
            help="File of texts, one a line; CSV or Parquet; or any format that astec-train reads. Plain or .gz.",
            show_default=False,
        ),
    ] = None,
    output_file: Annotated[
        Path | None,
        typer.Option(
            "--output",
            help="File to write: .csv, .parquet, else JSON Lines; compressed if .gz follows. Default: stdout.",
            show_default=False,
        ),
    ] = None,
    top_k: Annotated[int, typer.Option(min=1, max=100, help="Labels of a text at most; more: longer answers.")] = 5,
    min_score: Annotated[float, typer.Option(min=0, max=1, help="Labels with a lower score are left out.")] = 0.0,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Also say how likely each label is right, where the model knows.")
    ] = False,
    wanted: Annotated[
        str | None,
        typer.Option(
            "--filter",
            metavar="JSON",
            help="By column of the label metadata a value or a list, of which a label must have one; as in a request: "
            '{"country": ["DE", "AT"]}. Slower: few labels may mean that all of them are scored.',
            show_default=False,
        ),
    ] = None,
    unwanted: Annotated[
        str | None,
        typer.Option(
            "--exclude", metavar="JSON", help="Likewise; labels that have one are left out.", show_default=False
        ),
    ] = None,
    column: Annotated[
        str | None,
        typer.Option(help="Column of a CSV or Parquet input. Default: query, text or the first.", show_default=False),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes that score; each takes memory. Default: usable CPUs.", show_default=False),
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin anew, instead of going on where a run was interrupted.")
    ] = False,
) -> None:
    """Rank labels for TEXTs or the texts of a file, in the order of the input.

    A run that was interrupted leaves OUTPUT.part; the same command again goes on there, to the same output.
    """
    if bool(texts) == (input_file is not None):
        raise typer.BadParameter("give either TEXTs or --input FILE")
    if any("\udc80" <= character <= "\udcff" for text in texts or [] for character in text):  # as Python has such bytes
        raise typer.BadParameter("a TEXT is not UTF-8; convert it, or put it into a file")
    if input_file is not None and output_file is not None and output_file.exists() and output_file.samefile(input_file):
        raise typer.BadParameter(f"{output_file} is the input; choose another --output")
    forbid_library_threads()  # Before what follows is loaded: the processes that score are forked.
    from astec.export.artifact.store import open_artifact
    from astec.export.artifact.text.bags import QueryKindError
    from astec.export.artifact.verification import ArtifactError
    from astec.export.readers import DataError
    from astec.server.offline.bulk.answer_formats import JsonLines, OutputError, format_of
    from astec.server.offline.bulk.job import Job, file_source, texts_source
    from astec.server.offline.bulk.options import OptionError, to_options
    from astec.server.offline.bulk.part_file import PartFileError
    from astec.server.offline.bulk.pool import ScoringProcessError

    try:
        answer_format = format_of(output_file, probabilities) if output_file else JsonLines()
        source = file_source(input_file, column) if input_file else texts_source(texts or [])
        model = open_artifact(artifact)
        options = to_options(model, top_k, min_score, probabilities, wanted, unwanted)
        job = Job(model, source, options, answer_format)
        size = (workers or usable_cpus()) if input_file else 1
        if output_file is None:
            job.stream(size)
        else:
            job.write(output_file, size, restart=restart)
    except (ArtifactError, DataError, OptionError, OutputError, PartFileError, QueryKindError, OSError) as error:
        raise _failed(error, EXIT_BAD_INPUT) from error
    except ScoringProcessError as error:
        raise _failed(error, EXIT_FAILED) from error


def _failed(error: Exception, code: int) -> typer.Exit:
    typer.secho(f"astec-predict: {error}", fg="red", err=True)
    return typer.Exit(code)


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
