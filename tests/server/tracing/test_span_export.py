"""The queue and the thread of spans: what is dropped, counted and said when a collector does not keep up."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from astec.server.metrics.board import LAYOUT, SPAN_LOSSES, MetricsBoard
from astec.server.tracing.span_export import MAX_WAITING, SpanExport
from astec.server.tracing.trace_config import TraceConfig
from astec.server.tracing.tracer import Tracer
from tests.server.tracing.collector import PATIENCE_S, collecting

MODEL = ("model", "1")


class Exporting:
    """An export that runs, and a tracer that makes its spans."""

    def __init__(self, endpoint: str) -> None:
        self.board = MetricsBoard(1)
        config = TraceConfig(endpoint=endpoint)
        self.export = SpanExport(config, *MODEL, self.board.metrics(0))
        self.tracer = Tracer(config, self.export)
        self.tracer.start()

    def send(self, total: int) -> None:
        for _ in range(total):
            self.tracer.begin(b"GET", b"/healthz", []).end("/healthz", 200, 0.001)

    def counted(self) -> dict[str, float]:
        total = self.board.total()
        found = {reason: total[LAYOUT.spans_dropped[reason]] for reason in SPAN_LOSSES}
        return {"sent": total[LAYOUT.spans_exported], **{reason: count for reason, count in found.items() if count}}

    def until(self, is_done: Callable[[], bool]) -> None:
        give_up_s = time.monotonic() + PATIENCE_S
        while not is_done():
            assert time.monotonic() < give_up_s, self.counted()
            time.sleep(0.01)


@contextmanager
def exporting(endpoint: str) -> Iterator[Exporting]:
    one = Exporting(endpoint)
    try:
        yield one
    finally:
        one.tracer.stop()


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_spans_are_sent_in_batches(caplog: pytest.LogCaptureFixture) -> None:
    with collecting() as collector:
        with exporting(collector.url) as ours:
            ours.send(1300)
        assert ours.counted() == {"sent": 1300}
        assert len(collector.spans) == 1300
        assert len({received.span.span_id for received in collector.spans}) == 1300
        assert 3 <= collector.requests <= 6
    assert not warnings_in(caplog)


def test_a_full_queue_drops_the_newest_spans_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    with collecting() as collector:
        collector.delay_s = 1.0
        with exporting(collector.url) as ours:
            ours.send(1)
            collector.until(requests=1)
            ours.send(MAX_WAITING + 30)
            assert ours.counted()["queue_full"] == 30
            collector.delay_s = 0.0
            ours.until(lambda: ours.counted()["sent"] == MAX_WAITING + 1)
            ours.until(lambda: bool(warnings_in(caplog)))
            ours.send(5)
        assert ours.counted() == {"sent": MAX_WAITING + 6, "queue_full": 30}
    (warning,) = warnings_in(caplog)
    assert "30 so far (30 did not fit into the queue, 0 were not taken by" in warning
    assert "astec_spans_dropped_total" in warning


def test_spans_that_are_refused_are_counted_and_later_ones_sent(caplog: pytest.LogCaptureFixture) -> None:
    with collecting() as collector:
        collector.status = 401  # not worth another try
        with exporting(f"{collector.url}/traces?key=secret") as ours:
            ours.send(7)
            ours.until(lambda: ours.counted().get("export_failed") == 7)
            ours.send(7)
            ours.until(lambda: ours.counted().get("export_failed") == 14)
            collector.status = 200
            ours.send(2)
            ours.until(lambda: ours.counted()["sent"] == 2)
        assert ours.counted() == {"sent": 2, "export_failed": 14}
    (warning,) = warnings_in(caplog)
    assert f"7 were not taken by {collector.url}/traces: Failed to export spans batch code: 401" in warning
    assert "secret" not in warning


def test_what_waits_for_a_slow_collector_at_the_end_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    with collecting() as collector:
        collector.delay_s = 2 * PATIENCE_S
        with exporting(collector.url) as ours:
            ours.send(3)
            collector.until(requests=1)
            ours.send(4)
        assert ours.counted() == {"sent": 0, "shutdown": 7}
    assert warnings_in(caplog) == [f"7 spans were not sent to {collector.url} within 2 s"]


def test_the_port_for_grpc_is_told() -> None:
    with exporting("http://127.0.0.1:4317") as ours:
        assert ours.export._remedy() == "; 4317 is the port for gRPC, the one for HTTP is 4318"
    with exporting("http://127.0.0.1:4318") as ours:
        assert ours.export._remedy() == ""
