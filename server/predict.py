"""astec-predict: offline scoring, through the code that serves."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Annotated

import orjson
import typer

from export.artifact.featurizer import Query, QueryKindError
from export.artifact.files import open_atomically
from export.artifact.store import ArtifactError, open_artifact
from export.readers import DataError, open_queries
from export.readers.progress import console
from server.cpus import usable_cpus
from server.predictor import Predictor

EXIT_BAD_INPUT = 2
_BATCH_QUERIES = 256

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command()
def predict(
    artifact: Annotated[Path, typer.Argument(help="An exported artifact.", show_default=False)],
    texts: Annotated[list[str] | None, typer.Argument(help="Texts to score.", show_default=False)] = None,
    input_file: Annotated[
        Path | None,
        typer.Option(
            "--input", help="File of texts, one a line, or any format that astec-train reads.", show_default=False
        ),
    ] = None,
    output_file: Annotated[
        Path | None, typer.Option("--output", help="JSON Lines file to write; default: stdout.", show_default=False)
    ] = None,
    top_k: Annotated[int, typer.Option(min=1, max=100, help="Labels of a text at most; more: longer answers.")] = 5,
) -> None:
    """Rank labels for TEXTs or the texts of a file: one JSON line each, in the order of the input."""
    if bool(texts) == (input_file is not None):
        raise typer.BadParameter("give either TEXTs or --input FILE")
    try:
        predictor = Predictor(open_artifact(artifact))
        queries: Iterable[Query] = texts if texts else open_queries(input_file) if input_file else ()
        with _output(output_file) as stream:
            for line in score(predictor, queries, top_k):
                stream.write(line)
    except (ArtifactError, DataError, QueryKindError, OSError) as error:
        console.print(f"astec-predict: {error}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(EXIT_BAD_INPUT) from error


def score(predictor: Predictor, queries: Iterable[Query], top_k: int) -> Iterator[bytes]:
    """JSON lines `{"query", "predictions"}` in the order of `queries`, computed on all CPUs.

    Raises:
        QueryKindError: for a query the model cannot read.
    """
    threads = usable_cpus()
    iterator = iter(queries)
    with ThreadPoolExecutor(threads) as pool:
        # So many batches at a time: memory stays flat however long the input is.
        while batches := [batch for _ in range(threads) if (batch := list(islice(iterator, _BATCH_QUERIES)))]:
            for lines in pool.map(lambda batch: _score_batch(predictor, batch, top_k), batches):
                yield from lines


def _score_batch(predictor: Predictor, queries: Sequence[Query], top_k: int) -> list[bytes]:
    rankings, _ = predictor.predict(queries, top_k)
    labels = predictor.artifact.labels
    lines = []
    for query, ranking in zip(queries, rankings, strict=True):
        predictions = [
            {"label_id": label, "label": labels[label], "score": score}
            for label, score in zip(ranking.label_ids.tolist(), ranking.scores.tolist(), strict=True)
        ]
        shown = query if isinstance(query, str) else {"ids": query.ids.tolist(), "weights": query.weights.tolist()}
        lines.append(orjson.dumps({"query": shown, "predictions": predictions}, option=orjson.OPT_APPEND_NEWLINE))
    return lines


@contextmanager
def _output(path: Path | None) -> Iterator[IO[bytes]]:
    """Stdout, or a file that takes its name only when it is whole."""
    if path is not None:
        with open_atomically(path) as stream:
            yield stream
        return
    yield sys.stdout.buffer
    sys.stdout.buffer.flush()


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
