"""Scoring many queries, from the first to the last or from where an earlier run was interrupted."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.manifest import MANIFEST_FILE
from astec.export.artifact.scoring.calibrator import Calibrator
from astec.export.artifact.shortlist.allowed import Allowed
from astec.export.artifact.storage.atomic_files import sha256_of
from astec.export.artifact.store import Artifact
from astec.export.artifact.text.bags import Query, QueryKindError
from astec.export.console import console
from astec.export.readers import DataError, open_queries
from astec.server.engine.predictor import Predictor, Rankings
from astec.server.engine.ranking_json import NO_PROBABILITIES
from astec.server.engine.warmup import warm_predictor
from astec.server.offline.bulk.answer_formats import AnswerFormat
from astec.server.offline.bulk.options import Options
from astec.server.offline.bulk.part_file import open_part_file
from astec.server.offline.bulk.pool import Chunk, Score, ScoringPool, scoring_pool

CHUNK_QUERIES: Final = 1024
"""Larger batches are no faster. Part of what an output is made of, as each chunk of a .gz is compressed on its own."""
_FILTERED_QUERIES: Final = 8
"""Of a chunk at a time: each may need every label that is allowed, 8 bytes for each of them."""


class Source(NamedTuple):
    """Where queries come from: what opens them, and what tells them from others, as JSON has it."""

    open: Callable[[], Iterable[Query]]
    identity: Mapping[str, object]


def texts_source(texts: list[str]) -> Source:
    """Texts that are there already."""
    return Source(lambda: texts, {"texts": texts})


def file_source(path: Path, column: str | None) -> Source:
    """A file, as `open_queries` reads it; a changed one is another source.

    Raises:
        OSError: There is no such file.
    """
    status = path.stat()
    identity = {"input": str(path.resolve()), "input size": status.st_size, "input time": status.st_mtime_ns}
    return Source(partial(open_queries, path, column=column), identity | {"column": column})


class Job:
    """The answers to all queries of a source, in their order and in a format.

    Args:
        artifact: What ranks.
        source: The queries.
        options: What is asked about each query.
        answer_format: How answers are written.
    """

    def __init__(self, artifact: Artifact, source: Source, options: Options, answer_format: AnswerFormat) -> None:
        self._artifact = artifact
        self._source = source
        self._options = options
        self._format = answer_format

    def stream(self, workers: int) -> None:
        """Write the answers to stdout.

        Raises:
            DataError: A query cannot be read.
            QueryKindError: The model cannot take one.
            ScoringProcessError: A process has died.
        """
        with self._pool(workers) as pool:
            for answered in pool.map(_chunks(self._source.open(), 0)):
                sys.stdout.buffer.write(answered.content)
        sys.stdout.buffer.flush()

    def write(self, output: Path, workers: int, *, restart: bool) -> None:
        """Write the answers to a file, going on with those in its part file unless that is to `restart`.

        Raises:
            DataError, QueryKindError: As `stream`; nothing is left, as it would fail again.
            ScoringProcessError: A process has died.
            PartFileError: The part file is another's.
        """
        model = sha256_of(self._artifact.path / MANIFEST_FILE)
        identity = {"artifact": model, **self._options.identity(), **self._source.identity}
        with self._pool(workers) as pool, open_part_file(output, identity, restart) as part:
            if part.num_queries:
                console.print(f"going on after {part.num_queries:,} queries", markup=False, highlight=False)
            try:
                for answered in pool.map(_chunks(self._source.open(), part.num_queries)):
                    part.write(*answered)
            except (DataError, QueryKindError):
                part.discard()
                raise
            part.publish(self._format)

    def _pool(self, workers: int) -> AbstractContextManager[ScoringPool]:
        """Forked before anything begins threads, as pyarrow and the progress bar do."""
        # Compiled kernels take 50 MB, a copy in each process unless they are there before it is forked.
        warm_predictor(self._artifact)
        return scoring_pool(self._start, workers)

    def _start(self) -> Score:
        """Return what scores a chunk in one process, where the model's session is its own."""
        rank, probabilities = self._ranking(), self._probabilities()

        def score(chunk: Chunk) -> bytes:
            rankings = rank(chunk.queries)
            rankings.label_ids[rankings.scores < np.float32(self._options.min_score)] = -1
            labels = self._artifact.labels
            return self._format.encode(chunk.first_row, chunk.queries, rankings, probabilities(rankings.scores), labels)

        return score

    def _ranking(self) -> Callable[[Sequence[Query]], Rankings]:
        predictor, top_k, selection = Predictor(self._artifact), self._options.top_k, self._options.selection
        if selection is None or self._artifact.label_metadata is None:
            return lambda queries: predictor.rank(queries, top_k)[0]
        allowed = [Allowed(self._artifact.label_metadata.select(selection), top_k)] * _FILTERED_QUERIES

        def rank(queries: Sequence[Query]) -> Rankings:
            begins = range(0, len(queries), _FILTERED_QUERIES)
            parts = [queries[begin : begin + _FILTERED_QUERIES] for begin in begins]
            rankings = [predictor.rank(part, top_k, allowed[: len(part)])[0] for part in parts]
            return Rankings(*map(np.concatenate, zip(*rankings, strict=True)))

        return rank

    def _probabilities(self) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
        calibration = self._artifact.manifest.calibration
        if not self._options.probabilities or calibration is None:
            return lambda scores_BK: NO_PROBABILITIES
        return Calibrator.of(calibration).probabilities


def _chunks(queries: Iterable[Query], skipped: int) -> Iterator[Chunk]:
    """All queries but those in front that are `skipped`, which end a chunk."""
    iterator, first_row = islice(queries, skipped, None), skipped
    while batch := list(islice(iterator, CHUNK_QUERIES)):
        yield Chunk(first_row, batch)
        first_row += len(batch)
