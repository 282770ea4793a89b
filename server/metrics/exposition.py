"""The exposition of all metrics in the text formats of Prometheus and OpenMetrics, which answers `/metrics`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import accumulate
from typing import NamedTuple

from prometheus_client import CollectorRegistry, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

from astec.export.artifact.signals.histograms import Histograms
from astec.export.artifact.signals.query_signals import SignalName
from astec.server.metrics.board import LAYOUT, HistogramCells, Metrics, MetricsBoard, exemplar_places
from astec.server.metrics.drift import MIN_QUERIES, population_stability_index
from astec.server.metrics.exemplars import Exemplar as TracedRequest
from astec.server.system.process_memory import process_memory

_SIGNAL_FAMILIES: dict[SignalName, tuple[str, str]] = {
    "unknown_words": ("astec_query_unknown_words_ratio", "Share of a query's words that the model does not know."),
    "top_score": ("astec_answer_top_score", "Score of the best label of a query; 0 without a label."),
    "entropy": ("astec_answer_entropy", "Entropy of the scores of the best five labels of a query, in bits."),
}

Format = Callable[[CollectorRegistry], bytes]

# The library's `_created` series would double the number of series, to say when each of them began.
disable_created_metrics()  # type: ignore[no-untyped-call]


def choose_format(accept: str) -> tuple[Format, str]:
    """Return the format that a scraper asks for by its header `Accept`, and the media type of the format.

    It is OpenMetrics, which has exemplars, for those that ask for it, and the Prometheus text format for all others.
    """
    return choose_encoder(accept)


def render_exposition(metrics: Metrics, write: Format = generate_latest) -> bytes:
    """Return the metrics of all workers. Takes milliseconds; reads from /proc.

    Args:
        metrics: The metrics of the worker that is asked.
        write: The format, from `choose_format`.
    """
    registry = CollectorRegistry()
    registry.register(_BoardCollector(metrics))
    PlatformCollector(registry)
    return write(registry)


class _ModelTotal(NamedTuple):
    """The sums of one model, and the values of the labels that tell it from others; none if it is the only one."""

    labels: list[str]
    total: Sequence[float]


class _BoardCollector(Collector):
    """The metric families of a board: sums over the workers, and a series for each worker's process.

    What is counted by query has a label `model` if several models are served.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        board, of_models = self._metrics.board, self._metrics.of_models
        total, is_several = board.total(), len(board.models) > 1
        names, totals = ["model"] if is_several else [], board.totals()
        models = [
            _ModelTotal([name] if is_several else [], total) for name, total in zip(board.models, totals, strict=True)
        ]
        yield from _request_families(total, board)
        yield from _call_families(total)
        yield from _query_families(names, models)
        yield from _cache_families(names, models)
        yield from _block_list_families(names, models, board.largest(LAYOUT.blocked_labels))
        yield from _answer_log_families(total)
        yield from _span_families(total)
        yield from _signal_families(names, models)
        yield from _drift_families(names, models, [metrics.held_out for metrics in of_models])
        if is_several:
            yield from _shadow_families(names, models)
        served = GaugeMetricFamily("astec_model_info", "The models served.", labels=["name", "version"])
        for metrics in of_models:
            if metrics.model is not None:
                served.add_metric(metrics.model, 1)
        yield served
        yield from _upstream_families(total, self._metrics.upstreams)
        yield from _worker_families(total)
        yield from _process_families(board.pids())


def _buckets(cells: HistogramCells, row: Sequence[float]) -> list[tuple[str, float]]:
    """Return a histogram's upper bounds and cumulated counts, as Prometheus has them."""
    names = [floatToGoString(bound) for bound in (*cells.bounds, math.inf)]  # type: ignore[no-untyped-call]
    return list(zip(names, accumulate(row[cells.begin : cells.sum]), strict=True))


def _request_families(total: Sequence[float], board: MetricsBoard) -> Iterator[Metric]:
    requests = CounterMetricFamily("astec_requests", "Requests answered.", labels=["route", "status"])
    for (route, status), cell in LAYOUT.requests.items():
        if total[cell]:
            requests.add_metric([route, str(status)], total[cell])
    yield requests
    request_s = HistogramMetricFamily("astec_request_seconds", "Time in the server.", labels=["route"])
    latest = board.exemplars.latest()
    for route, cells in LAYOUT.request_s.items():
        if any(total[cells.begin : cells.sum]):
            pairs = zip(exemplar_places(route), _buckets(cells, total), strict=True)
            buckets = [_with_exemplar(bucket, latest.get(place)) for place, bucket in pairs]
            request_s.add_metric([route], buckets, total[cells.sum])
    yield request_s


def _call_families(total: Sequence[float]) -> Iterator[Metric]:
    calls = CounterMetricFamily("astec_grpc_calls", "Calls over gRPC that have ended.", labels=["method", "code"])
    for labels, cell in LAYOUT.calls.items():
        if total[cell]:
            calls.add_metric(labels, total[cell])
    yield calls
    call_s = HistogramMetricFamily("astec_grpc_call_seconds", "Time of a call over gRPC.", labels=["method"])
    for method, cells in LAYOUT.call_s.items():
        if any(total[cells.begin : cells.sum]):
            call_s.add_metric([method], _buckets(cells, total), total[cells.sum])
    yield call_s


def _with_exemplar(
    bucket: tuple[str, float], found: TracedRequest | None
) -> tuple[str, float] | tuple[str, float, Exemplar]:
    return bucket if found is None else (*bucket, Exemplar({"trace_id": found.trace_id}, found.value, found.time_s))


def _query_families(names: list[str], models: Sequence[_ModelTotal]) -> Iterator[Metric]:
    yield _counter("astec_queries", "Queries ranked.", LAYOUT.queries, names, models)
    yield _counter("astec_empty_answers", "Queries for which no label was found.", LAYOUT.empty, names, models)
    shed = CounterMetricFamily("astec_shed", "Queries turned away or given up.", labels=[*names, "reason"])
    for labels, total in models:
        for reason, cell in LAYOUT.shed.items():
            if total[cell]:
                shed.add_metric([*labels, reason], total[cell])
    yield shed
    yield _histogram("astec_queue_seconds", "Time a query queued.", LAYOUT.queue_s, names, models)
    stage_s = HistogramMetricFamily("astec_stage_seconds", "Time of a batch per stage.", labels=[*names, "stage"])
    for labels, total in models:
        for stage, cells in LAYOUT.stage_s.items():
            stage_s.add_metric([*labels, stage], _buckets(cells, total), total[cells.sum])
    yield stage_s
    yield _histogram("astec_batch_size", "Queries in a batch.", LAYOUT.batch_size, names, models)
    queued = GaugeMetricFamily("astec_queue_length", "Queries waiting.", labels=names)
    for labels, total in models:
        queued.add_metric(labels, total[LAYOUT.queue_length] + total[LAYOUT.filtered_queue_length])
    yield queued


def _cache_families(names: list[str], models: Sequence[_ModelTotal]) -> Iterator[Metric]:
    yield _counter("astec_cache_hits", "Queries answered from the cache.", LAYOUT.cache_hits, names, models)
    yield _counter("astec_cache_misses", "Queries that the cache did not know.", LAYOUT.cache_misses, names, models)
    entries = GaugeMetricFamily("astec_cache_entries", "Answers in the cache.", labels=names)
    for labels, total in models:
        entries.add_metric(labels, total[LAYOUT.cache_entries])
    yield entries


def _block_list_families(
    names: list[str], models: Sequence[_ModelTotal], blocked_labels: Sequence[float]
) -> Iterator[Metric]:
    blocked = GaugeMetricFamily("astec_blocked_labels", "Labels that no answer may name now.", labels=names)
    for (labels, _), count in zip(models, blocked_labels, strict=True):
        blocked.add_metric(labels, count)
    yield blocked
    documentation = "Answers that would name a label if it were not blocked."
    yield _counter("astec_answers_without_blocked", documentation, LAYOUT.without_blocked, names, models)


def _counter(
    name: str, documentation: str, cell: int, names: list[str], models: Sequence[_ModelTotal]
) -> CounterMetricFamily:
    family = CounterMetricFamily(name, documentation, labels=names)
    for labels, total in models:
        family.add_metric(labels, total[cell])
    return family


def _histogram(
    name: str, documentation: str, cells: HistogramCells, names: list[str], models: Sequence[_ModelTotal]
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, documentation, labels=names)
    for labels, total in models:
        family.add_metric(labels, _buckets(cells, total), total[cells.sum])
    return family


def _answer_log_families(total: Sequence[float]) -> Iterator[Metric]:
    yield CounterMetricFamily(
        "astec_answers_logged", "Records written to the answer log.", value=total[LAYOUT.answers_logged]
    )
    lost = CounterMetricFamily("astec_answers_not_logged", "Records of answers that were dropped.", labels=["reason"])
    for reason, cell in LAYOUT.answers_not_logged.items():
        if total[cell]:
            lost.add_metric([reason], total[cell])
    yield lost


def _span_families(total: Sequence[float]) -> Iterator[Metric]:
    yield CounterMetricFamily(
        "astec_spans_exported", "Spans that the collector has taken.", value=total[LAYOUT.spans_exported]
    )
    dropped = CounterMetricFamily("astec_spans_dropped", "Spans of requests that were dropped.", labels=["reason"])
    for reason, cell in LAYOUT.spans_dropped.items():
        if total[cell]:
            dropped.add_metric([reason], total[cell])
    yield dropped


def _signal_families(names: list[str], models: Sequence[_ModelTotal]) -> Iterator[Metric]:
    for signal, (name, documentation) in _SIGNAL_FAMILIES.items():
        yield _histogram(name, documentation, LAYOUT.signals[signal], names, models)


def _drift_families(
    names: list[str], models: Sequence[_ModelTotal], held_out_texts: Sequence[Histograms]
) -> Iterator[Metric]:
    """Compare the windows of all workers with the held-out texts, as far as a model has histograms of these."""
    psi = GaugeMetricFamily(
        "astec_drift_psi",
        "Population stability index of a signal: the latest queries against the model's held-out texts.",
        labels=[*names, "signal"],
    )
    queries = GaugeMetricFamily(
        "astec_drift_queries", "Queries in the window of a signal, older ones in part.", labels=[*names, "signal"]
    )
    for (labels, total), held_out in zip(models, held_out_texts, strict=True):
        for signal, cells in LAYOUT.signals.items():
            expected = held_out.get(signal)
            # Another version may bound its bins otherwise.
            if expected is None or tuple(expected.bounds) != cells.bounds:
                continue
            window = total[cells.window : cells.window_end]
            queries.add_metric([*labels, signal], sum(window))
            if sum(window) >= MIN_QUERIES:
                psi.add_metric([*labels, signal], population_stability_index(expected.counts, window))
    yield psi
    yield queries


def _upstream_families(total: Sequence[float], upstreams: Sequence[str]) -> Iterator[Metric]:
    """Return the requests to each shard, of a server that merges their answers."""
    yield CounterMetricFamily(
        "astec_partial_answers", "Answers without the labels of a shard.", value=total[LAYOUT.partial_answers]
    )
    upstream_s = HistogramMetricFamily("astec_upstream_seconds", "Time of a request to a shard.", labels=["upstream"])
    errors = CounterMetricFamily("astec_upstream_errors", "Requests to a shard that failed.", labels=["upstream"])
    hedges = CounterMetricFamily("astec_upstream_hedges", "Second requests to a slow shard.", labels=["upstream"])
    for shard, address in enumerate(upstreams):
        cells = LAYOUT.upstream_s[shard]
        upstream_s.add_metric([address], _buckets(cells, total), total[cells.sum])
        errors.add_metric([address], total[LAYOUT.upstream_errors[shard]])
        hedges.add_metric([address], total[LAYOUT.upstream_hedges[shard]])
    yield from (upstream_s, errors, hedges)


def _shadow_families(names: list[str], models: Sequence[_ModelTotal]) -> Iterator[Metric]:
    """Say how far a model in the shadow agrees with what was answered; no series without such a model."""
    overlap = HistogramMetricFamily(
        "astec_shadow_overlap",
        "Share of the first k labels that an answer and the ranking in the shadow have in common.",
        labels=[*names, "k"],
    )
    lost = CounterMetricFamily(
        "astec_shadow_not_compared", "Queries that were not compared.", labels=[*names, "reason"]
    )
    for labels, total in models:
        for ranks, cells in LAYOUT.overlap.items():
            if any(total[cells.begin : cells.sum]):
                overlap.add_metric([*labels, str(ranks)], _buckets(cells, total), total[cells.sum])
        for reason, cell in LAYOUT.not_compared.items():
            if total[cell]:
                lost.add_metric([*labels, reason], total[cell])
    yield overlap
    yield lost


def _worker_families(total: Sequence[float]) -> Iterator[Metric]:
    yield CounterMetricFamily(
        "astec_worker_deaths", "Workers that ended without being asked.", value=total[LAYOUT.worker_deaths]
    )
    reloads = CounterMetricFamily("astec_reloads", "Replacements of all workers.", labels=["outcome"])
    for outcome, cell in LAYOUT.reloads.items():
        reloads.add_metric([outcome], total[cell])
    yield reloads


def _process_families(pids: dict[int, int]) -> Iterable[Metric]:
    """Return the library's process metrics for each worker, and its memory, in which shared pages are divided.

    A shared page counts as its size divided by the number of processes that map it, so the sum over workers is right.
    """
    families: dict[str, Metric] = {}
    pss = GaugeMetricFamily("process_proportional_memory_bytes", "Proportional set size in bytes.", labels=["worker"])
    for worker_id, pid in pids.items():
        for single in ProcessCollector(pid=lambda pid=pid: pid, registry=None).collect():  # type: ignore[misc]
            family = families.setdefault(single.name, Metric(single.name, single.documentation, single.type))
            for sample in single.samples:
                family.add_sample(sample.name, {"worker": str(worker_id)}, sample.value)
        with suppress(OSError):  # Not every kernel has it, and the worker may have ended a moment ago.
            pss.add_metric([str(worker_id)], process_memory(pid).pss_bytes)
    return [*families.values(), pss]
