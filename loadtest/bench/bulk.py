"""`astec-predict` on a file of many queries: its throughput, its memory, and its output when resumed after a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryFile
from time import perf_counter, sleep
from typing import IO, NamedTuple

import numpy as np

from astec.export.artifact.storage.atomic_files import sha256_of
from astec.export.artifact.store import open_artifact
from astec.export.artifact.text.bags import Query
from astec.loadtest.bench.in_process import BATCH_SIZES, TOP_K, batch_us
from astec.loadtest.bench.serving import children_of
from astec.loadtest.child_output import last_line
from astec.server.engine.warmup import warm_predictor
from astec.server.offline.bulk.part_file import JOURNAL_SUFFIX
from astec.server.system.process_memory import process_memory

_BATCHED_QUERIES = 50_000
_POLL_S = 0.02
_SAMPLE_S = 0.2
_FEWEST_SAMPLES = 3
_REMEDY = "score more queries (--bulk-queries)"
_STOP_TIMEOUT_S = 30


class BulkError(Exception):
    """A run of `astec-predict` that failed or was too short; the message is the last line of its output or a remedy."""


@dataclass(frozen=True, slots=True)
class Bulk:
    """The figures of `astec-predict` on a file.

    Attributes:
        num_queries: lines of the file.
        workers: processes that score.
        batch_us: microseconds per query in process, on one thread, in batches of the largest of `BATCH_SIZES`.
        start_s: seconds until scoring begins, when the model is opened, verified and warm.
        scoring_s: seconds from then until the end.
        memory_bytes: memory allocated by all its processes, sampled at even intervals while it scored; a page that
            forked processes share counts once for each.
        resumed_after: number of queries whose answers were on disk when a second run was killed.
        is_same: whether that second run, resumed, wrote the same output as the first.
    """

    num_queries: int
    workers: int
    batch_us: float
    start_s: float
    scoring_s: float
    memory_bytes: list[int]
    resumed_after: int
    is_same: bool

    @property
    def rate(self) -> float:
        """Queries per second, while scoring."""
        return self.num_queries / self.scoring_s

    @property
    def share(self) -> float:
        """The rate as a share of that of as many threads that score in process and write nothing."""
        return self.rate * self.batch_us / (1e6 * self.workers)

    @property
    def peaks_bytes(self) -> list[int]:
        """The largest memory samples of the first, the second and the last third of the time."""
        return [int(part.max()) for part in np.array_split(np.array(self.memory_bytes), 3)]

    @property
    def memory_growth(self) -> float:
        """The memory peak of the last third, divided by that of the first."""
        first, _, last = self.peaks_bytes
        return last / first


class _Files(NamedTuple):
    """The files that a run reads and writes."""

    queries: Path
    output: Path

    @property
    def journal(self) -> Path:
        return self.output.with_name(self.output.name + JOURNAL_SUFFIX)

    def queries_on_disk(self) -> int:
        """Return the number of queries of an unfinished run whose answers are on disk."""
        with suppress(FileNotFoundError):
            return int(json.loads(self.journal.read_bytes())["queries"])
        return 0


def measure_bulk(artifact: Path, queries: Sequence[Query], count: int, workers: int, folder: Path) -> Bulk:
    """Score a file of `count` queries, then score it again with a kill halfway and a resumption.

    Args:
        artifact: the model to score with.
        queries: texts, repeated until there are `count`.
        count: lines of the file.
        workers: processes that score.
        folder: an empty folder for files of about 500 bytes a query.

    Raises:
        BulkError: a run failed, or was too short to sample its memory or to be killed.
        ValueError: no query is a text.
    """
    texts = [text for query in queries if isinstance(query, str) and (text := " ".join(query.split()))]
    if not texts:
        raise ValueError("the data has no texts, and a file of queries is one of texts")
    predictor = warm_predictor(open_artifact(artifact))  # the command warms its predictors up too
    batched_us = batch_us(predictor, list(islice(cycle(texts), min(count, _BATCHED_QUERIES))), BATCH_SIZES[-1])
    files = _Files(folder / "queries.txt", folder / "answers.jsonl")
    with files.queries.open("w", encoding="utf-8") as stream:
        stream.writelines(f"{text}\n" for text in islice(cycle(texts), count))
    command = _command(artifact, files, workers)
    start_s, scoring_s, memory_bytes = _watch(command, files)
    if len(memory_bytes) < _FEWEST_SAMPLES:
        raise BulkError(f"its memory was sampled {len(memory_bytes)} times, which is too few; {_REMEDY}")
    whole = sha256_of(files.output)
    files.output.unlink()
    resumed_after = _kill_midway(command, files, scoring_s / 2)
    _watch(command, files)
    is_same = sha256_of(files.output) == whole
    return Bulk(count, workers, batched_us, start_s, scoring_s, memory_bytes, resumed_after, is_same)


def _command(artifact: Path, files: _Files, workers: int) -> list[str]:
    command = [sys.executable, "-m", "astec.server.offline.predict", str(artifact), "--input", str(files.queries)]
    return [*command, "--output", str(files.output), "--top-k", str(TOP_K), "--workers", str(workers)]


def _watch(command: list[str], files: _Files) -> tuple[float, float, list[int]]:
    """Run to the end; return the seconds before scoring, the seconds of scoring, and memory samples of the latter."""
    begun_s, samples = perf_counter(), list[int]()
    with _running(command) as (process, errors):
        while process.poll() is None and not files.journal.exists():
            sleep(_POLL_S)
        scoring_s = next_s = perf_counter()
        while process.poll() is None:
            if perf_counter() >= next_s:
                with suppress(OSError, KeyError):  # the process has just ended: its file is missing or empty
                    samples.append(_allocated_bytes(process.pid))
                next_s += _SAMPLE_S
            sleep(_POLL_S)
        ended_s = perf_counter()
        if process.returncode:
            raise BulkError(_last_error(errors))
    return scoring_s - begun_s, ended_s - scoring_s, samples


def _kill_midway(command: list[str], files: _Files, after_s: float) -> int:
    """Kill the run `after_s` seconds after scoring began; return how many queries have their answers on disk."""
    begun_s: float | None = None
    with _running(command) as (process, errors):
        while process.poll() is None:
            if begun_s is None and files.journal.exists():
                begun_s = perf_counter()
            if begun_s is not None and perf_counter() >= begun_s + after_s and files.queries_on_disk():
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(_STOP_TIMEOUT_S)
                return files.queries_on_disk()
            sleep(_POLL_S)
        raise BulkError(_last_error(errors) if process.returncode else f"it ended before it could be killed; {_REMEDY}")


@contextmanager
def _running(command: list[str]) -> Iterator[tuple[subprocess.Popen[bytes], IO[str]]]:
    """Run a command in a process group of its own, which is killed at the end; yield it and its error output."""
    with TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True)
        try:
            yield process, errors
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(_STOP_TIMEOUT_S)


def _allocated_bytes(pid: int) -> int:
    return sum(process_memory(process).anonymous_bytes for process in (pid, *children_of(pid)))


def _last_error(errors: IO[str]) -> str:
    errors.seek(0)
    return last_line(errors.read())
