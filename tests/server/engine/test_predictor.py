"""Rankings of queries: alone, in batches and from several threads."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from astec.export.artifact.store import open_artifact
from astec.export.artifact.text.bags import Bag, QueryKindError
from astec.server.engine.predictor import Predictor, Ranking

NORM_TOLERANCE = 1e-6
TOP_K = 5


@pytest.fixture(scope="module")
def predictor(demo_artifact: Path) -> Predictor:
    return Predictor(open_artifact(demo_artifact))


def assert_same(first: Sequence[Ranking], second: Sequence[Ranking], tolerance: float) -> None:
    for one, other in zip(first, second, strict=True):
        assert one.label_ids.tolist() == other.label_ids.tolist()
        assert one.scores == pytest.approx(other.scores, abs=tolerance)


def test_a_training_text_finds_its_label(predictor: Predictor) -> None:
    labels = predictor.artifact.labels
    common = np.argsort(-predictor.artifact.label_counts)[:20].tolist()
    rankings, _ = predictor.predict(labels[:], TOP_K)
    assert sum(label in rankings[label].label_ids for label in common) >= 15


def test_rankings_are_best_first_distinct_and_known(predictor: Predictor, demo_queries: list[str]) -> None:
    rankings, times = predictor.predict(demo_queries, TOP_K)
    assert len(rankings) == len(demo_queries)
    assert sum(len(ranking.scores) == TOP_K for ranking in rankings) > len(demo_queries) / 2
    for ranking in rankings:
        assert len(ranking.label_ids) == len(ranking.scores) <= TOP_K
        assert len(np.unique(ranking.label_ids)) == len(ranking.label_ids)
        assert np.all(np.diff(ranking.scores) <= 0)
        assert np.all((ranking.scores > 0) & (ranking.scores < 1))
        assert np.all((ranking.label_ids >= 0) & (ranking.label_ids < len(predictor.artifact.labels)))
    assert min(times.featurize_s, times.encode_s, times.shortlist_s, times.score_s) > 0


def test_a_batch_is_its_queries_one_by_one_bit_for_bit(predictor: Predictor, demo_queries: list[str]) -> None:
    batch, _ = predictor.predict(demo_queries, TOP_K)
    alone = [predictor.predict([query], TOP_K)[0][0] for query in demo_queries]
    assert_same(batch, alone, 0)


@pytest.mark.parametrize("query", ["", "   ", "🎉🎉", "qqqq zzzz xxxx", "\ud800", "日本語"])
def test_a_query_of_nothing_known_has_no_labels(predictor: Predictor, query: str) -> None:
    (ranking,), _ = predictor.predict([query], TOP_K)
    assert ranking.label_ids.tolist() == []
    assert ranking.scores.tolist() == []


def test_no_queries_at_all(predictor: Predictor) -> None:
    assert predictor.predict([], TOP_K)[0] == []


def test_fewer_ranks_are_the_first_of_more(predictor: Predictor, demo_queries: list[str]) -> None:
    few, _ = predictor.predict(demo_queries, 2)
    many, _ = predictor.predict(demo_queries, 100)
    first = [Ranking(ranking.label_ids[:2], ranking.scores[:2]) for ranking in many]
    assert_same(few, first, 0)


def test_more_ranks_than_labels_gives_the_whole_shortlist(predictor: Predictor, demo_queries: list[str]) -> None:
    num_labels = len(predictor.artifact.labels)
    rankings, _ = predictor.predict(demo_queries, num_labels + 1)
    shortlists = predictor.shortlist(demo_queries)
    for ranking, shortlist in zip(rankings, shortlists, strict=True):
        assert sorted(ranking.label_ids.tolist()) == sorted(shortlist.tolist())


def test_threads_do_not_disturb_one_another(predictor: Predictor, demo_queries: list[str]) -> None:
    parts = [demo_queries[start::4] for start in range(4)] * 4
    expected = [predictor.predict(part, TOP_K)[0] for part in parts]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda part: predictor.predict(part, TOP_K)[0], parts))
    for one, other in zip(expected, found, strict=True):
        assert_same(one, other, 0)


def test_a_bag_ranks_as_the_text_it_stands_for(predictor: Predictor) -> None:
    text = "running shoes"
    bags = predictor.artifact.featurizer.transform([text])
    rankings, _ = predictor.predict([Bag(bags.ids, bags.weights), text], TOP_K)
    assert len(rankings[0].scores) == TOP_K
    assert_same(rankings[:1], rankings[1:], NORM_TOLERANCE)


def test_an_unknown_feature_id_is_refused(predictor: Predictor) -> None:
    outside = Bag(np.array([predictor.artifact.featurizer.num_features], np.int32), np.ones(1, np.float32))
    with pytest.raises(QueryKindError, match="feature ids must lie between 0 and"):
        predictor.check(outside)
    with pytest.raises(QueryKindError):
        predictor.predict(["running shoes", outside], TOP_K)
