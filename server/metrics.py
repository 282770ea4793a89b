"""Prometheus metrics. Works in one process and, with PROMETHEUS_MULTIPROC_DIR set, over all workers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from server.predictor import StageTimes
from server.settings import METRICS_DIRECTORY_VARIABLE

# Five buckets a decade from 50 microseconds to 5 seconds: a prediction takes well under the library's first bucket.
LATENCY_BUCKETS_S = tuple(float(f"{50e-6 * 10 ** (step / 5):.3g}") for step in range(26))
BATCH_SIZE_BUCKETS = tuple(float(2**power) for power in range(11))

ShedReason = Literal["queue_full", "deadline", "draining", "client_left"]


# A `_created` series beside every other one says when it began; nothing here needs to know.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """All metrics of one application; also the batcher's observer."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter("astec_requests", "Requests answered.", ["route", "status"], registry=registry)
        self._request_s = Histogram(
            "astec_request_seconds", "Time in the server.", ["route"], buckets=LATENCY_BUCKETS_S, registry=registry
        )
        self._queries = Counter("astec_queries", "Queries ranked.", registry=registry)
        self._empty = Counter("astec_empty_answers", "Queries for which no label was found.", registry=registry)
        self._shed = Counter("astec_shed", "Queries turned away or given up.", ["reason"], registry=registry)
        self._queue_s = Histogram(
            "astec_queue_seconds", "Time a query queued.", buckets=LATENCY_BUCKETS_S, registry=registry
        )
        stage_s = Histogram(
            "astec_stage_seconds", "Time of a batch per stage.", ["stage"], buckets=LATENCY_BUCKETS_S, registry=registry
        )
        self._featurize_s = stage_s.labels("featurize")
        self._encode_s = stage_s.labels("encode")
        self._shortlist_s = stage_s.labels("shortlist")
        self._score_s = stage_s.labels("score")
        self._batch_size = Histogram(
            "astec_batch_size", "Queries in a batch.", buckets=BATCH_SIZE_BUCKETS, registry=registry
        )
        self._queue_length = Gauge(
            "astec_queue_length", "Queries waiting.", multiprocess_mode="livesum", registry=registry
        )
        self._model = Gauge(
            "astec_model_info", "The model served.", ["name", "version"], multiprocess_mode="livemax", registry=registry
        )
        if METRICS_DIRECTORY_VARIABLE not in os.environ:
            # These describe one process, so they have no meaning in a sum over workers.
            ProcessCollector(registry=registry)
            PlatformCollector(registry=registry)
            GCCollector(registry=registry)

    def serving(self, name: str, version: str) -> None:
        """Record which model is served."""
        self._model.labels(name, version).set(1)

    def request_answered(self, route: str, status: int, seconds: float) -> None:
        """Record a request; `route` must be a route's template, never a path somebody made up."""
        self._requests.labels(route, str(status)).inc()
        self._request_s.labels(route).observe(seconds)

    def queries_ranked(self, total: int, empty: int) -> None:
        """Record ranked queries, `empty` of them without any label."""
        self._queries.inc(total)
        self._empty.inc(empty)

    def queries_shed(self, reason: ShedReason, total: int) -> None:
        """Record queries that were turned away or given up."""
        self._shed.labels(reason).inc(total)

    def batch_computed(self, times: StageTimes) -> None:
        """Record the stage times of one batch."""
        self._featurize_s.observe(times.featurize_s)
        self._encode_s.observe(times.encode_s)
        self._shortlist_s.observe(times.shortlist_s)
        self._score_s.observe(times.score_s)

    def queue_changed(self, length: int) -> None:
        """Record the number of queued queries."""
        self._queue_length.set(length)

    def batch_formed(self, waits_s: Sequence[float]) -> None:
        """Record a new batch and how long each of its queries queued."""
        self._batch_size.observe(len(waits_s))
        for wait_s in waits_s:
            self._queue_s.observe(wait_s)

    def exposition(self) -> bytes:
        """Return the metrics in Prometheus' text format, summed over the workers where there are several."""
        if METRICS_DIRECTORY_VARIABLE not in os.environ:
            return generate_latest(self._registry)
        workers = CollectorRegistry()
        MultiProcessCollector(workers)  # type: ignore[no-untyped-call]
        return generate_latest(workers)
