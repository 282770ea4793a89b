"""A pool of forked processes that score chunks of queries and share the memory pages of the artifact."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from queue import SimpleQueue
from typing import NamedTuple

from astec.export.artifact.text.bags import Query, QueryKindError
from astec.server.workers.worker_slots import fork

_CHUNKS_PER_WORKER = 3  # One is scored, one waits to be scored, one is written.


class ScoringProcessError(RuntimeError):
    """A scoring process ended early; the message has its exit code."""


class Chunk(NamedTuple):
    """Consecutive queries; `first_row` is the number of queries before them."""

    first_row: int
    queries: list[Query]


class ScoredChunk(NamedTuple):
    """The encoded predictions of a chunk, and its number of queries."""

    content: bytes
    num_queries: int


ScoreChunk = Callable[[Chunk], bytes]
"""Scores a chunk and returns its encoded predictions."""


class ScoringPool:
    """Gives each chunk to an idle process. `scoring_pool` makes it."""

    def __init__(self, workers: list[tuple[BaseProcess, Connection]]) -> None:
        self._size = len(workers)
        self._idle: SimpleQueue[tuple[BaseProcess, Connection]] = SimpleQueue()
        for worker in workers:
            self._idle.put(worker)

    def map(self, chunks: Iterable[Chunk]) -> Iterator[ScoredChunk]:
        """Yield the scored chunks in order; read only a few chunks ahead of the one that is yielded.

        Raises:
            QueryKindError: A query is not of the kind that the model takes.
            ScoringProcessError: A scoring process has died.
        """
        pending: deque[Future[ScoredChunk]] = deque()
        # Each thread waits for one process; threads compute nothing.
        with ThreadPoolExecutor(self._size) as threads:
            try:
                for chunk in chunks:
                    pending.append(threads.submit(self._score, chunk))
                    if len(pending) >= _CHUNKS_PER_WORKER * self._size:
                        yield pending.popleft().result()
                while pending:
                    yield pending.popleft().result()
            finally:
                for future in pending:
                    future.cancel()

    def _score(self, chunk: Chunk) -> ScoredChunk:
        process, connection = self._idle.get()
        try:
            connection.send(chunk)
            result: bytes | QueryKindError = connection.recv()
        except (EOFError, OSError):
            process.join()
            raise ScoringProcessError(
                f"A scoring process ended early, with exit code {process.exitcode}. "
                "If it was killed for its memory, pass fewer --workers; run the command again to go on."
            ) from None
        finally:
            self._idle.put((process, connection))
        if isinstance(result, QueryKindError):
            raise result
        return ScoredChunk(result, len(chunk.queries))


@contextmanager
def scoring_pool(start: Callable[[], ScoreChunk], size: int) -> Iterator[ScoringPool]:
    """Fork scoring processes, which end with the `with` block.

    Args:
        start: Called in each process; returns the function that scores a chunk there.
        size: Number of processes.

    Raises:
        RuntimeError: This process has several threads, and cannot be forked.
    """
    workers: list[tuple[BaseProcess, Connection]] = []
    try:
        for _ in range(size):
            ours, theirs = Pipe()
            # A process ends when the parent's end of its pipe is closed, so no process may keep a copy of any such end.
            to_close = [ours, *(connection for _, connection in workers)]
            workers.append((fork(_work, start, theirs, to_close), ours))
            theirs.close()
        yield ScoringPool(workers)
    finally:
        for _, connection in workers:
            connection.close()
        for process, _ in workers:
            process.join()


def _work(start: Callable[[], ScoreChunk], connection: Connection, to_close: list[Connection]) -> None:
    """Score the chunks that arrive on the connection, in a forked process, until the parent closes its end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C signals all processes; the parent ends the others.
    for other in to_close:
        other.close()
    score = start()
    while True:
        try:
            chunk: Chunk = connection.recv()
        except EOFError:
            return
        try:
            result: bytes | QueryKindError = score(chunk)
        except QueryKindError as error:
            result = error
        try:
            connection.send(result)
        except OSError:  # The parent has ended.
            return
