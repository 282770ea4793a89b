"""astec-feedback: the command that joins an answer log with clicks to a training file."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Annotated, Any

import orjson
import typer

from astec.export.artifact.storage.atomic_files import open_atomically
from astec.export.readers import DataError
from astec.export.readers.lines import read_lines
from astec.server.answer_log.record_reader import RecordReaderError, find_files, read_records

EXIT_BAD_INPUT = 2
_EXAMPLE = '{"request_id": "...", "label": "..."}'

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")

Key = tuple[str, int]
"""A query that was asked: the id of its request, and its position among the queries of the request."""


@dataclass(slots=True)
class Row:
    """A row of the training file: a query, and the clicks of the labels that it was shown and that were clicked."""

    query: str
    clicks: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Joined:
    """Rows in the order of their records, and the numbers of records and of what was left out."""

    rows: dict[Key, Row] = field(default_factory=dict)
    records: int = 0
    records_without_text: int = 0
    ambiguous: set[Key] = field(default_factory=set)


@app.command()
def feedback(
    answers: Annotated[Path, typer.Argument(help="The folder of astec-serve --log-answers.", show_default=False)],
    clicks: Annotated[
        Path,
        typer.Argument(
            help="JSON Lines, compressed or not: request_id and label of a click, and where a request has several "
            "queries its position among them, from 0; optionally clicks, their number.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        typer.Argument(help="JSON Lines to write, for astec-train; gzipped if it ends in .gz.", show_default=False),
    ],
) -> None:
    """Join the answers of a server with the clicks on them, into a file that astec-train reads.

    A query with a click becomes a row with the labels that were clicked. Labels that were shown and not clicked are no
    labels of the row, and queries without a click no rows.
    """
    try:
        clicked = read_clicks(clicks)
        joined = join(clicked, answers)
        written = write_rows(joined, output)
    except (DataError, RecordReaderError, OSError) as error:
        typer.secho(f"astec-feedback: {error}", fg="red", err=True)
        raise typer.Exit(EXIT_BAD_INPUT) from error
    for line in _summary(clicked, joined, written, output):
        typer.echo(line)


def read_clicks(path: Path) -> dict[Key, dict[str, float]]:
    """Return the clicks on each label, by query.

    Raises:
        DataError: The file cannot be read, or a line is no click.
    """
    found: dict[Key, dict[str, float]] = {}
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        try:
            click = orjson.loads(line)
            request_id, label, position, count = _fields(click)
        except ValueError as error:
            raise DataError(path, number, str(error), f"Write a line {_EXAMPLE} for each click") from error
        of_query = found.setdefault((request_id, position), {})
        of_query[label] = of_query.get(label, 0) + count
    return found


def join(clicked: dict[Key, dict[str, float]], folder: Path) -> Joined:
    """Look for the record of each click.

    A click counts if the record shows its label. Two records of the same id and query are those of a repeated request;
    if their queries differ, nobody knows which one was clicked, and neither has a row.

    Raises:
        RecordReaderError: The files of the log cannot be read.
    """
    joined = Joined()
    for path in find_files(folder):
        for record in read_records(path):
            joined.records += 1
            key = record["request_id"], record["position"]
            if key not in clicked:
                continue
            query = record.get("query")
            if query is None:
                joined.records_without_text += 1
                continue
            row = joined.rows.setdefault(key, Row(query))
            if row.query != query:
                joined.ambiguous.add(key)
            shown = set(record["shown"])
            row.clicks.update({label: count for label, count in clicked[key].items() if label in shown})
    return joined


def write_rows(joined: Joined, output: Path) -> list[Row]:
    """Write the rows that have a click, and return them.

    Raises:
        OSError: The file cannot be written.
    """
    rows = [row for key, row in joined.rows.items() if row.clicks and key not in joined.ambiguous]
    with _open_output(output) as stream:
        for row in rows:
            stream.write(orjson.dumps({"text": row.query, "labels": row.clicks}, option=orjson.OPT_APPEND_NEWLINE))
    return rows


@contextmanager
def _open_output(output: Path) -> Iterator[IO[bytes] | gzip.GzipFile]:
    with open_atomically(output) as stream:
        if not output.name.endswith(".gz"):
            yield stream
            return
        with gzip.GzipFile(filename="", fileobj=stream, mode="wb", mtime=0) as compressed:
            yield compressed


def _fields(click: Any) -> tuple[str, str, int, float]:  # noqa: ANN401  (JSON)
    """Return the id, the label, the position and the number of clicks.

    Raises:
        ValueError: The line is not a click.
    """
    if not isinstance(click, dict):
        raise ValueError("the line is no JSON object")
    request_id, label = click.get("request_id"), click.get("label")
    if not isinstance(request_id, str) or not isinstance(label, str):
        raise ValueError('"request_id" and "label" have to be strings')
    position, count = click.get("position", 0), click.get("clicks", 1)
    if type(position) is not int or position < 0:
        raise ValueError('"position" has to be an integer from 0')
    if type(count) not in (int, float) or not count > 0:
        raise ValueError('"clicks" has to be a number above 0')
    return request_id, label, position, count


def _summary(
    clicked: dict[Key, dict[str, float]], joined: Joined, written: Iterable[Row], output: Path
) -> Iterator[str]:
    rows = list(written)
    used = sum(len(row.clicks) for row in rows)
    yield f"{output}: {len(rows):,} rows, with {used:,} clicked labels, from {joined.records:,} records"
    unknown = sum(len(labels) for key, labels in clicked.items() if key not in joined.rows)
    found = joined.rows.items()
    ambiguous = sum(len(clicked[key]) for key in joined.ambiguous)
    not_shown = sum(len(clicked[key]) - len(row.clicks) for key, row in found if key not in joined.ambiguous)
    for count, reason in (
        (unknown, "the log has no record with a text of their request (as of requests outside of --log-share)"),
        (not_shown, "their record does not show the label"),
        (ambiguous, "different queries have the id of their request"),
    ):
        if count:
            yield f"left out: {count:,} clicked labels, because {reason}"
    if joined.records_without_text:
        yield f"{joined.records_without_text:,} records with clicks have no text (see --log-queries)"


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
