"""Shortlists of queries that only some labels may answer, on models with every part."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from astec.export.artifact.shortlist.allowed import Allowed
from astec.export.artifact.store import Artifact, open_artifact
from astec.export.model.checkpoint import Checkpoint
from astec.export.packing.pack import pack
from astec.export.search.exhaustive import ExhaustiveShortlister
from astec.export.search.indices import Indices
from astec.server.engine.predictor import Predictor
from astec.trainer.demo.log import sample_queries

QUERIES = list(dict.fromkeys(sample_queries(40, seed=5)))[:12]
MAX_CANDIDATES = 8
MASKS = st.tuples(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.02, 0.1, 0.5, 0.9, 1.0]))
PROPERTY = settings(derandomize=True, deadline=None, max_examples=80)


@pytest.fixture(scope="module")
def artifact(
    make_checkpoint: Callable[..., Checkpoint],
    build_indices: Callable[..., Indices],
    tmp_path_factory: pytest.TempPathFactory,
) -> Artifact:
    """A model that scores 8 labels of a query at most."""
    checkpoint = make_checkpoint(reranker_dim=24)
    target = tmp_path_factory.mktemp("limited") / "artifact"
    pack(checkpoint, build_indices(checkpoint, max_candidates=MAX_CANDIDATES), target, "limited")
    return open_artifact(target)


@pytest.fixture(scope="module")
def predictor(artifact: Artifact) -> Predictor:
    return Predictor(artifact)


@pytest.fixture(scope="module")
def exhaustive(artifact: Artifact) -> NDArray[np.float32]:
    """The score of every label for every query, [B, L]."""
    all_labels = ExhaustiveShortlister(artifact.shortlister, len(artifact.labels))
    predictor = Predictor(artifact)
    bags = artifact.featurizer.transform(QUERIES)
    v_BD, z_Bd, x_hat_BD, x_tilde_BD = predictor._encoder.encode(bags)
    ranker = predictor._ranker
    labels_BK, scores_BK = ranker.rank(
        all_labels.shortlist(z_Bd), v_BD, x_hat_BD, x_tilde_BD, bags, len(artifact.labels)
    )
    scores_BL = np.empty_like(scores_BK)
    np.put_along_axis(scores_BL, labels_BK, scores_BK, axis=1)
    return scores_BL


def mask_of(drawn: tuple[int, float], num_labels: int) -> NDArray[np.bool_]:
    seed, share = drawn
    return np.random.default_rng(seed).random(num_labels) < share


def near(artifact: Artifact, predictor: Predictor, query: str) -> NDArray[np.int32]:
    """All labels that the indices bring, whatever the limit."""
    z_Bd = predictor._encoder.encode(artifact.featurizer.transform([query])).z
    return artifact.shortlister.nearby(z_Bd).labels


@PROPERTY
@given(drawn=MASKS, top_k=st.sampled_from([1, 5, 20, 100]), query=st.integers(0, len(QUERIES) - 1))
def test_as_many_allowed_labels_come_back_as_there_are_up_to_top_k(
    artifact: Artifact,
    predictor: Predictor,
    exhaustive: NDArray[np.float32],
    drawn: tuple[int, float],
    top_k: int,
    query: int,
) -> None:
    mask = mask_of(drawn, len(artifact.labels))
    (labels_BK, scores_BK), _ = predictor.rank([QUERIES[query]], top_k, [Allowed(mask, top_k)])
    found = labels_BK[0][labels_BK[0] >= 0]
    assert len(found) == min(top_k, mask.sum())
    assert len(set(found.tolist())) == len(found)
    assert mask[found].all()
    # Votes are those of all hits, so that a score does not depend on what is filtered.
    np.testing.assert_allclose(scores_BK[0, : len(found)], exhaustive[query, found], rtol=1e-6)
    brought = near(artifact, predictor, QUERIES[query])
    if mask[brought].sum() < top_k:
        best = np.sort(exhaustive[query, mask])[::-1][:top_k]
        np.testing.assert_allclose(scores_BK[0, : len(found)], best, rtol=1e-6)
    else:
        assert set(found.tolist()) <= set(brought.tolist())


@PROPERTY
@given(
    asked=st.lists(
        st.tuples(st.integers(0, len(QUERIES)), st.none() | MASKS, st.sampled_from([1, 5, 20])), min_size=1, max_size=8
    )
)
def test_a_batch_of_mixed_filters_answers_as_each_alone(
    artifact: Artifact, predictor: Predictor, asked: list[tuple[int, tuple[int, float] | None, int]]
) -> None:
    queries = [*QUERIES, "qqqq zzzz"]
    allowed = [
        Allowed(None if drawn is None else mask_of(drawn, len(artifact.labels)), top_k) for _, drawn, top_k in asked
    ]
    texts = [queries[query] for query, _, _ in asked]
    most = max(top_k for _, _, top_k in asked)
    (labels_BK, scores_BK), _ = predictor.rank(texts, most, allowed)
    for row, (text, (mask, top_k, _)) in enumerate(zip(texts, allowed, strict=True)):
        alone, _ = predictor.rank([text], top_k, None if mask is None else [Allowed(mask, top_k)])
        np.testing.assert_array_equal(labels_BK[row, :top_k], alone.label_ids[0])
        np.testing.assert_array_equal(scores_BK[row, :top_k], alone.scores[0])


def test_a_filter_that_allows_all_changes_no_score_and_may_answer_more_than_the_limit(
    artifact: Artifact, predictor: Predictor
) -> None:
    everything = np.ones(len(artifact.labels), np.bool_)
    for query in QUERIES:
        (plain,), _ = predictor.predict([query], 20)
        narrowed, _ = predictor.rank([query], 20, [Allowed(everything, 20)])
        assert len(plain.label_ids) == MAX_CANDIDATES
        assert (narrowed.label_ids[0] >= 0).all()
        score_of = dict(zip(narrowed.label_ids[0].tolist(), narrowed.scores[0].tolist(), strict=True))
        shared = [label for label in plain.label_ids.tolist() if label in score_of]
        assert shared
        assert [score_of[label] for label in shared] == plain.scores[np.isin(plain.label_ids, shared)].tolist()


def test_a_query_without_a_known_token_gets_nothing_whatever_is_allowed(
    artifact: Artifact, predictor: Predictor
) -> None:
    everything = np.ones(len(artifact.labels), np.bool_)
    rankings, _ = predictor.rank(["", "qqqq zzzz"], 5, [Allowed(everything, 5), Allowed(everything, 5)])
    assert (rankings.label_ids == -1).all()
