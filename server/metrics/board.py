"""The counters and gauges of all workers, in memory that they share.

A worker writes plain doubles into its own rows, one for each model, which takes a tenth of a microsecond and no lock.
Any worker can read all rows, as `exposition` does to answer `/metrics`.
"""

from __future__ import annotations

import math
import os
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import product
from mmap import mmap
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.signals.histograms import Histograms
from astec.export.artifact.signals.query_signals import BOUNDS
from astec.server.metrics.exemplars import Exemplar, Exemplars
from astec.server.metrics.stage_times import StageTimes
from astec.server.settings import MAX_UPSTREAMS
from astec.server.workers.rollout import OUTCOMES, Outcome

# Five buckets per decade, from 50 microseconds to 5 seconds. A prediction takes far less than the first default bucket
# of the Prometheus library.
LATENCY_BUCKETS_S = tuple(float(f"{50e-6 * 10 ** (step / 5):.3g}") for step in range(26))
BATCH_SIZE_BUCKETS = tuple(float(2**power) for power in range(11))

ShedReason = Literal["queue_full", "deadline", "draining", "client_left", "rate_limited"]
SHED_REASONS: tuple[ShedReason, ...] = get_args(ShedReason)
LogLoss = Literal["queue_full", "write_failed"]
LOG_LOSSES: tuple[LogLoss, ...] = get_args(LogLoss)
SpanLoss = Literal["queue_full", "export_failed", "shutdown"]
SPAN_LOSSES: tuple[SpanLoss, ...] = get_args(SpanLoss)
ShadowLoss = Literal["queue_full", "too_large", "filtered", "failed"]
SHADOW_LOSSES: tuple[ShadowLoss, ...] = get_args(ShadowLoss)
OVERLAP_RANKS = (1, 3, 5)
"""The numbers of first labels in which two rankings are compared."""
# Overlaps are quotients of small numbers, of which 2/3 is the only one between two of these bounds.
_OVERLAP_BUCKETS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
STAGES = ("featurize", "encode", "shortlist", "score")

Signals = Sequence[float]
"""The signals of one query, in the order of `SIGNALS`; NaN for one that it has not."""

WINDOW_QUERIES = 1_000
"""The most measured queries in the window of a worker, in which each counts for less the older it is."""
_AGED_EVERY = 25
_AGED_SHARE = 1 - _AGED_EVERY / WINDOW_QUERIES

# A row has a cell for each of these, so they are fixed. Any other route or status is counted as "other".
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
    "/v2/models",
    "/v2/models/{name}",
    "/v2/models/{name}/ready",
    "/v2/models/{name}/infer",
    "/v2/models/{name}/versions/{version}",
    "/v2/models/{name}/versions/{version}/ready",
    "/v2/models/{name}/versions/{version}/infer",
    OTHER,
)
STATUSES = (200, 202, 400, 401, 403, 404, 405, 408, 413, 415, 417, 422, 429, 431, 499, 500, 503, 504)

RpcMethod = Literal[
    "ServerLive",
    "ServerReady",
    "ModelReady",
    "ServerMetadata",
    "ModelMetadata",
    "ModelInfer",
    "ModelStreamInfer",
    "Check",
]
RPC_METHODS: tuple[RpcMethod, ...] = get_args(RpcMethod)
RPC_CODES = (
    "OK", "CANCELLED", "DEADLINE_EXCEEDED", "INTERNAL", "INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED",
    "UNAUTHENTICATED", "UNAVAILABLE",
)  # fmt: skip


class HistogramCells:
    """The cells of a histogram in a row: one for each bucket, not cumulated, the last one without bound, then the sum.

    Attributes:
        begin: The first cell.
        bounds: The upper bounds of all buckets but the last.
        sum: The cell with the sum of all observed values.
        end: The cell behind the last one.
    """

    def __init__(self, begin: int, bounds: tuple[float, ...]) -> None:
        self.begin = begin
        self.bounds = bounds
        self.sum = begin + len(bounds) + 1
        self.end = self.sum + 1

    def observe(self, row: memoryview[float], value: float) -> None:
        """Count a value in its bucket."""
        row[self.begin + bisect_left(self.bounds, value)] += 1
        row[self.sum] += value

    def observe_all(self, row: memoryview[float], values: Sequence[float]) -> None:
        """Count each of several values in its bucket."""
        begin, bounds = self.begin, self.bounds
        for value in values:
            row[begin + bisect_left(bounds, value)] += 1
        row[self.sum] += sum(values)


class SignalCells(HistogramCells):
    """The cells of a signal: those of its histogram, and the bins of its window, which is not a counter but a gauge.

    Attributes:
        window: The first cell of the window, which has as many bins as the histogram.
        window_end: The cell behind the last one of the window.
    """

    def __init__(self, begin: int, window: int, bounds: tuple[float, ...]) -> None:
        super().__init__(begin, bounds)
        self.window = window
        self.window_end = window + len(bounds) + 1

    def observe(self, row: memoryview[float], value: float) -> None:
        """Count a value in its bucket and in the window."""
        bucket = bisect_left(self.bounds, value)
        row[self.begin + bucket] += 1
        row[self.window + bucket] += 1
        row[self.sum] += value

    def age(self, row: memoryview[float]) -> None:
        """Let everything in the window count for a little less."""
        for cell in range(self.window, self.window_end):
            row[cell] *= _AGED_SHARE


class RowLayout:
    """The meaning of each cell of a row. It follows from the constants above, so it is the same in every process."""

    def __init__(self) -> None:
        self._end = 0
        # Gauges describe the current process, and are erased when it ends, so they lie together at the front.
        self.pid, self.queue_length, self.filtered_queue_length, self.cache_entries = self._cells(4)
        (self.blocked_labels,) = self._cells(1)
        windows = {signal: self._cells(len(bounds) + 1)[0] for signal, bounds in BOUNDS.items()}
        self.num_gauges = self._end
        self.queries, self.empty, self.cache_hits, self.cache_misses = self._cells(4)
        kinds: list[tuple[str, int | str]] = list(product(ROUTES, (*STATUSES, OTHER)))
        self.requests = dict(zip(kinds, self._cells(len(kinds)), strict=True))
        self.worker_deaths, *reloads = self._cells(1 + len(OUTCOMES))
        self.reloads = dict(zip(OUTCOMES, reloads, strict=True))
        (self.without_blocked,) = self._cells(1)
        self.answers_logged, *losses = self._cells(1 + len(LOG_LOSSES))
        self.answers_not_logged = dict(zip(LOG_LOSSES, losses, strict=True))
        calls = list(product(RPC_METHODS, RPC_CODES))
        self.calls = dict(zip(calls, self._cells(len(calls)), strict=True))
        self.spans_exported, *span_losses = self._cells(1 + len(SPAN_LOSSES))
        self.spans_dropped = dict(zip(SPAN_LOSSES, span_losses, strict=True))
        self.not_compared = dict(zip(SHADOW_LOSSES, self._cells(len(SHADOW_LOSSES)), strict=True))
        self.shed = dict(zip(SHED_REASONS, self._cells(len(SHED_REASONS)), strict=True))
        self.request_s = {route: self._histogram(LATENCY_BUCKETS_S) for route in ROUTES}
        self.call_s = {method: self._histogram(LATENCY_BUCKETS_S) for method in RPC_METHODS}
        self.stage_s = {stage: self._histogram(LATENCY_BUCKETS_S) for stage in STAGES}
        self.queue_s = self._histogram(LATENCY_BUCKETS_S)
        self.batch_size = self._histogram(BATCH_SIZE_BUCKETS)
        self.partial_answers, *hedges = self._cells(1 + MAX_UPSTREAMS)
        self.upstream_hedges, self.upstream_errors = list(hedges), list(self._cells(MAX_UPSTREAMS))
        self.upstream_s = [self._histogram(LATENCY_BUCKETS_S) for _ in range(MAX_UPSTREAMS)]
        self.overlap = {ranks: self._histogram(_OVERLAP_BUCKETS) for ranks in OVERLAP_RANKS}
        self.signals = {signal: self._signal(windows[signal], bounds) for signal, bounds in BOUNDS.items()}
        self.num_cells = self._end

    def _cells(self, count: int) -> range:
        begin, self._end = self._end, self._end + count
        return range(begin, self._end)

    def _histogram(self, bounds: tuple[float, ...]) -> HistogramCells:
        histogram = HistogramCells(self._end, bounds)
        self._end = histogram.end
        return histogram

    def _signal(self, window: int, bounds: tuple[float, ...]) -> SignalCells:
        cells = SignalCells(self._end, window, bounds)
        self._end = cells.end
        return cells


LAYOUT = RowLayout()
_BUCKETS = len(LATENCY_BUCKETS_S) + 1
_CELL_BYTES = 8


class MetricsBoard:
    """The shared memory: a row for each model of each worker, and one for the parent. Make it before the first fork.

    Args:
        num_workers: The most workers that are alive at a time; their ids are below it.
        models: The names of the models that are served; one without a name if there is only one.

    Attributes:
        exemplars: For each route a place for each bucket of the latency, see `exemplar_places`.
    """

    def __init__(self, num_workers: int, models: Sequence[str] = ("",)) -> None:
        self.num_workers = num_workers
        self.models = models
        self._num_rows = num_workers * len(models) + 1
        self._memory = memoryview(mmap(-1, self._num_rows * LAYOUT.num_cells * _CELL_BYTES)).cast("d")
        self._parent_row = self._row(self._num_rows - 1)
        self.exemplars = Exemplars(num_workers, len(ROUTES) * _BUCKETS)

    def metrics(self, worker_id: int) -> Metrics:
        """Return the metrics that a worker writes; a worker that replaces another one adds to the same counters.

        They are those of the first model; its `of_models` has them all.

        Raises:
            ValueError: There is no such worker id.
        """
        if not 0 <= worker_id < self.num_workers:
            raise ValueError(f"slot {worker_id} is not one of the {self.num_workers} slots of the board")
        first, *others = [Metrics(self, row, worker_id) for row in self._rows_of(worker_id)]
        first.of_models += others
        return first

    def retire(self, worker_id: int, died: bool = False) -> None:
        """Erase the gauges of a worker that ended; its counters stay, because a counter must never decrease.

        Args:
            worker_id: The worker's id.
            died: Whether it ended without having been asked to; such ends are counted.
        """
        self._parent_row[LAYOUT.worker_deaths] += died
        for row in self._rows_of(worker_id):
            for cell in range(LAYOUT.num_gauges):
                row[cell] = 0

    def count_rollout(self, outcome: Outcome) -> None:
        """Count a replacement of all workers by its outcome."""
        self._parent_row[LAYOUT.reloads[outcome]] += 1

    def total(self) -> list[float]:
        """Return the sum of each cell over all rows."""
        total: list[float] = self._cells().sum(axis=0).tolist()
        return total

    def totals(self) -> list[list[float]]:
        """Return, for each model, the sum of each cell over the workers."""
        by_worker = self._cells()[:-1].reshape(self.num_workers, len(self.models), LAYOUT.num_cells)
        totals: list[list[float]] = by_worker.sum(axis=0).tolist()
        return totals

    def largest(self, cell: int) -> list[float]:
        """Return, for each model, the largest value of a cell over the workers."""
        largest: list[float] = self._cells()[:-1, cell].reshape(self.num_workers, len(self.models)).max(axis=0).tolist()
        return largest

    def pids(self) -> dict[int, int]:
        """Return the process id of each worker that serves, by worker id."""
        found = {worker_id: self._pid(worker_id) for worker_id in range(self.num_workers)}
        return {worker_id: pid for worker_id, pid in found.items() if pid}

    def _pid(self, worker_id: int) -> int:
        # A process that only ranks for one model has no other row with it.
        return int(max([row[LAYOUT.pid] for row in self._rows_of(worker_id)]))

    def _cells(self) -> NDArray[np.float64]:
        return np.asarray(self._memory).reshape(self._num_rows, LAYOUT.num_cells)

    def _rows_of(self, worker_id: int) -> list[memoryview[float]]:
        """Return the cells of a worker, for each model."""
        begin = worker_id * len(self.models)
        return [self._row(index) for index in range(begin, begin + len(self.models))]

    def _row(self, index: int) -> memoryview[float]:
        return self._memory[index * LAYOUT.num_cells : (index + 1) * LAYOUT.num_cells]


def exemplar_places(route: str) -> range:
    """Return the places of a known route's exemplars, one for each bucket of its latency."""
    begin = ROUTES.index(route) * _BUCKETS
    return range(begin, begin + _BUCKETS)


class Metrics:
    """The metrics of one model in one worker, and the batcher's observer. Each cell has one thread that writes to it.

    This is the thread of the event loop, except where a method says otherwise. What concerns no model is recorded in
    the metrics of the first.

    Attributes:
        board: The metrics of all workers.
        of_models: The metrics of all models in this worker, in those of the first model; of others only themselves.
        model: Name and version of the model that is served; None while it is loading.
        held_out: The histograms of the signals of the model's held-out texts; empty where it has none.
        upstreams: The addresses of the servers of shards; empty where the model is in this process.
    """

    def __init__(self, board: MetricsBoard, row: memoryview[float], worker_id: int) -> None:
        self.board = board
        self._worker_id = worker_id
        self.of_models = [self]
        self.model: tuple[str, str] | None = None
        self.held_out: Histograms = {}
        self.upstreams: Sequence[str] = ()
        self._row = row
        self._until_aged = _AGED_EVERY

    def serving(self, name: str, version: str, held_out: Histograms | None = None) -> None:
        """Record the name and version of the served model, and that this process serves it.

        Args:
            name: Name of the model.
            version: Version of the model.
            held_out: The histograms of the signals of its held-out texts; None: it has none.
        """
        self.model = (name, version)
        self.held_out = held_out or {}
        self._row[LAYOUT.pid] = os.getpid()

    def request_answered(self, route: str, status: int, seconds: float) -> None:
        """Record a request and the seconds that it took; an unknown route or status is counted as "other"."""
        cells = LAYOUT.request_s.get(route)
        if cells is None:
            route, cells = OTHER, LAYOUT.request_s[OTHER]
        cell = LAYOUT.requests.get((route, status))
        self._row[LAYOUT.requests[route, OTHER] if cell is None else cell] += 1
        cells.observe(self._row, seconds)

    def exemplar_place(self, route: str, seconds: float) -> int:
        """Return the place of the exemplar of a request that took so many seconds."""
        return exemplar_places(route if route in LAYOUT.request_s else OTHER)[bisect_left(LATENCY_BUCKETS_S, seconds)]

    def request_traced(self, place: int, exemplar: Exemplar) -> None:
        """Keep a request whose trace was recorded as exemplar. Called by the thread that sends spans only."""
        self.board.exemplars.put(self._worker_id, place, exemplar)

    def request_refused(self, route: str, status: int) -> None:
        """Count a request that was refused before the application saw it, without a time."""
        self._row[LAYOUT.requests[route, status]] += 1

    def call_answered(self, method: RpcMethod, code: str, seconds: float) -> None:
        """Record a call over gRPC, by the name of its status code, and the seconds that it took."""
        self._row[LAYOUT.calls[method, code]] += 1
        LAYOUT.call_s[method].observe(self._row, seconds)

    def queries_ranked(self, total: int, empty: int) -> None:
        """Count ranked queries, and the `empty` ones among them for which no label was found."""
        self._row[LAYOUT.queries] += total
        self._row[LAYOUT.empty] += empty

    def query_measured(self, signals: Signals) -> None:
        """Record the signals of one query."""
        for cells, value in zip(LAYOUT.signals.values(), signals, strict=True):
            if not math.isnan(value):
                cells.observe(self._row, value)
        self._until_aged -= 1
        if not self._until_aged:
            self._until_aged = _AGED_EVERY
            for cells in LAYOUT.signals.values():
                cells.age(self._row)

    def queries_shed(self, reason: ShedReason, total: int) -> None:
        """Count queries that were rejected or given up, by reason."""
        self._row[LAYOUT.shed[reason]] += total

    def cache_asked(self, hits: int, misses: int, entries: int) -> None:
        """Count hits and misses of the cache, and record its number of entries."""
        self._row[LAYOUT.cache_hits] += hits
        self._row[LAYOUT.cache_misses] += misses
        self._row[LAYOUT.cache_entries] = entries

    def labels_blocked(self, total: int) -> None:
        """Record the number of labels that are blocked."""
        self._row[LAYOUT.blocked_labels] = total

    def labels_taken_out(self, answers: int) -> None:
        """Count answers that would name a label if it were not blocked."""
        self._row[LAYOUT.without_blocked] += answers

    def partial_answers(self, answers: int) -> None:
        """Count answers without the labels of a shard that did not answer."""
        self._row[LAYOUT.partial_answers] += answers

    def shard_answered(self, shard: int, seconds: float, error: Exception | None) -> None:
        """Record a request to the shard of one upstream, and whether it failed."""
        LAYOUT.upstream_s[shard].observe(self._row, seconds)
        self._row[LAYOUT.upstream_errors[shard]] += error is not None

    def shard_hedged(self, shard: int) -> None:
        """Count a request that was sent to a shard a second time, because the first had no answer yet."""
        self._row[LAYOUT.upstream_hedges[shard]] += 1

    def answers_logged(self, records: int) -> None:
        """Count records that the answer log has written. Called by its thread only."""
        self._row[LAYOUT.answers_logged] += records

    def answers_not_logged(self, reason: LogLoss, records: int) -> None:
        """Count records that the answer log has dropped; `write_failed` by its thread only."""
        self._row[LAYOUT.answers_not_logged[reason]] += records

    def spans_exported(self, total: int) -> None:
        """Count spans that the collector has taken. Called by the thread that sends them only."""
        self._row[LAYOUT.spans_exported] += total

    def spans_dropped(self, reason: SpanLoss, total: int) -> None:
        """Count spans that were dropped; `export_failed` by the thread that sends them only."""
        self._row[LAYOUT.spans_dropped[reason]] += total

    def compared(self, overlaps: Mapping[int, float]) -> None:
        """Record the overlap of a ranking with that of this model, by the number of first labels."""
        for ranks, overlap in overlaps.items():
            LAYOUT.overlap[ranks].observe(self._row, overlap)

    def not_compared(self, reason: ShadowLoss, queries: int) -> None:
        """Count queries for which this model's ranking was not compared; `failed` by the process of the shadow only."""
        self._row[LAYOUT.not_compared[reason]] += queries

    def batch_computed(self, times: StageTimes) -> None:
        """Record the stage times of one batch."""
        for cells, stage_s in zip(LAYOUT.stage_s.values(), times, strict=True):
            cells.observe(self._row, stage_s)

    def queue_changed(self, length: int) -> None:
        """Record the number of queued queries."""
        self._row[LAYOUT.queue_length] = length

    def filtered_queue_changed(self, length: int) -> None:
        """Record the number of queued queries with a filter, which have a queue of their own."""
        self._row[LAYOUT.filtered_queue_length] = length

    def batch_formed(self, waits_s: Sequence[float]) -> None:
        """Record a new batch, and the seconds that each of its queries waited in the queue."""
        LAYOUT.batch_size.observe(self._row, len(waits_s))
        LAYOUT.queue_s.observe_all(self._row, waits_s)


class FilteredQueueMetrics:
    """The observer of the batcher for queries with a filter, whose queue length is recorded separately.

    Args:
        metrics: The metrics of the worker.
    """

    def __init__(self, metrics: Metrics) -> None:
        self.queue_changed = metrics.filtered_queue_changed
        self.batch_formed = metrics.batch_formed
