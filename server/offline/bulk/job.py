"""The scoring of many queries, all of them or those that an interrupted run has left."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from astec.export.artifact.manifest import MANIFEST_FILE
from astec.export.artifact.storage.atomic_files import sha256_of
from astec.export.artifact.store import Artifact
from astec.export.artifact.text.bags import Query, QueryKindError
from astec.export.console import console
from astec.export.readers import DataError, open_queries
from astec.export.readers.read_options import AS_FOUND, ReadOptions
from astec.export.readers.streams.stored_file import is_piped, named_input, stored
from astec.server.engine.warmup import warm_predictor
from astec.server.offline.bulk.options import ScoringOptions
from astec.server.offline.bulk.output_formats import OutputFormat
from astec.server.offline.bulk.part_file import open_part_file
from astec.server.offline.bulk.pool import Chunk, ScoreChunk, ScoringPool, scoring_pool
from astec.server.offline.bulk.scorer import CHUNK_QUERIES, Scorer


class QuerySource(NamedTuple):
    """The source of the queries.

    Attributes:
        open: Opens the source and returns its queries, from the first on.
        identity: JSON values that differ between two sources with different queries.
    """

    open: Callable[[], Iterable[Query]]
    identity: Mapping[str, object]


def texts_source(texts: list[str]) -> QuerySource:
    """Return a source of given texts."""
    return QuerySource(lambda: texts, {"texts": texts})


def file_source(path: Path, column: str | None, options: ReadOptions = AS_FOUND) -> QuerySource:
    """Return a source that reads a file or pipe with `open_queries`; once the content changes, it is a different one.

    Raises:
        DataError: It is a terminal or another device, or there is no such file.
    """
    path = named_input(path)
    said = {"column": column, "delimiter": options.delimiter, "encoding": options.encoding}
    if is_piped(path):
        identity: dict[str, object] = {"input": "a pipe", "input content": sha256_of(stored(path))}
    else:
        try:
            status = path.stat()
        except OSError as error:
            problem = f"cannot be read ({error.strerror})"
            raise DataError(path, None, problem, "Pass a file that exists and may be read") from None
        identity = {"input": str(path.resolve()), "input size": status.st_size, "input time": status.st_mtime_ns}
    # What is not said is left out, so that a run which an older version began is continued.
    said = {name: value for name, value in said.items() if value is not None or name == "column"}
    return QuerySource(partial(open_queries, path, column=column, options=options), identity | said)


class ScoringJob:
    """The ranking of all queries of a source, written in their order.

    Args:
        artifact: The model.
        source: The queries.
        options: The options for each query.
        output_format: The format of the output.
    """

    def __init__(
        self, artifact: Artifact, source: QuerySource, options: ScoringOptions, output_format: OutputFormat
    ) -> None:
        self._artifact = artifact
        self._source = source
        self._options = options
        self._format = output_format

    def stream(self, workers: int) -> None:
        """Write the predictions to stdout.

        Raises:
            DataError: A query cannot be read.
            QueryKindError: A query is not of the kind that the model takes.
            ScoringProcessError: A scoring process has died.
        """
        with self._pool(workers) as pool:
            for scored in pool.map(_chunks(self._source.open(), 0)):
                sys.stdout.buffer.write(scored.content)
        sys.stdout.buffer.flush()

    def write(self, output: Path, workers: int, *, restart: bool) -> None:
        """Write the predictions to a file, after those that its part file has, unless `restart` is True.

        Raises:
            DataError, QueryKindError: As `stream`; the part file is removed, because continuing would fail again.
            ScoringProcessError: A scoring process has died.
            PartFileError: The part file belongs to another job, or another process writes it.
        """
        model = sha256_of(self._artifact.path / MANIFEST_FILE)
        identity = {"artifact": model, **self._options.identity(), **self._source.identity}
        with self._pool(workers) as pool, open_part_file(output, identity, restart) as part:
            if part.num_queries:
                console.print(f"going on after {part.num_queries:,} queries", markup=False, highlight=False)
            try:
                for scored in pool.map(_chunks(self._source.open(), part.num_queries)):
                    part.write(*scored)
            except (DataError, QueryKindError):
                part.discard()
                raise
            part.publish(self._format)

    def _pool(self, workers: int) -> AbstractContextManager[ScoringPool]:
        """Fork the scoring processes, before pyarrow or the progress bar starts threads in this process."""
        # Compiled kernels take 50 MB. If they are compiled before the processes are forked, the processes share them.
        warm_predictor(self._artifact)
        return scoring_pool(self._start, workers)

    def _start(self) -> ScoreChunk:
        """Return the function that scores a chunk, in a scoring process, with an onnxruntime session of its own."""
        scorer, labels = Scorer(self._artifact, self._options), self._artifact.labels

        def score(chunk: Chunk) -> bytes:
            return self._format.encode(chunk.first_row, chunk.queries, *scorer.score(chunk.queries), labels)

        return score


def _chunks(queries: Iterable[Query], skipped: int) -> Iterator[Chunk]:
    """Split the queries into chunks, without the first `skipped` ones, which end at the end of a chunk.

    The size of a chunk is part of the output: each chunk of a .gz is a member of its own.
    """
    iterator, first_row = islice(queries, skipped, None), skipped
    while batch := list(islice(iterator, CHUNK_QUERIES)):
        yield Chunk(first_row, batch)
        first_row += len(batch)
