"""Rankings without hidden labels, on a model with every part.

Shapes: K labels of a query.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from astec.export.artifact.shortlist.allowed import Allowed
from astec.export.artifact.shortlist.hidden import BLOCKED, REMOVED, VISIBLE, Hidden, spare_ranks
from astec.export.artifact.store import Artifact, open_artifact
from astec.export.model.checkpoint import Checkpoint
from astec.export.packing.pack import pack
from astec.export.search.indices import Indices
from astec.server.engine.predictor import Predictor, Ranking, Rankings
from astec.trainer.demo.log import sample_queries

QUERIES = list(dict.fromkeys(sample_queries(40, seed=5)))[:12]
HIDDEN = st.tuples(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]))
PROPERTY = settings(derandomize=True, deadline=None, max_examples=60)


@pytest.fixture(scope="module")
def make_artifact(
    make_checkpoint: Callable[..., Checkpoint],
    build_indices: Callable[..., Indices],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[int], Artifact]:
    """Return a function that packs a model which scores so many labels of a query at most."""

    def make(max_candidates: int) -> Artifact:
        checkpoint = make_checkpoint()
        target = tmp_path_factory.mktemp("hidden") / "artifact"
        pack(checkpoint, build_indices(checkpoint, max_candidates=max_candidates), target, "hidden")
        return open_artifact(target)

    return make


@pytest.fixture(scope="module")
def artifact(make_artifact: Callable[[int], Artifact]) -> Artifact:
    return make_artifact(60)


@pytest.fixture(scope="module")
def limited(make_artifact: Callable[[int], Artifact]) -> Predictor:
    """A model that drops some of the labels near a query, and scores more than the spare ranks of short answers."""
    return Predictor(make_artifact(38))


@pytest.fixture(scope="module")
def predictor(artifact: Artifact) -> Predictor:
    return Predictor(artifact)


def hidden_of(drawn: tuple[int, float], num_labels: int) -> Hidden:
    """Draw a share of hidden labels; those with even ids are removed, those with odd ones blocked."""
    seed, share = drawn
    is_hidden_L = np.random.default_rng(seed).random(num_labels) < share
    return np.where(is_hidden_L, np.where(np.arange(num_labels) % 2, BLOCKED, REMOVED), VISIBLE).astype(np.uint8)


def ids_of(labels_K: NDArray[np.int64]) -> list[int]:
    ids: list[int] = labels_K[labels_K >= 0].tolist()
    return ids


def assert_filtered(rankings: Rankings, plain: Ranking, hidden: Hidden, top_k: int) -> None:
    """Check that an answer is the ranking of all candidates less the hidden ones, where enough of these are left."""
    visible = hidden[plain.label_ids] == VISIBLE
    if visible.sum() >= min(top_k, len(plain.label_ids)):
        found = ids_of(rankings.label_ids[0])
        assert found == plain.label_ids[visible][:top_k].tolist()
        np.testing.assert_array_equal(rankings.scores[0, : len(found)], plain.scores[visible][:top_k])


@PROPERTY
@given(
    drawn=HIDDEN,
    asked=st.lists(
        st.tuples(st.integers(0, len(QUERIES) - 1), st.sampled_from([1, 5, 30, 100])), min_size=1, max_size=4
    ),
)
def test_an_answer_is_the_plain_ranking_without_the_hidden_labels(
    artifact: Artifact, predictor: Predictor, drawn: tuple[int, float], asked: list[tuple[int, int]]
) -> None:
    hidden = hidden_of(drawn, len(artifact.labels))
    texts, top_ks = [QUERIES[query] for query, _ in asked], [top_k for _, top_k in asked]
    (rankings, without_blocked_B), _ = predictor.rank_visible(texts, top_ks, None, hidden)
    for row, (text, top_k) in enumerate(zip(texts, top_ks, strict=True)):
        found = ids_of(rankings.label_ids[row])
        ((plain,), _), visible = predictor.predict([text], spare_ranks(top_k)), int((hidden == VISIBLE).sum())
        everything = plain.label_ids.tolist()
        expected = [label for label in everything if hidden[label] == VISIBLE][:top_k]
        assert (hidden[found] == VISIBLE).all()
        assert len(found) == len(set(found))
        assert len(found) >= min(top_k, visible, len(everything))
        if len(expected) == min(top_k, len(everything)):
            assert found == expected
            score_of = dict(zip(everything, plain.scores.tolist(), strict=True))
            assert rankings.scores[row, : len(found)].tolist() == [score_of[label] for label in found]
        not_removed = [label for label in everything if hidden[label] != REMOVED]
        assert without_blocked_B[row] == any(hidden[label] == BLOCKED for label in not_removed[:top_k])
        (alone, _), _ = predictor.rank_visible([text], [top_k], None, hidden)
        assert ids_of(alone.label_ids[0]) == found


@PROPERTY
@given(drawn=HIDDEN, query=st.integers(0, len(QUERIES) - 1), top_k=st.sampled_from([1, 2, 5, 20]))
def test_an_answer_is_the_ranking_of_all_candidates_without_the_hidden_ones(
    limited: Predictor, drawn: tuple[int, float], query: int, top_k: int
) -> None:
    num_labels = len(limited.artifact.labels)
    hidden = hidden_of(drawn, num_labels)
    ((plain,), _) = limited.predict([QUERIES[query]], num_labels)
    (rankings, _), _ = limited.rank_visible([QUERIES[query]], [top_k], None, hidden)
    assert len(ids_of(rankings.label_ids[0])) == min(top_k, len(plain.label_ids), (hidden == VISIBLE).sum())
    assert_filtered(rankings, plain, hidden, top_k)


@pytest.mark.parametrize("top_k", [1, 2])
def test_it_is_so_where_the_spare_ranks_are_all_hidden_and_few_candidates_are_left(
    limited: Predictor, top_k: int
) -> None:
    num_labels = len(limited.artifact.labels)
    for query, seed in product(QUERIES, range(20)):
        ((plain,), _) = limited.predict([query], num_labels)
        left = np.random.default_rng(seed).choice(len(plain.label_ids), top_k + seed % 2, replace=False)
        hidden = np.zeros(num_labels, np.uint8)
        hidden[plain.label_ids] = BLOCKED
        hidden[plain.label_ids[left]] = VISIBLE
        (rankings, _), _ = limited.rank_visible([query], [top_k], None, hidden)
        assert len(ids_of(rankings.label_ids[0])) == top_k
        assert_filtered(rankings, plain, hidden, top_k)


@PROPERTY
@given(drawn=HIDDEN, allowed=HIDDEN, query=st.integers(0, len(QUERIES) - 1), top_k=st.sampled_from([1, 5, 30]))
def test_a_filter_and_hidden_labels_narrow_together(
    artifact: Artifact,
    predictor: Predictor,
    drawn: tuple[int, float],
    allowed: tuple[int, float],
    query: int,
    top_k: int,
) -> None:
    hidden, mask = hidden_of(drawn, len(artifact.labels)), hidden_of(allowed, len(artifact.labels)) == VISIBLE
    both = mask & (hidden == VISIBLE)
    (rankings, _), _ = predictor.rank_visible([QUERIES[query]], [top_k], [Allowed(mask, top_k)], hidden)
    found = ids_of(rankings.label_ids[0])
    assert both[found].all()
    assert len(found) == min(top_k, both.sum())


def test_no_label_is_left_where_all_are_hidden(artifact: Artifact, predictor: Predictor) -> None:
    hidden = np.full(len(artifact.labels), BLOCKED, np.uint8)
    (rankings, without_blocked_B), _ = predictor.rank_visible([*QUERIES, "qqqq zzzz"], [5] * 13, None, hidden)
    assert (rankings.label_ids == -1).all()
    assert without_blocked_B.tolist() == [True] * 12 + [False]


def test_labels_farther_away_take_the_places_of_near_hidden_ones(artifact: Artifact, predictor: Predictor) -> None:
    (plain,), _ = predictor.predict([QUERIES[0]], 1000)
    hidden = np.zeros(len(artifact.labels), np.uint8)
    hidden[plain.label_ids] = BLOCKED
    (rankings, _), _ = predictor.rank_visible([QUERIES[0]], [5], None, hidden)
    found = ids_of(rankings.label_ids[0])
    assert len(found) == min(5, len(artifact.labels) - len(plain.label_ids)) > 0
    assert not set(found) & set(plain.label_ids.tolist())
