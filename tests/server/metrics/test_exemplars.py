"""Exemplars: in shared memory, of the latest of all workers, and on the page for those who ask for OpenMetrics."""

from __future__ import annotations

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from astec.server.metrics.board import LATENCY_BUCKETS_S, ROUTES, Metrics, MetricsBoard, exemplar_places
from astec.server.metrics.exemplars import Exemplar, Exemplars
from astec.server.metrics.exposition import choose_format, render_exposition

OLD, NEW = "0af7651916cd43dd8448eb211c80319c", "00000000000000000000000000000100"
ASKS_FOR_OPENMETRICS = [
    "application/openmetrics-text",
    "application/openmetrics-text; version=1.0.0",
    # as Prometheus 2.55 and 3 ask
    "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,*/*;q=0.2",
]


def traced(metrics: Metrics, route: str, seconds: float, trace_id: str, time_s: float) -> None:
    metrics.request_answered(route, 200, seconds)
    metrics.request_traced(metrics.exemplar_place(route, seconds), Exemplar(trace_id, seconds, time_s))


def page(metrics: Metrics, accept: str) -> str:
    write, _ = choose_format(accept)
    return render_exposition(metrics, write).decode()


def exemplars_of(metrics: Metrics) -> dict[tuple[str, float], tuple[str, float, float]]:
    """Trace id, value and time of each exemplar, by route and upper bound of its bucket."""
    return {
        (sample.labels["route"], float(sample.labels["le"])): (
            sample.exemplar.labels["trace_id"],
            sample.exemplar.value,
            float(sample.exemplar.timestamp),
        )
        for family in parse_openmetrics(page(metrics, ASKS_FOR_OPENMETRICS[0]))
        for sample in family.samples
        if sample.exemplar is not None
    }


def test_the_latest_of_all_workers_is_the_exemplar() -> None:
    exemplars = Exemplars(3, 4)
    exemplars.put(2, 1, Exemplar(OLD, 0.5, 10.0))
    exemplars.put(0, 1, Exemplar(NEW, 0.25, 11.0))
    exemplars.put(1, 1, Exemplar(OLD, 0.75, 9.0))
    exemplars.put(1, 3, Exemplar(OLD, 2.0, 1.0))
    assert exemplars.latest() == {1: Exemplar(NEW, 0.25, 11.0), 3: Exemplar(OLD, 2.0, 1.0)}
    exemplars.put(0, 1, Exemplar(OLD, 0.125, 12.0))
    assert exemplars.latest()[1] == Exemplar(OLD, 0.125, 12.0)


def test_each_bucket_of_each_route_has_a_place_of_its_own() -> None:
    places = [place for route in ROUTES for place in exemplar_places(route)]
    assert places == list(range(len(ROUTES) * (len(LATENCY_BUCKETS_S) + 1)))


def test_openmetrics_has_the_exemplars_in_the_buckets_of_their_values() -> None:
    board = MetricsBoard(2)
    first, second = board.metrics(0), board.metrics(1)
    traced(first, "/predict", 0.0006, OLD, 100.5)
    traced(second, "/predict", 0.0006, NEW, 101.5)
    traced(second, "/healthz", 60.0, OLD, 102.0)
    traced(first, "/wp-login.php", LATENCY_BUCKETS_S[0], NEW, 103.0)
    expected = {
        ("/predict", 0.000792): (NEW, 0.0006, 101.5),
        ("/healthz", float("inf")): (OLD, 60.0, 102.0),
        ("other", LATENCY_BUCKETS_S[0]): (NEW, LATENCY_BUCKETS_S[0], 103.0),
    }
    assert exemplars_of(first) == exemplars_of(second) == expected


@pytest.mark.parametrize("accept", ASKS_FOR_OPENMETRICS)
def test_who_asks_for_openmetrics_gets_it(accept: str) -> None:
    metrics = MetricsBoard(1).metrics(0)
    traced(metrics, "/predict", 0.0006, OLD, 100.5)
    assert choose_format(accept)[1].startswith("application/openmetrics-text; version=1.0.0")
    assert page(metrics, accept).endswith("# EOF\n")
    assert f'{{trace_id="{OLD}"}} 0.0006 100.5' in page(metrics, accept)


@pytest.mark.parametrize("accept", ["", "*/*", "text/plain", "text/plain;version=0.0.4", "application/json"])
def test_all_others_get_the_text_format_without_exemplars(accept: str) -> None:
    metrics = MetricsBoard(1).metrics(0)
    traced(metrics, "/predict", 0.0006, OLD, 100.5)
    assert choose_format(accept)[1].startswith("text/plain")
    assert OLD not in page(metrics, accept)
    assert render_exposition(metrics).decode().count("# TYPE") == page(metrics, accept).count("# TYPE")


def test_both_formats_have_the_same_series_and_values() -> None:
    metrics = MetricsBoard(1).metrics(0)
    traced(metrics, "/predict", 0.0006, OLD, 100.5)
    metrics.queries_shed("deadline", 2)
    metrics.spans_exported(3)
    metrics.spans_dropped("queue_full", 1)

    def values(families) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        samples = [sample for family in families for sample in family.samples]
        return {(one.name, tuple(sorted(one.labels.items()))): one.value for one in samples}

    in_text, in_openmetrics = (
        values(parse_text(page(metrics, ""))),
        values(parse_openmetrics(page(metrics, ASKS_FOR_OPENMETRICS[0]))),
    )
    assert in_text == in_openmetrics
    assert in_text["astec_spans_exported_total", ()] == 3
    assert in_text["astec_spans_dropped_total", (("reason", "queue_full"),)] == 1
