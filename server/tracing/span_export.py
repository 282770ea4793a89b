"""The export of a worker's spans: a queue that never makes an answer wait, and a thread that sends."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Sequence
from threading import Event, Thread
from urllib.parse import urlsplit

from astec.server.metrics.board import Metrics
from astec.server.metrics.exemplars import Exemplar
from astec.server.tracing.otlp_spans import (
    EXPORTER_LOGGER,
    STATE_LOGGER,
    OTLPSpanExporter,
    SpanBatch,
    SpanConverter,
    make_exporter,
    sent,
)
from astec.server.tracing.request_span import RequestSpan
from astec.server.tracing.trace_config import TraceConfig

logger = logging.getLogger(__name__)

MAX_WAITING = 8192
"""The most spans that wait to be sent."""
MAX_BATCH = 512
"""The most spans that are sent at once."""

_PAUSE_S = 0.5
_MAX_STOP_S = 2.0
_STOP_TICK_S = 0.02
_QUIET_S = 600.0  # between two warnings
_MAX_REASON_CHARS = 300
_GRPC_PORT = 4317


class _Failure(logging.Filter):
    """Keeps out of the log what the exporter says of each try, and remembers why spans are not taken.

    Attributes:
        reason: The first message since a batch was taken, which has the cause; empty: there was none.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reason = ""

    def filter(self, record: logging.LogRecord) -> bool:
        self.note(record.getMessage())
        return False

    def note(self, reason: str) -> None:
        self.reason = self.reason or reason[:_MAX_REASON_CHARS]


class SpanExport:
    """Sends the spans of one worker to a collector.

    `add` belongs to the event loop. It only appends to a queue; the thread makes spans of OpenTelemetry, encodes and
    sends them. If the collector is slow or down, spans are dropped and counted; no answer waits for a span.

    Args:
        config: The configuration of tracing.
        model_name: Name of the model that answers.
        model_version: Version of the model.
        metrics: Where spans are counted.
    """

    def __init__(self, config: TraceConfig, model_name: str, model_version: str, metrics: Metrics) -> None:
        self._config = config
        self._model = (model_name, model_version)
        self._metrics = metrics
        self._waiting: deque[RequestSpan] = deque()
        # Each of these is written by one thread only.
        self._refused = self._failed = 0
        self._in_flight = 0
        self._warned_of = 0
        self._quiet_until_s = 0.0
        self._failure = _Failure()
        self._gave_up = False
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="span export", daemon=True)

    def start(self) -> None:
        """Start the thread. Called after the fork."""
        logging.getLogger(EXPORTER_LOGGER).addFilter(self._failure)
        logging.getLogger(STATE_LOGGER).setLevel(logging.ERROR)  # Any client could fill the log with invalid headers.
        self._exporter: OTLPSpanExporter = make_exporter(self._config.endpoint)
        self._converter = SpanConverter(self._model, self._config.root_path)
        self._thread.start()

    def add(self, span: RequestSpan) -> None:
        """Queue a span that has ended; drop and count it if the queue is full."""
        if len(self._waiting) >= MAX_WAITING:
            self._refused += 1
            self._metrics.spans_dropped("queue_full", 1)
            return
        self._waiting.append(span)

    def stop(self) -> None:
        """Send all that waits, and end the thread; give up after two seconds. Blocks.

        A collector that does not take a batch is not asked again: a stopping server does not wait for it.
        """
        self._stopping.set()
        give_up_s = time.monotonic() + _MAX_STOP_S
        while self._thread.is_alive() and not self._failure.reason and time.monotonic() < give_up_s:
            self._thread.join(_STOP_TICK_S)
        # Ends its waiting for the next try; it refuses all further batches at once.
        self._exporter.shutdown()  # type: ignore[no-untyped-call]
        self._thread.join(max(0.0, give_up_s - time.monotonic()))
        if self._thread.is_alive():
            self._gave_up, lost = True, len(self._waiting) + self._in_flight
            self._metrics.spans_dropped("shutdown", lost)
            logger.warning("%d spans were not sent to %s within %g s", lost, self._collector(), _MAX_STOP_S)
        else:
            logging.getLogger(EXPORTER_LOGGER).removeFilter(self._failure)

    def _run(self) -> None:
        goes_on = True
        while goes_on:
            goes_on = not self._stopping.wait(_PAUSE_S)
            while self._waiting and not self._gave_up:
                batch = [self._waiting.popleft() for _ in range(min(MAX_BATCH, len(self._waiting)))]
                self._in_flight = len(batch)
                self._send(batch)
                self._in_flight = 0
            self._warn_if_dropped()

    def _send(self, batch: Sequence[RequestSpan]) -> None:
        """Send a batch, for as long as the exporter tries (OTEL_EXPORTER_OTLP_TIMEOUT, 10 s)."""
        try:
            is_sent = sent(self._exporter.export(SpanBatch(batch, self._converter, not self._stopping.is_set())))
        except Exception as error:  # of the exporter, or of a library below it
            self._failure.note(f"{type(error).__name__}: {error}")
            is_sent = False
        if self._gave_up:
            return
        if is_sent:
            self._failure.reason = ""
            self._metrics.spans_exported(len(batch))
            self._keep_exemplars(batch)
        else:
            self._failed += len(batch)
            self._metrics.spans_dropped("export_failed", len(batch))
            self._warn_if_dropped()

    def _keep_exemplars(self, batch: Sequence[RequestSpan]) -> None:
        """Make requests exemplars of their latency, now that the collector has their traces."""
        # A request that was refused by its head has no time and is not in the histogram, nor are calls over gRPC.
        timed = [span for span in batch if span.seconds and not span.rpc_code]
        latest = {self._metrics.exemplar_place(span.route, span.seconds): span for span in timed}
        for place, span in latest.items():
            time_s = span.begun_ns / 1e9 + span.seconds
            self._metrics.request_traced(place, Exemplar(span.hex_id(), span.seconds, time_s))

    def _warn_if_dropped(self) -> None:
        dropped, now_s = self._refused + self._failed, time.monotonic()
        if dropped == self._warned_of or now_s < self._quiet_until_s:
            return
        self._warned_of, self._quiet_until_s = dropped, now_s + _QUIET_S
        reason = f": {self._failure.reason}" if self._failure.reason else ""
        logger.warning(
            "requests are answered, but their spans are dropped: %d so far (%d did not fit into the queue, %d were not "
            "taken by %s%s)%s; astec_spans_dropped_total counts them",
            dropped,
            self._refused,
            self._failed,
            self._collector(),
            reason,
            self._remedy(),
        )

    def _remedy(self) -> str:
        """Return what is probably wrong with the URL; empty: nothing is known."""
        is_grpc = urlsplit(self._config.endpoint).port == _GRPC_PORT
        return f"; {_GRPC_PORT} is the port for gRPC, the one for HTTP is {_GRPC_PORT + 1}" if is_grpc else ""

    def _collector(self) -> str:
        """Return the URL of the collector without a query string, which may hold a key."""
        return self._config.endpoint.partition("?")[0]
