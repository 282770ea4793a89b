"""The formats of the output: JSON Lines, CSV or Parquet, chosen by the name of the output file.

Each chunk of queries is encoded on its own, so that several processes can do it. The file is all chunks in order.

Shapes: B queries, K ranks.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray

from astec.export.artifact.labels.text_table import TextTable
from astec.export.artifact.storage.atomic_files import open_atomically
from astec.export.artifact.text.bags import Query
from astec.server.engine.predictor import Rankings
from astec.server.engine.ranking_json import to_json
from astec.server.offline.bulk.arrow_predictions import PREDICTIONS, PROBABILITY, predictions_type, to_predictions
from astec.server.offline.bulk.csv_rows import to_csv

CSV_COLUMNS: Final = ("row", "query", "rank", "label_id", "label", "score")
# Files are a twelfth larger than with level 3, and a fifth larger than with level 6, which takes twice the time.
_GZIP_LEVEL: Final = 1
_CHUNKS_PER_ROW_GROUP: Final = 64


class OutputError(ValueError):
    """The output cannot be written in the format that its name asks for; the message says why and what to do."""


class OutputFormat(Protocol):
    """A format: encodes chunks, in any process, and turns a file of encoded chunks into the output."""

    def encode(
        self,
        first_row: int,
        queries: Sequence[Query],
        rankings: Rankings,
        probabilities_BK: NDArray[np.float32],
        labels: TextTable,
    ) -> bytes:
        """Return the encoded predictions for a chunk of queries.

        Args:
            first_row: The index of the first query among all queries, from 0.
            queries: The queries, [B].
            rankings: Label ids and scores, [B, K]; a label id of -1 means no label.
            probabilities_BK: The probabilities of the labels; [0, 0] if they are not requested.
            labels: The texts of all labels, by label id.
        """

    def publish(self, part: Path, target: Path) -> None:
        """Turn `part`, a file with all encoded chunks, into `target`, atomically by a rename; `part` is removed."""


class JsonLines:
    """JSON Lines: one line `{"query", "predictions"}` for each query."""

    def encode(
        self,
        first_row: int,
        queries: Sequence[Query],
        rankings: Rankings,
        probabilities_BK: NDArray[np.float32],
        labels: TextTable,
    ) -> bytes:
        """Return the lines of a chunk."""
        arrays = _arrays(rankings, probabilities_BK, labels)
        lines = zip(map(orjson.dumps, map(_query_to_json, queries)), arrays, strict=True)
        return b"".join([b'{"query":%b,"predictions":%b}\n' % line for line in lines])

    def publish(self, part: Path, target: Path) -> None:
        """Rename the file of chunks, which needs no change."""
        part.replace(target)


class Csv:
    """CSV: one row for each label of each query. A query without labels has one row, empty from `rank` on."""

    def __init__(self, probabilities: bool) -> None:
        self._columns = (*CSV_COLUMNS, PROBABILITY) if probabilities else CSV_COLUMNS

    def encode(
        self,
        first_row: int,
        queries: Sequence[Query],
        rankings: Rankings,
        probabilities_BK: NDArray[np.float32],
        labels: TextTable,
    ) -> bytes:
        """Return the rows of a chunk; the first chunk begins with the header row."""
        header = ",".join(f'"{column}"' for column in self._columns) + "\n" if first_row == 0 else ""
        texts = TextTable.from_texts(map(_query_to_text, queries))
        return header.encode() + to_csv(first_row + 1, texts, rankings, labels, probabilities_BK)

    def publish(self, part: Path, target: Path) -> None:
        """Rename the file of chunks, which needs no change."""
        part.replace(target)


class Gzipped:
    """Another format, compressed: each chunk is a gzip member of its own, of which a gzip file may have many."""

    def __init__(self, plain: OutputFormat) -> None:
        self._plain = plain

    def encode(
        self,
        first_row: int,
        queries: Sequence[Query],
        rankings: Rankings,
        probabilities_BK: NDArray[np.float32],
        labels: TextTable,
    ) -> bytes:
        """Return a gzip member; the same chunk always gives the same bytes."""
        plain = self._plain.encode(first_row, queries, rankings, probabilities_BK, labels)
        return gzip.compress(plain, _GZIP_LEVEL, mtime=0)

    def publish(self, part: Path, target: Path) -> None:
        """Rename the file of chunks, which needs no change."""
        self._plain.publish(part, target)


class Parquet:
    """Parquet: one row for each query, `query` and `predictions`, a list of `label_id`, `label`, `score` and maybe
    `probability`.

    A Parquet file has its metadata at its end and cannot be continued, so the chunks are Arrow streams until all
    of them are written.
    """

    def __init__(self, probabilities: bool) -> None:
        self._probabilities = probabilities

    def encode(
        self,
        first_row: int,
        queries: Sequence[Query],
        rankings: Rankings,
        probabilities_BK: NDArray[np.float32],
        labels: TextTable,
    ) -> bytes:
        """Return a chunk as an Arrow stream with one record batch."""
        import pyarrow as pa

        predictions = to_predictions(rankings, probabilities_BK, labels, probabilities=self._probabilities)
        columns = {"query": pa.array(list(map(_query_to_text, queries)), pa.string()), PREDICTIONS: predictions}
        batch = pa.RecordBatch.from_pydict(columns)
        stream = io.BytesIO()
        with pa.ipc.new_stream(stream, batch.schema) as writer:
            writer.write_batch(batch)
        return stream.getvalue()

    def publish(self, part: Path, target: Path) -> None:
        """Write the streams as row groups into a temporary file beside the target, and rename that file."""
        import pyarrow as pa
        import pyarrow.parquet

        tables = _read_streams(part)
        if (first := next(tables, None)) is None:
            first = pa.Table.from_batches([], _empty_schema(self._probabilities))
        with (
            open_atomically(target) as stream,
            pyarrow.parquet.ParquetWriter(stream, first.schema, compression="zstd") as writer,
        ):
            chunks = chain([first], tables)
            while group := list(islice(chunks, _CHUNKS_PER_ROW_GROUP)):
                writer.write_table(pa.concat_tables(group))
        part.unlink()


def format_of(output: Path, probabilities: bool) -> OutputFormat:
    """Return the format for the name of an output: .csv, .parquet or else JSON Lines; with .gz at the end, compressed.

    Args:
        output: The output file.
        probabilities: Whether the output has probabilities.

    Raises:
        OutputError: The name asks for Parquet, and pyarrow is not installed or .gz is at the end.
    """
    name = output.name.lower()
    plain = name.removesuffix(".gz")
    if plain.endswith(".parquet"):
        if plain != name:
            raise OutputError(f"{output}: Parquet is compressed already. Name the output .parquet, without .gz.")
        if find_spec("pyarrow") is None:
            raise OutputError(
                f"{output}: Parquet is written with pyarrow, which is not installed. "
                "Install it (pip install 'astec[bulk]'), or name the output .jsonl or .csv."
            )
        return Parquet(probabilities)
    written: OutputFormat = Csv(probabilities) if plain.endswith(".csv") else JsonLines()
    return written if plain == name else Gzipped(written)


def _arrays(rankings: Rankings, probabilities_BK: NDArray[np.float32], labels: TextTable) -> list[bytes]:
    """Return the JSON array of each query's labels, as in a response of the server."""
    num_queries, num_ranks = rankings.label_ids.shape
    return to_json(rankings, [num_ranks] * num_queries, [0.0] * num_queries, labels, probabilities_BK)


def _query_to_json(query: Query) -> object:
    """Return a query as it is in a request to the server."""
    return query if isinstance(query, str) else {"ids": query.ids.tolist(), "weights": query.weights.tolist()}


def _query_to_text(query: Query) -> str:
    """Return a query as one string: a text itself, feature ids and weights as JSON."""
    return query if isinstance(query, str) else orjson.dumps(_query_to_json(query)).decode()


def _read_streams(path: Path) -> Iterator[Any]:
    """Yield the table of each Arrow stream in a file."""
    import pyarrow as pa

    with pa.OSFile(str(path)) as file:
        while file.tell() < file.size():
            with pa.ipc.open_stream(file) as reader:
                yield reader.read_all()


def _empty_schema(probabilities: bool) -> Any:  # noqa: ANN401  # pyarrow has no types
    import pyarrow as pa

    return pa.schema([("query", pa.string()), (PREDICTIONS, predictions_type(probabilities))])
