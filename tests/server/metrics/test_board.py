"""Counters in shared memory, of processes that start and end."""

import os
from collections.abc import Callable

import pytest
from prometheus_client.parser import text_string_to_metric_families

from astec.server.errors import ServerError
from astec.server.metrics.board import OTHER, ROUTES, STATUSES, Metrics, MetricsBoard
from astec.server.metrics.exposition import render_exposition
from astec.server.metrics.stage_times import StageTimes
from astec.server.workers.rollout import OUTCOMES


def samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = text_string_to_metric_families(render_exposition(metrics).decode())
    found = [sample for family in families for sample in family.samples]
    return {(sample.name, frozenset(sample.labels.items())): sample.value for sample in found}


def value(metrics: Metrics, series: str, **labels: str) -> float | None:
    return samples(metrics).get((series, frozenset(labels.items())))


def in_a_child(work: Callable[[], None]) -> None:
    pid = os.fork()
    if pid == 0:
        work()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0


def test_any_worker_answers_for_all() -> None:
    board = MetricsBoard(3)
    first, last = board.metrics(0), board.metrics(2)
    first.request_answered("/predict", 200, 0.001)
    last.request_answered("/predict", 200, 0.002)
    last.request_answered("/predict", 429, 0.0001)
    first.queue_changed(3)
    last.queue_changed(4)
    for metrics in (first, last):
        assert value(metrics, "astec_requests_total", route="/predict", status="200") == 2
        assert value(metrics, "astec_requests_total", route="/predict", status="429") == 1
        assert value(metrics, "astec_request_seconds_count", route="/predict") == 3
        assert value(metrics, "astec_request_seconds_sum", route="/predict") == pytest.approx(0.0031)
        assert value(metrics, "astec_queue_length") == 7


@pytest.mark.slow
def test_what_a_forked_worker_counts_is_seen_by_the_others_and_stays_when_it_dies() -> None:
    board = MetricsBoard(2)

    def count() -> None:
        metrics = board.metrics(1)
        metrics.serving("m", "1")
        metrics.queries_ranked(10, 2)
        metrics.queue_changed(5)

    in_a_child(count)
    survivor = board.metrics(0)
    survivor.queries_ranked(1, 0)
    assert value(survivor, "astec_queries_total") == 11
    assert value(survivor, "astec_queue_length") == 5
    board.retire(1)
    assert value(survivor, "astec_queue_length") == 0
    assert value(survivor, "astec_queries_total") == 11
    assert value(survivor, "astec_empty_answers_total") == 2
    in_a_child(count)
    assert value(survivor, "astec_queries_total") == 21


def test_buckets_are_cumulated_and_hold_their_upper_bound() -> None:
    metrics = MetricsBoard(1).metrics(0)
    metrics.batch_formed([0.0, 50e-6, 51e-6, 99.0])
    metrics.batch_formed([1.0])
    assert value(metrics, "astec_queue_seconds_bucket", le="5e-05") == 2
    assert value(metrics, "astec_queue_seconds_bucket", le="7.92e-05") == 3
    assert value(metrics, "astec_queue_seconds_bucket", le="5.0") == 4
    assert value(metrics, "astec_queue_seconds_bucket", le="+Inf") == 5
    assert value(metrics, "astec_queue_seconds_sum") == pytest.approx(100.000101)
    assert value(metrics, "astec_batch_size_bucket", le="1.0") == 1
    assert value(metrics, "astec_batch_size_bucket", le="4.0") == 2
    assert value(metrics, "astec_batch_size_sum") == 5


def test_stages_and_cache() -> None:
    metrics = MetricsBoard(1).metrics(0)
    metrics.batch_computed(StageTimes(1e-3, 2e-3, 3e-3, 4e-3))
    metrics.cache_asked(2, 1, 7)
    metrics.cache_asked(0, 1, 8)
    sums = {stage: value(metrics, "astec_stage_seconds_sum", stage=stage) for stage in ("featurize", "encode", "score")}
    assert sums == {"featurize": 1e-3, "encode": 2e-3, "score": 4e-3}
    assert value(metrics, "astec_cache_hits_total") == 2
    assert value(metrics, "astec_cache_misses_total") == 2
    assert value(metrics, "astec_cache_entries") == 8


def test_unknown_routes_and_statuses_make_no_new_series() -> None:
    metrics = MetricsBoard(1).metrics(0)
    metrics.request_answered("/wp-login.php", 404, 0.1)
    metrics.request_answered("/predict", 418, 0.1)
    assert value(metrics, "astec_requests_total", route="other", status="404") == 1
    assert value(metrics, "astec_requests_total", route="/predict", status="other") == 1
    assert value(metrics, "astec_request_seconds_count", route="other") == 1


def test_series_that_never_happened_are_left_out() -> None:
    found = {name for name, _ in samples(MetricsBoard(1).metrics(0))}
    assert not found & {"astec_requests_total", "astec_shed_total", "astec_request_seconds_count", "astec_model_info"}
    assert {"astec_queries_total", "astec_queue_length", "astec_batch_size_count"} <= found


def test_each_worker_shows_its_process() -> None:
    board = MetricsBoard(2)
    metrics = board.metrics(1)
    metrics.serving("m", "1")
    assert value(metrics, "astec_model_info", name="m", version="1") == 1
    for name in ("resident_memory_bytes", "proportional_memory_bytes", "cpu_seconds_total", "start_time_seconds"):
        assert (value(metrics, f"process_{name}", worker="1") or 0) > 0
        assert value(metrics, f"process_{name}", worker="0") is None
    board.retire(1)
    assert value(metrics, "process_resident_memory_bytes", worker="1") is None


def test_what_the_parent_counts_is_seen_by_every_worker() -> None:
    board = MetricsBoard(2)
    worker = board.metrics(1)
    for outcome in OUTCOMES:
        assert value(worker, "astec_reloads_total", outcome=outcome) == 0
    board.count_rollout("rolled_back")
    board.retire(0, died=True)
    board.retire(0, died=False)
    assert value(worker, "astec_reloads_total", outcome="rolled_back") == 1
    assert value(worker, "astec_reloads_total", outcome="done") == 0
    assert value(worker, "astec_worker_deaths_total") == 1


def test_a_slot_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="slot 2 is not one of the 2 slots"):
        MetricsBoard(2).metrics(2)


async def test_every_endpoint_and_error_has_a_series_of_its_own(serve) -> None:
    async with serve() as (app, client):
        documented = app.openapi()["paths"]
        paths = [*documented, "/"]
        for path in paths:
            expected = 200 if "get" in documented.get(path, {"get": None}) else 405
            assert (await client.get(path.format(**app.state.service.model_name))).status_code == expected
        metrics = (await client.get("/metrics")).text
    assert set(paths) == set(ROUTES) - {OTHER}
    for path in paths:
        assert f'astec_request_seconds_count{{route="{path}"}} 1.0' in metrics
    assert {error.status for error in ServerError.__subclasses__()} <= set(STATUSES)
