"""astec-predict: the command that ranks labels offline, with the code of the server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from astec.server.offline.command_options import AllowLinksUnder
from astec.server.system.cpus import usable_cpus
from astec.server.system.library_threads import forbid_library_threads

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command()
def predict(
    artifact: Annotated[
        str,
        typer.Argument(
            help="An exported artifact: a folder, or an address such as s3://bucket/model, which is copied to this "
            "machine once.",
            show_default=False,
        ),
    ],
    texts: Annotated[list[str] | None, typer.Argument(help="Texts to score.", show_default=False)] = None,
    input_file: Annotated[
        Path | None,
        typer.Option(
            "--input",
            help="File of texts, one per line, CSV, Parquet, or a format that astec-train reads; may be compressed. "
            "- is stdin.",
            show_default=False,
        ),
    ] = None,
    output_file: Annotated[
        Path | None,
        typer.Option(
            "--output",
            help="File to write: .csv, .parquet, else JSON Lines; gzipped if the name ends in .gz. Default: stdout.",
            show_default=False,
        ),
    ] = None,
    top_k: Annotated[int, typer.Option(min=1, max=100, help="The most labels of a text.")] = 5,
    min_score: Annotated[float, typer.Option(min=0, max=1, help="Labels with a lower score are left out.")] = 0.0,
    probabilities: Annotated[
        bool,
        typer.Option(
            "--probabilities", help="Add the probability that each label is right. The model must be calibrated."
        ),
    ] = False,
    wanted: Annotated[
        str | None,
        typer.Option(
            "--filter",
            metavar="JSON",
            help="Only return labels that have one of the given values in each given column of the label metadata, as "
            'in a request: {"country": ["DE", "AT"]}. Slower: if few labels remain, all of them may be scored.',
            show_default=False,
        ),
    ] = None,
    unwanted: Annotated[
        str | None,
        typer.Option(
            "--exclude",
            metavar="JSON",
            help="Leave out labels that have one of the given values, as for --filter.",
            show_default=False,
        ),
    ] = None,
    column: Annotated[
        str | None,
        typer.Option(help="Column of a CSV or Parquet input. Default: query, text or the only.", show_default=False),
    ] = None,
    delimiter: Annotated[
        str | None,
        typer.Option(
            help="What separates the columns of a CSV input: one character, or tab. Default: found in its first rows.",
            show_default=False,
        ),
    ] = None,
    encoding: Annotated[
        str | None,
        typer.Option(
            help="Encoding of the input, such as cp1252 or utf-16-le. Default: UTF-8, or what a byte order mark says.",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Number of scoring processes; each needs memory. Default: usable CPUs.", show_default=False
        ),
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Start again, instead of continuing an interrupted run.")
    ] = False,
    allow_links_under: AllowLinksUnder = None,
) -> None:
    """Rank labels for TEXTs or the texts of a file, in the order of the input.

    An interrupted run leaves OUTPUT.part; the same command continues it, and gives the same output.
    """
    _check_arguments(texts or [], input_file, output_file)
    forbid_library_threads()  # Before the imports below load such libraries: scoring processes are forked.
    from astec.export.artifact.text.bags import QueryKindError
    from astec.export.artifact.verification import ArtifactError
    from astec.export.artifact_cache import open_artifact_at
    from astec.export.readers import DataError
    from astec.export.readers.read_options import ReadOptions
    from astec.server.offline.bulk.job import ScoringJob, file_source, texts_source
    from astec.server.offline.bulk.options import OptionError, parse_options
    from astec.server.offline.bulk.output_formats import JsonLines, OutputError, format_of
    from astec.server.offline.bulk.part_file import PartFileError
    from astec.server.offline.bulk.pool import ScoringProcessError

    try:
        output_format = format_of(output_file, probabilities) if output_file else JsonLines()
        source = (
            file_source(input_file, column, ReadOptions(delimiter=delimiter, encoding=encoding))
            if input_file
            else texts_source(texts or [])
        )
        model = open_artifact_at(artifact, allow_links_under=allow_links_under)
        options = parse_options(model, top_k, min_score, probabilities, wanted, unwanted)
        job = ScoringJob(model, source, options, output_format)
        size = (workers or usable_cpus()) if input_file else 1
        if output_file is None:
            job.stream(size)
        else:
            job.write(output_file, size, restart=restart)
    except (ArtifactError, DataError, OptionError, OutputError, PartFileError, QueryKindError, OSError) as error:
        raise _failed(error, EXIT_BAD_INPUT) from error
    except ScoringProcessError as error:
        raise _failed(error, EXIT_FAILED) from error


def _check_arguments(texts: list[str], input_file: Path | None, output_file: Path | None) -> None:
    """Check the arguments that need no model.

    Raises:
        typer.BadParameter: They contradict each other, or a text is not UTF-8.
    """
    if bool(texts) == (input_file is not None):
        raise typer.BadParameter("give either TEXTs or --input FILE")
    # Python decodes bytes of an argument that are not UTF-8 to these code points.
    if any("\udc80" <= character <= "\udcff" for text in texts for character in text):
        raise typer.BadParameter("a TEXT is not UTF-8; convert it, or put it into a file")
    if input_file is not None and output_file is not None and output_file.exists() and output_file.samefile(input_file):
        raise typer.BadParameter(f"{output_file} is the input; choose another --output")


def _failed(error: Exception, code: int) -> typer.Exit:
    """Print an error, and return the exception that ends the command with an exit code."""
    typer.secho(f"astec-predict: {error}", fg="red", err=True)
    return typer.Exit(code)


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
