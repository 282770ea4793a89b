"""The answer log of a worker: a queue that never makes an answer wait, and a thread that writes."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Sequence
from threading import Event, Thread

from astec.server.answer_log.log_config import LogConfig
from astec.server.answer_log.log_file import LogFile, rename_lines, write_parquet
from astec.server.answer_log.record_encoder import Answered, Model, RecordEncoder
from astec.server.answer_log.sampling import Sample
from astec.server.engine.rank_request import RankRequest, RankResult
from astec.server.metrics.board import Metrics

logger = logging.getLogger(__name__)

MAX_WAITING_BYTES = 32 << 20
"""The most memory, by a rough estimate, of the answers that wait to be written."""

_PAUSE_S = 0.2
_BLOCK_BYTES = 256 << 10
# The thread must not hold Python's global lock for long, nor often: it writes a few records, a twentieth of a
# millisecond, and then leaves the lock to the event loop for several times as long.
_SLICE = 4
_SLICE_PAUSE_S = 200e-6
_MAX_STOP_S = 2.5
_QUIET_S = 600.0  # between two warnings
_RECORD_BYTES, _LABEL_BYTES, _FEATURE_BYTES = 500, 100, 8


class AnswerLog:
    """Writes what was asked and answered into the files of one worker.

    `add` belongs to the event loop. It only appends to a queue; the thread parses answers, compresses and writes. If it
    cannot keep up, or the disk is slow or full, records are dropped and counted; no answer waits for a record.

    Args:
        config: What is logged, and where.
        models: The models that answer, in the order in which requests name them.
        metrics: Where records are counted.
        worker_id: The worker that answers.
    """

    def __init__(self, config: LogConfig, models: Sequence[Model], metrics: Metrics, worker_id: int) -> None:
        self._config = config
        self._metrics = metrics
        self._worker_id = worker_id
        self._encoder = RecordEncoder(models, worker_id, config.queries, config.key)
        self._sample = Sample(config.share)
        self._finish = write_parquet if config.format == "parquet" else rename_lines
        self._waiting: deque[tuple[Answered, int]] = deque()
        # Each of these is written by one thread only.
        self._added_bytes = self._taken_bytes = 0
        self._refused = self._failed = 0
        self._warned_of = 0
        self._quiet_until_s = 0.0
        self._file: LogFile | None = None
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="answer log", daemon=True)

    def start(self) -> None:
        """Start the thread. Called after the fork."""
        if self._config.format == "parquet":
            import pyarrow.json
            import pyarrow.parquet  # noqa: F401  (to load them takes too long to do so beside answers)
        self._thread.start()

    def add(self, request_id: bytes, requests: Sequence[RankRequest], results: Sequence[RankResult]) -> None:
        """Queue the records of a request, if it is one of the sample; drop and count them if the queue is full."""
        if not self._sample.has(request_id):
            return
        size = sum([_bytes_of(request, result) for request, result in zip(requests, results, strict=True)])
        if self._added_bytes - self._taken_bytes + size > MAX_WAITING_BYTES:
            self._refused += len(requests)
            self._metrics.answers_not_logged("queue_full", len(requests))
            return
        self._added_bytes += size
        self._waiting.append((Answered(time.time(), request_id, requests, results), size))

    def stop(self) -> None:
        """Write all that waits, finish the file and end the thread; give up after a few seconds. Blocks."""
        self._stopping.set()
        self._thread.join(_MAX_STOP_S)
        if self._thread.is_alive():
            logger.warning("the answer log was not written to its end within %g s", _MAX_STOP_S)

    def _run(self) -> None:
        goes_on = True
        while goes_on:
            goes_on = not self._stopping.wait(_PAUSE_S)
            try:
                self._write_waiting()
                if self._file is not None and (self._is_complete(self._file) or not goes_on):
                    self._finish_file()
                self._warn_if_dropped()
            except Exception:
                logger.exception("the answer log failed, and goes on")

    def _write_waiting(self) -> None:
        while self._waiting:
            lines, records = self._next_block()
            try:
                if self._file is None:
                    self._file = LogFile(self._config.folder, self._worker_id)
                self._file.append(lines)
            except OSError as error:
                self._drop(records, error)
                continue
            self._metrics.answers_logged(records)
            if self._is_complete(self._file):
                self._finish_file()

    def _next_block(self) -> tuple[bytes, int]:
        """Take answers from the queue, as many as fill a block, and return their lines and the number of records."""
        blocks: list[bytes] = []
        num_bytes = num_records = 0
        while self._waiting and num_bytes < _BLOCK_BYTES:
            taken: list[Answered] = []
            while self._waiting and sum([len(answered.requests) for answered in taken]) < _SLICE:
                answered, size = self._waiting.popleft()
                taken.append(answered)
                self._taken_bytes += size
            lines, records = self._encoder.encode(taken)
            blocks.append(lines)
            num_bytes, num_records = num_bytes + len(lines), num_records + records
            if not self._stopping.is_set():
                time.sleep(_SLICE_PAUSE_S)
        return b"".join(blocks), num_records

    def _is_complete(self, file: LogFile) -> bool:
        return file.num_bytes >= self._config.max_bytes or file.age_s >= self._config.max_age_s

    def _finish_file(self) -> None:
        file, self._file = self._file, None
        if file is None:
            return
        try:
            file.finish(self._finish)
        except Exception as error:  # of pyarrow, too
            logger.warning("a file of the answer log stays a .part file: %s", error)

    def _drop(self, records: int, error: OSError) -> None:
        """Count records that could not be written, and go on with another file: this one may be at its limit."""
        self._failed += records
        self._metrics.answers_not_logged("write_failed", records)
        self._warn_if_dropped(f"{error.strerror}: ")
        self._finish_file()

    def _warn_if_dropped(self, reason: str = "") -> None:
        dropped, now_s = self._refused + self._failed, time.monotonic()
        if dropped == self._warned_of or now_s < self._quiet_until_s:
            return
        self._warned_of, self._quiet_until_s = dropped, now_s + _QUIET_S
        logger.warning(
            "%sanswers are sent, but their records are dropped: %d so far (%d did not fit into the queue, %d could not "
            "be written to %s); astec_answers_not_logged_total counts them",
            reason,
            dropped,
            self._refused,
            self._failed,
            self._config.folder,
        )


def _bytes_of(request: RankRequest, result: RankResult) -> int:
    query = request.query
    query_bytes = len(query) if isinstance(query, str) else _FEATURE_BYTES * len(query.ids)
    return _RECORD_BYTES + query_bytes + len(result.json) + _LABEL_BYTES * len(result.labels.texts)
