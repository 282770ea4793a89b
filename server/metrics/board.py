"""Prometheus metrics of all workers, in one piece of memory that they share.

A worker writes plain doubles into a row of its own, which takes a tenth of a microsecond and no lock; any worker reads
all rows when it is asked for the exposition.
"""

from __future__ import annotations

import math
import os
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import accumulate, product
from mmap import mmap
from typing import Literal, get_args

import numpy as np
from prometheus_client import CollectorRegistry, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from astec.server.metrics.stage_times import StageTimes
from astec.server.system.process_memory import process_memory
from astec.server.workers.rollout import OUTCOMES, Outcome

# Five buckets a decade from 50 microseconds to 5 seconds: a prediction takes well under the library's first bucket.
LATENCY_BUCKETS_S = tuple(float(f"{50e-6 * 10 ** (step / 5):.3g}") for step in range(26))
BATCH_SIZE_BUCKETS = tuple(float(2**power) for power in range(11))

ShedReason = Literal["queue_full", "deadline", "draining", "client_left", "rate_limited"]
SHED_REASONS: tuple[ShedReason, ...] = get_args(ShedReason)
STAGES = ("featurize", "encode", "shortlist", "score")

# A row has a place for each of these, so they are fixed. What is none of them counts as "other".
OTHER = "other"
ROUTES = (
    "/predict",
    "/predict/stream",
    "/",
    "/healthz",
    "/readyz",
    "/metrics",
    "/v1/model",
    "/v1/model/reload",
    "/v2",
    "/v2/health/live",
    "/v2/health/ready",
    "/v2/models/{name}",
    "/v2/models/{name}/ready",
    "/v2/models/{name}/infer",
    "/v2/models/{name}/versions/{version}",
    "/v2/models/{name}/versions/{version}/ready",
    "/v2/models/{name}/versions/{version}/infer",
    OTHER,
)
STATUSES = (200, 202, 400, 401, 403, 404, 405, 408, 413, 422, 429, 431, 499, 500, 503, 504)

# A `_created` series beside every other one says when it began; nothing here needs to know.
disable_created_metrics()  # type: ignore[no-untyped-call]


class _HistogramCells:
    """Where a histogram lies in a row: a cell for each bucket, not cumulated, the last of them open, and the sum."""

    def __init__(self, begin: int, bounds: tuple[float, ...]) -> None:
        self.begin = begin
        self.bounds = bounds
        self.sum = begin + len(bounds) + 1
        self.end = self.sum + 1

    def observe(self, row: memoryview[float], value: float) -> None:
        row[self.begin + bisect_left(self.bounds, value)] += 1
        row[self.sum] += value

    def buckets(self, row: Sequence[float]) -> list[tuple[str, float]]:
        """Return Prometheus' cumulated buckets, by upper bound."""
        names = [floatToGoString(bound) for bound in (*self.bounds, math.inf)]  # type: ignore[no-untyped-call]
        return list(zip(names, accumulate(row[self.begin : self.sum]), strict=True))


class _Layout:
    """Which cell of a row is what. The same in every process, as it follows from the constants above."""

    def __init__(self) -> None:
        self._end = 0
        # Gauges: they describe the living, so they lie together to be erased together.
        self.pid, self.queue_length, self.filtered_queue_length, self.cache_entries = self._cells(4)
        self.gauges = self._end
        self.queries, self.empty, self.cache_hits, self.cache_misses = self._cells(4)
        kinds: list[tuple[str, int | str]] = list(product(ROUTES, (*STATUSES, OTHER)))
        self.requests = dict(zip(kinds, self._cells(len(kinds)), strict=True))
        self.worker_deaths, *reloads = self._cells(1 + len(OUTCOMES))
        self.reloads = dict(zip(OUTCOMES, reloads, strict=True))
        self.shed = dict(zip(SHED_REASONS, self._cells(len(SHED_REASONS)), strict=True))
        self.request_s = {route: self._histogram(LATENCY_BUCKETS_S) for route in ROUTES}
        self.stage_s = {stage: self._histogram(LATENCY_BUCKETS_S) for stage in STAGES}
        self.queue_s = self._histogram(LATENCY_BUCKETS_S)
        self.batch_size = self._histogram(BATCH_SIZE_BUCKETS)
        self.cells = self._end

    def _cells(self, count: int) -> range:
        begin, self._end = self._end, self._end + count
        return range(begin, self._end)

    def _histogram(self, bounds: tuple[float, ...]) -> _HistogramCells:
        histogram = _HistogramCells(self._end, bounds)
        self._end = histogram.end
        return histogram


_LAYOUT = _Layout()
_CELL_BYTES = 8


class MetricsBoard:
    """The shared memory: a row per worker, and one of their parent's. Made before the workers are forked.

    Args:
        slots: The most workers that there are at a time.
    """

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._memory = memoryview(mmap(-1, (slots + 1) * _LAYOUT.cells * _CELL_BYTES)).cast("d")
        self._parent = self.row(slots)

    def metrics(self, slot: int) -> Metrics:
        """Return the metrics that the worker in `slot` writes; one that replaces another goes on counting where it was.

        Raises:
            ValueError: There is no such slot.
        """
        if not 0 <= slot < self.slots:
            raise ValueError(f"slot {slot} is not one of the {self.slots} slots of the board")
        return Metrics(self, self.row(slot))

    def retire(self, slot: int, died: bool = False) -> None:
        """Erase the gauges of a worker that ended; its counters stay, for they must never go down."""
        self._parent[_LAYOUT.worker_deaths] += died
        row = self.row(slot)
        for cell in range(_LAYOUT.gauges):
            row[cell] = 0

    def reloaded(self, outcome: Outcome) -> None:
        """Record how a replacement of the workers went."""
        self._parent[_LAYOUT.reloads[outcome]] += 1

    def row(self, slot: int) -> memoryview[float]:
        """Return the cells of one worker."""
        return self._memory[slot * _LAYOUT.cells : (slot + 1) * _LAYOUT.cells]

    def total(self) -> list[float]:
        """Return the sum over the workers, cell by cell."""
        total: list[float] = np.asarray(self._memory).reshape(self.slots + 1, _LAYOUT.cells).sum(axis=0).tolist()
        return total

    def pids(self) -> dict[int, int]:
        """Return the process id of each worker that serves, by slot."""
        found = {slot: int(self.row(slot)[_LAYOUT.pid]) for slot in range(self.slots)}
        return {slot: pid for slot, pid in found.items() if pid}


class Metrics:
    """What one worker counts; also the batcher's observer. Belongs to one thread, the event loop's."""

    def __init__(self, board: MetricsBoard, row: memoryview[float]) -> None:
        self._board = board
        self._row = row
        self._model: tuple[str, str] | None = None

    def serving(self, name: str, version: str) -> None:
        """Record which model is served, and by which process."""
        self._model = (name, version)
        self._row[_LAYOUT.pid] = os.getpid()

    def request_answered(self, route: str, status: int, seconds: float) -> None:
        """Record a request; a route or status that is not known in advance counts as "other"."""
        if route not in _LAYOUT.request_s:
            route = OTHER
        known = _LAYOUT.requests
        self._row[known[route, status] if (route, status) in known else known[route, OTHER]] += 1
        _LAYOUT.request_s[route].observe(self._row, seconds)

    def request_refused(self, route: str, status: int) -> None:
        """Record what was refused before it was a request, so that it has no time."""
        self._row[_LAYOUT.requests[route, status]] += 1

    def queries_ranked(self, total: int, empty: int) -> None:
        """Record ranked queries, `empty` of them without any label."""
        self._row[_LAYOUT.queries] += total
        self._row[_LAYOUT.empty] += empty

    def queries_shed(self, reason: ShedReason, total: int) -> None:
        """Record queries that were turned away or given up."""
        self._row[_LAYOUT.shed[reason]] += total

    def cache_asked(self, hits: int, misses: int, entries: int) -> None:
        """Record how many queries the cache knew and did not know, and how many answers it holds."""
        self._row[_LAYOUT.cache_hits] += hits
        self._row[_LAYOUT.cache_misses] += misses
        self._row[_LAYOUT.cache_entries] = entries

    def batch_computed(self, times: StageTimes) -> None:
        """Record the stage times of one batch."""
        for cells, stage_s in zip(_LAYOUT.stage_s.values(), times, strict=True):
            cells.observe(self._row, stage_s)

    def queue_changed(self, length: int) -> None:
        """Record the number of queued queries."""
        self._row[_LAYOUT.queue_length] = length

    def filtered_queue_changed(self, length: int) -> None:
        """Record the number of queries that wait in the queue of those with a filter."""
        self._row[_LAYOUT.filtered_queue_length] = length

    def batch_formed(self, waits_s: Sequence[float]) -> None:
        """Record a new batch and how long each of its queries queued."""
        _LAYOUT.batch_size.observe(self._row, len(waits_s))
        for wait_s in waits_s:
            _LAYOUT.queue_s.observe(self._row, wait_s)

    def exposition(self) -> bytes:
        """Return the metrics of all workers in Prometheus' text format. Takes milliseconds; reads from /proc."""
        registry = CollectorRegistry()
        registry.register(_Exposition(self._board, self._model))
        PlatformCollector(registry)
        return generate_latest(registry)


class FilteredQueueMetrics:
    """The observer of the batcher of queries with a filter: their queue has a length of its own.

    Args:
        metrics: The worker's.
    """

    def __init__(self, metrics: Metrics) -> None:
        self.queue_changed = metrics.filtered_queue_changed
        self.batch_formed = metrics.batch_formed


class _Exposition(Collector):
    """The board as Prometheus' metric families: sums over the workers, but a series for each of their processes."""

    def __init__(self, board: MetricsBoard, model: tuple[str, str] | None) -> None:
        self._board = board
        self._model = model

    def collect(self) -> Iterator[Metric]:
        total = self._board.total()
        yield from _request_families(total)
        yield from _query_families(total)
        yield from _cache_families(total)
        model = GaugeMetricFamily("astec_model_info", "The model served.", labels=["name", "version"])
        if self._model is not None:
            model.add_metric(self._model, 1)
        yield model
        yield from _worker_families(total)
        yield from _process_families(self._board.pids())


def _request_families(total: Sequence[float]) -> Iterator[Metric]:
    requests = CounterMetricFamily("astec_requests", "Requests answered.", labels=["route", "status"])
    for (route, status), cell in _LAYOUT.requests.items():
        if total[cell]:
            requests.add_metric([route, str(status)], total[cell])
    yield requests
    request_s = HistogramMetricFamily("astec_request_seconds", "Time in the server.", labels=["route"])
    for route, cells in _LAYOUT.request_s.items():
        if any(total[cells.begin : cells.sum]):
            request_s.add_metric([route], cells.buckets(total), total[cells.sum])
    yield request_s


def _query_families(total: Sequence[float]) -> Iterator[Metric]:
    yield CounterMetricFamily("astec_queries", "Queries ranked.", value=total[_LAYOUT.queries])
    yield CounterMetricFamily(
        "astec_empty_answers", "Queries for which no label was found.", value=total[_LAYOUT.empty]
    )
    shed = CounterMetricFamily("astec_shed", "Queries turned away or given up.", labels=["reason"])
    for reason, cell in _LAYOUT.shed.items():
        if total[cell]:
            shed.add_metric([reason], total[cell])
    yield shed
    queue_s, batch_size = _LAYOUT.queue_s, _LAYOUT.batch_size
    yield HistogramMetricFamily(
        "astec_queue_seconds", "Time a query queued.", queue_s.buckets(total), total[queue_s.sum]
    )
    stage_s = HistogramMetricFamily("astec_stage_seconds", "Time of a batch per stage.", labels=["stage"])
    for stage, cells in _LAYOUT.stage_s.items():
        stage_s.add_metric([stage], cells.buckets(total), total[cells.sum])
    yield stage_s
    yield HistogramMetricFamily(
        "astec_batch_size", "Queries in a batch.", batch_size.buckets(total), total[batch_size.sum]
    )
    queued = total[_LAYOUT.queue_length] + total[_LAYOUT.filtered_queue_length]
    yield GaugeMetricFamily("astec_queue_length", "Queries waiting.", value=queued)


def _cache_families(total: Sequence[float]) -> Iterator[Metric]:
    yield CounterMetricFamily("astec_cache_hits", "Queries answered from the cache.", value=total[_LAYOUT.cache_hits])
    yield CounterMetricFamily(
        "astec_cache_misses", "Queries that the cache did not know.", value=total[_LAYOUT.cache_misses]
    )
    yield GaugeMetricFamily("astec_cache_entries", "Answers in the cache.", value=total[_LAYOUT.cache_entries])


def _worker_families(total: Sequence[float]) -> Iterator[Metric]:
    yield CounterMetricFamily(
        "astec_worker_deaths", "Workers that ended without being asked.", value=total[_LAYOUT.worker_deaths]
    )
    reloads = CounterMetricFamily("astec_reloads", "Replacements of all workers.", labels=["outcome"])
    for outcome, cell in _LAYOUT.reloads.items():
        reloads.add_metric([outcome], total[cell])
    yield reloads


def _process_families(pids: dict[int, int]) -> Iterable[Metric]:
    """The library's metrics of a process, for each worker, and its memory with shared pages divided by their users."""
    families: dict[str, Metric] = {}
    pss = GaugeMetricFamily("process_proportional_memory_bytes", "Proportional set size in bytes.", labels=["worker"])
    for slot, pid in pids.items():
        for single in ProcessCollector(pid=lambda pid=pid: pid, registry=None).collect():  # type: ignore[misc]
            family = families.setdefault(single.name, Metric(single.name, single.documentation, single.type))
            for sample in single.samples:
                family.add_sample(sample.name, {"worker": str(slot)}, sample.value)
        with suppress(OSError):  # Not every kernel tells, and a worker may have ended a moment ago.
            pss.add_metric([str(slot)], process_memory(pid).pss_bytes)
    return [*families.values(), pss]
