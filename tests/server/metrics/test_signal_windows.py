"""Signals of queries in shared memory, and their drift from the held-out texts."""

from __future__ import annotations

import math

import pytest

from astec.export.artifact.signals.histograms import Histograms, SignalHistogram
from astec.export.artifact.signals.query_signals import BOUNDS
from astec.server.metrics.board import LAYOUT, WINDOW_QUERIES, Metrics, MetricsBoard, Signals
from astec.server.metrics.drift import MIN_QUERIES, population_stability_index
from tests.server.metrics.test_board import value

SURE: Signals = (0.0, 0.93, 0.4)
UNSURE: Signals = (1.0, 0.12, 2.31)
NO_ANSWER: Signals = (1.0, 0.0, math.nan)


def record(metrics: Metrics, signals: Signals, times: int) -> None:
    """Let so many queries of a kind be recorded."""
    for _ in range(times):
        metrics.query_measured(signals)


def counted(*signals: Signals) -> Histograms:
    """Histograms of held-out texts, 500 of each kind."""
    found: Histograms = {}
    for position, (name, bounds) in enumerate(BOUNDS.items()):
        counts = [0] * (len(bounds) + 1)
        for one in signals:
            counts[sum(bound < one[position] for bound in bounds)] += 500
        found[name] = SignalHistogram(bounds=list(bounds), counts=counts)
    return found


def drift(metrics: Metrics) -> dict[str, float | None]:
    return {name: value(metrics, "astec_drift_psi", signal=name) for name in BOUNDS}


def test_a_query_is_recorded_with_all_that_it_has() -> None:
    metrics = MetricsBoard(1).metrics(0)
    metrics.query_measured(SURE)
    metrics.query_measured(NO_ANSWER)
    assert value(metrics, "astec_answer_top_score_count") == 2
    assert value(metrics, "astec_answer_top_score_sum") == pytest.approx(0.93)
    assert value(metrics, "astec_answer_top_score_bucket", le="0.05") == 1
    assert value(metrics, "astec_answer_top_score_bucket", le="0.95") == 2
    assert value(metrics, "astec_query_unknown_words_ratio_bucket", le="0.0") == 1
    assert value(metrics, "astec_query_unknown_words_ratio_bucket", le="1.0") == 2
    assert value(metrics, "astec_answer_entropy_count") == 1


def test_queries_of_another_kind_raise_the_index_and_those_of_the_same_do_not() -> None:
    metrics = MetricsBoard(1).metrics(0)
    held_out = counted(SURE, SURE, SURE, UNSURE)
    metrics.serving("m", "1", held_out)
    for _ in range(500):
        record(metrics, SURE, 3)
        record(metrics, UNSURE, 1)
    assert max(found for found in drift(metrics).values() if found is not None) < 0.02
    record(metrics, UNSURE, 1_000)
    assert min(found for found in drift(metrics).values() if found is not None) > 0.25
    record(metrics, SURE, 300)  # and back again
    for _ in range(3_000):
        record(metrics, SURE, 3)
        record(metrics, UNSURE, 1)
    assert max(found for found in drift(metrics).values() if found is not None) < 0.02


def test_there_is_no_index_before_there_are_enough_queries() -> None:
    metrics = MetricsBoard(1).metrics(0)
    held_out = counted(SURE)
    metrics.serving("m", "1", held_out)
    record(metrics, UNSURE, 400)
    assert set(drift(metrics).values()) == {None}
    assert 300 < (value(metrics, "astec_drift_queries", signal="entropy") or 0) < 400
    record(metrics, UNSURE, 400)
    cells = LAYOUT.signals["top_score"]
    window = metrics.board.total()[cells.window : cells.window_end]
    assert sum(window) > MIN_QUERIES
    assert drift(metrics)["top_score"] == pytest.approx(
        population_stability_index(held_out["top_score"].counts, window)
    )


def test_the_window_has_an_end() -> None:
    metrics = MetricsBoard(1).metrics(0)
    metrics.serving("m", "1", counted(SURE))
    record(metrics, SURE, 20 * WINDOW_QUERIES)
    in_window = value(metrics, "astec_drift_queries", signal="top_score")
    assert in_window is not None
    assert 0.9 * WINDOW_QUERIES < in_window <= WINDOW_QUERIES
    assert value(metrics, "astec_answer_top_score_count") == 20 * WINDOW_QUERIES


def test_windows_of_all_workers_count_and_that_of_a_worker_that_ended_does_not() -> None:
    board = MetricsBoard(3)
    first, second, third = (board.metrics(worker_id) for worker_id in range(3))
    third.serving("m", "1", counted(SURE))
    record(first, SURE, 400)
    record(second, UNSURE, 400)
    together = drift(third)["top_score"]
    assert together is not None
    assert together > 0.25
    board.retire(1)
    assert drift(third)["top_score"] is None
    record(third, SURE, 400)
    assert (drift(third)["top_score"] or 1) < 0.02
    assert value(third, "astec_answer_top_score_count") == 1_200


def test_a_model_without_histograms_or_with_other_bins_has_no_index() -> None:
    metrics = MetricsBoard(1).metrics(0)
    metrics.serving("m", "1")
    record(metrics, SURE, 1_000)
    assert set(drift(metrics).values()) == {None}
    metrics.serving("m", "2", {"entropy": SignalHistogram(bounds=[1.0], counts=[500, 500])})
    assert set(drift(metrics).values()) == {None}
    metrics.serving("m", "3", {"top_score": counted(SURE)["top_score"]})
    assert {name for name, found in drift(metrics).items() if found is not None} == {"top_score"}
