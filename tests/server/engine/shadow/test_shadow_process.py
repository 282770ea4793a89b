"""The ranking in the shadow, in this process."""

import logging
import signal
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from astec.export.artifact.store import Artifact
from astec.export.artifact.text.bags import Bag
from astec.server.engine.predictor import Predictor
from astec.server.engine.rank_request import NO_LABELS, RankRequest, RankResult
from astec.server.engine.shadow.overlap import overlap_at
from astec.server.engine.shadow.shadow_channel import Answered, ShadowChannel, encode, join
from astec.server.engine.shadow.shadow_process import ShadowRanker, StopSignal, run_shadow
from astec.server.metrics.board import MetricsBoard

Series = Callable[[str], float]


@pytest.fixture
def ranker(opened_artifact: Artifact, board: MetricsBoard) -> ShadowRanker:
    return ShadowRanker(opened_artifact, None, board.metrics(0).of_models[1], "next")


@pytest.fixture
def stop() -> Iterator[StopSignal]:
    """Notes signals to this process, for the time of a test."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield StopSignal()
    for number, handler in before.items():
        signal.signal(number, handler)


def rankings(artifact: Artifact, queries: list[str], top_k: int) -> list[list[str]]:
    found, _ = Predictor(artifact).predict(queries, top_k)
    return [[artifact.labels[label] for label in ranking.label_ids.tolist()] for ranking in found]


def overlap(ranks: int, part: str) -> str:
    return f'astec_shadow_overlap_{part}{{k="{ranks}",model="next"}}'


def test_a_model_agrees_with_itself(
    ranker: ShadowRanker, opened_artifact: Artifact, demo_queries: list[str], series: Series
) -> None:
    answers = rankings(opened_artifact, demo_queries, 5)
    ranker.compare([Answered(query, 5, 0.0, labels) for query, labels in zip(demo_queries, answers, strict=True)])
    for ranks in (1, 3, 5):
        assert series(overlap(ranks, "sum")) == series(overlap(ranks, "count")) == len(demo_queries)
    assert series('astec_queries_total{model="next"}') == len(demo_queries)
    assert series('astec_queries_total{model="current"}') == 0
    assert series('astec_empty_answers_total{model="next"}') == sum(labels == [] for labels in answers)


def test_disagreement_is_measured_in_as_many_ranks_as_were_asked_for(
    ranker: ShadowRanker, opened_artifact: Artifact, demo_queries: list[str], series: Series
) -> None:
    answers = [labels[1:] + labels[:1] for labels in rankings(opened_artifact, demo_queries, 3)]
    ranker.compare([Answered(query, 3, 0.0, labels) for query, labels in zip(demo_queries, answers, strict=True)])
    expected = rankings(opened_artifact, demo_queries, 3)
    for ranks in (1, 3):
        total = sum(overlap_at(ranks, mine, theirs) for mine, theirs in zip(expected, answers, strict=True))
        assert series(overlap(ranks, "sum")) == pytest.approx(total)
    assert series(overlap(1, "sum")) < series(overlap(3, "sum")) == len(demo_queries)
    assert series(overlap(5, "count")) == 0


def test_a_query_that_fails_is_counted_and_the_others_are_compared(
    ranker: ShadowRanker, series: Series, caplog: pytest.LogCaptureFixture
) -> None:
    features = Bag(np.array([10**9], np.int32), np.array([1.0], np.float32))  # The model knows no such feature.
    with caplog.at_level(logging.ERROR):
        ranker.compare([Answered(query, 5, 0.0, []) for query in ("good", features, "better", features)])
    assert series('astec_shadow_not_compared_total{model="next",reason="failed"}') == 2
    assert series(overlap(1, "count")) == 2
    assert len(caplog.records) == 1


def test_the_process_compares_until_its_parent_has_died(
    ranker: ShadowRanker, opened_artifact: Artifact, channel: ShadowChannel, series: Series, stop: StopSignal
) -> None:
    (labels,) = rankings(opened_artifact, ["running shoes"], 5)
    result = RankResult(b"", NO_LABELS._replace(texts=labels), None)
    channel.send(join([encode(RankRequest("running shoes", 5, 0.0, False), result)] * 20))

    def beats() -> Iterator[bool]:
        yield True
        while series(overlap(1, "count")) < 20:
            yield True
        yield False

    heartbeat = beats()
    run_shadow(ranker, None, channel, lambda: next(heartbeat), stop)
    assert series(overlap(1, "sum")) == 20


def test_the_process_stops_when_it_is_asked_to(ranker: ShadowRanker, channel: ShadowChannel, stop: StopSignal) -> None:
    signal.raise_signal(signal.SIGTERM)
    run_shadow(ranker, None, channel, lambda: True, stop)
    assert stop.came
