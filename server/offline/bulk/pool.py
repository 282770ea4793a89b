"""Forked processes that score chunks of queries, and share every page of the artifact."""

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

_CHUNKS_PER_WORKER = 3  # One is computed, one waits for its turn, one is written.


class ScoringProcessError(RuntimeError):
    """A process that scores ended although nobody had asked it to."""


class Chunk(NamedTuple):
    """Consecutive queries; `first_row` is the number of those before them."""

    first_row: int
    queries: list[Query]


class Answered(NamedTuple):
    """The answers to a chunk, as they are written, and how many they are."""

    content: bytes
    num_queries: int


Score = Callable[[Chunk], bytes]


class ScoringPool:
    """Hands chunks to whichever process is idle. Made by `scoring_pool`."""

    def __init__(self, workers: list[tuple[BaseProcess, Connection]]) -> None:
        self._size = len(workers)
        self._idle: SimpleQueue[tuple[BaseProcess, Connection]] = SimpleQueue()
        for worker in workers:
            self._idle.put(worker)

    def map(self, chunks: Iterable[Chunk]) -> Iterator[Answered]:
        """Yield the answers in the order of the chunks, of which no more are read than are soon scored.

        Raises:
            QueryKindError: For a query that the model cannot read.
            ScoringProcessError: A process has died.
        """
        under_way: deque[Future[Answered]] = deque()
        # Threads that wait for a process each; they compute nothing.
        with ThreadPoolExecutor(self._size) as threads:
            try:
                for chunk in chunks:
                    under_way.append(threads.submit(self._ask, chunk))
                    if len(under_way) >= _CHUNKS_PER_WORKER * self._size:
                        yield under_way.popleft().result()
                while under_way:
                    yield under_way.popleft().result()
            finally:
                for unwanted in under_way:
                    unwanted.cancel()

    def _ask(self, chunk: Chunk) -> Answered:
        process, connection = self._idle.get()
        try:
            connection.send(chunk)
            answer: bytes | QueryKindError = connection.recv()
        except (EOFError, OSError):
            process.join()
            raise ScoringProcessError(
                f"A scoring process ended early, with exit code {process.exitcode}. "
                "If it was killed for its memory, pass fewer --workers; run the command again to go on."
            ) from None
        finally:
            self._idle.put((process, connection))
        if isinstance(answer, QueryKindError):
            raise answer
        return Answered(answer, len(chunk.queries))


@contextmanager
def scoring_pool(start: Callable[[], Score], size: int) -> Iterator[ScoringPool]:
    """Processes that score, until the end of the block.

    Args:
        start: Called in each process, returns what scores a chunk there.
        size: Number of processes.

    Raises:
        RuntimeError: This process has several threads, and cannot be forked.
    """
    workers: list[tuple[BaseProcess, Connection]] = []
    try:
        for _ in range(size):
            ours, theirs = Pipe()
            # A process that held a copy of our end would never see that we are no more.
            not_theirs = [ours, *(connection for _, connection in workers)]
            workers.append((fork(_work, start, theirs, not_theirs), ours))
            theirs.close()
        yield ScoringPool(workers)
    finally:
        for _, connection in workers:
            connection.close()
        for process, _ in workers:
            process.join()


def _work(start: Callable[[], Score], connection: Connection, not_ours: list[Connection]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of us, and the parent decides.
    for other in not_ours:
        other.close()
    score = start()
    while True:
        try:
            chunk: Chunk = connection.recv()
        except EOFError:
            return
        try:
            answer: bytes | QueryKindError = score(chunk)
        except QueryKindError as error:
            answer = error
        try:
            connection.send(answer)
        except OSError:  # The parent is no more.
            return
