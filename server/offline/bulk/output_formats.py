"""How the answers to a chunk of queries are written: JSON Lines, CSV or Parquet, by the name of the output.

A chunk becomes bytes on its own, so that other processes do the work, and a file is its chunks one after the other.

Shapes: B queries, K ranks.
"""

from __future__ import annotations

import csv
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

CSV_COLUMNS: Final = ("row", "query", "rank", "label_id", "label", "score")
PROBABILITY: Final = "probability"
"""The last column, and the last member of a prediction, where probabilities are asked for."""
_GZIP_LEVEL: Final = 1  # A twelfth larger than by level 3, a fifth than by 6, which takes twice the time.
_CHUNKS_PER_ROW_GROUP: Final = 64


class OutputError(ValueError):
    """An output that cannot be written as its name asks for."""


class AnswerFormat(Protocol):
    """Writes chunks, in any process, and makes the output of them."""

    def encode(
        self,
        first_row: int,
        queries: Sequence[Query],
        rankings: Rankings,
        probabilities_BK: NDArray[np.float32],
        labels: TextTable,
    ) -> bytes:
        """Return a chunk: `queries` [B] are those from `first_row` on, counted from 0.

        There are `probabilities_BK`, or [0, 0] where nobody asks for them.
        """

    def publish(self, part: Path, target: Path) -> None:
        """Make `target` of a file with all chunks, which is then no more; all at once, by a rename."""


class JsonLines:
    """A line `{"query", "predictions"}` for each query."""

    def encode(
        self,
        first_row: int,
        queries: Sequence[Query],
        rankings: Rankings,
        probabilities_BK: NDArray[np.float32],
        labels: TextTable,
    ) -> bytes:
        """Return the lines."""
        arrays = _arrays(rankings, probabilities_BK, labels)
        lines = zip(map(orjson.dumps, map(_shown, queries)), arrays, strict=True)
        return b"".join([b'{"query":%b,"predictions":%b}\n' % line for line in lines])

    def publish(self, part: Path, target: Path) -> None:
        """Rename."""
        part.replace(target)


class Csv:
    """A row for each label of each query; of a query without labels one whose fields are empty from `rank` on."""

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
        """Return the rows, the first ones behind the names of the columns."""
        text = io.StringIO()
        # Every text in quotes: Python leaves them out around a carriage return, which other readers take for an end.
        writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
        if first_row == 0:
            writer.writerow(self._columns)
        arrays, members = _arrays(rankings, probabilities_BK, labels), self._columns[3:]
        for row, (query, array) in enumerate(zip(queries, arrays, strict=True), first_row + 1):
            shown = _text_of(query)
            hits: list[tuple[object, ...]] = [
                (row, shown, rank, *(hit[member] for member in members))
                for rank, hit in enumerate(orjson.loads(array), 1)
            ]
            writer.writerows(hits or [(row, shown, "", *[""] * len(members))])
        return text.getvalue().encode()

    def publish(self, part: Path, target: Path) -> None:
        """Rename."""
        part.replace(target)


class Gzipped:
    """Another format, each chunk compressed on its own: a gzip file may have many members."""

    def __init__(self, plain: AnswerFormat) -> None:
        self._plain = plain

    def encode(
        self,
        first_row: int,
        queries: Sequence[Query],
        rankings: Rankings,
        probabilities_BK: NDArray[np.float32],
        labels: TextTable,
    ) -> bytes:
        """Return a member, the same whenever it is made."""
        plain = self._plain.encode(first_row, queries, rankings, probabilities_BK, labels)
        return gzip.compress(plain, _GZIP_LEVEL, mtime=0)

    def publish(self, part: Path, target: Path) -> None:
        """Rename."""
        self._plain.publish(part, target)


class Parquet:
    """A row `query`, `predictions` (a list of `label_id`, `label`, `score`, perhaps `probability`) for each query.

    Parquet has its table of contents at its end and cannot be continued, so until then the chunks are Arrow streams.
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
        """Return an Arrow stream."""
        import pyarrow as pa

        is_hit_BK = rankings.label_ids >= 0
        ids = rankings.label_ids[is_hit_BK]
        offsets = np.concatenate([[0], np.cumsum(np.count_nonzero(is_hit_BK, axis=1))]).astype(np.int32)
        texts = pa.array([labels[label] for label in ids.tolist()], pa.string())
        members = {"label_id": pa.array(ids), "label": texts, "score": pa.array(rankings.scores[is_hit_BK])}
        if self._probabilities:
            members[PROBABILITY] = pa.array(probabilities_BK[is_hit_BK])
        hits = pa.StructArray.from_arrays(list(members.values()), list(members))
        columns = {
            "query": pa.array(map(_text_of, queries), pa.string()),
            "predictions": pa.ListArray.from_arrays(pa.array(offsets), hits),
        }
        batch = pa.RecordBatch.from_pydict(columns)
        stream = io.BytesIO()
        with pa.ipc.new_stream(stream, batch.schema) as writer:
            writer.write_batch(batch)
        return stream.getvalue()

    def publish(self, part: Path, target: Path) -> None:
        """Rewrite the streams as row groups, beside the target, and rename that."""
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


def format_of(output: Path, probabilities: bool) -> AnswerFormat:
    """Return the format that a name asks for: .csv, .parquet or else JSON Lines, compressed where .gz follows.

    Args:
        output: What is written.
        probabilities: Whether it has a place for them.

    Raises:
        OutputError: Parquet without pyarrow, or Parquet that shall be compressed once more.
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
    written: AnswerFormat = Csv(probabilities) if plain.endswith(".csv") else JsonLines()
    return written if plain == name else Gzipped(written)


def _arrays(rankings: Rankings, probabilities_BK: NDArray[np.float32], labels: TextTable) -> list[bytes]:
    """The JSON array of each query's labels, as the server writes it."""
    num_queries, num_ranks = rankings.label_ids.shape
    return to_json(rankings, [num_ranks] * num_queries, [0.0] * num_queries, labels, probabilities_BK)


def _shown(query: Query) -> object:
    """A query as it is sent to the server."""
    return query if isinstance(query, str) else {"ids": query.ids.tolist(), "weights": query.weights.tolist()}


def _text_of(query: Query) -> str:
    """A query as one field: feature ids and weights as JSON."""
    return query if isinstance(query, str) else orjson.dumps(_shown(query)).decode()


def _read_streams(path: Path) -> Iterator[Any]:
    """The table of each of the Arrow streams in a file."""
    import pyarrow as pa

    with pa.OSFile(str(path)) as file:
        while file.tell() < file.size():
            with pa.ipc.open_stream(file) as reader:
                yield reader.read_all()


def _empty_schema(probabilities: bool) -> Any:  # noqa: ANN401  # pyarrow has no types
    import pyarrow as pa

    members = [("label_id", pa.int64()), ("label", pa.string()), ("score", pa.float32())]
    members += [(PROBABILITY, pa.float32())] * probabilities
    return pa.schema([("query", pa.string()), ("predictions", pa.list_(pa.struct(members)))])
