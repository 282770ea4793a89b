"""Exhaustive scoring, compared with a slow reference that scores labels one by one.

Shapes: B queries, D dimensions, L labels, K neighbours.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from astec.export.artifact.index.base import HnswParams
from astec.export.artifact.index.flat import FlatIndex
from astec.export.artifact.index.hnsw import HnswIndex
from astec.export.artifact.labels.label_sets import LabelSets
from astec.export.artifact.scoring.scorer import Classifiers, rank
from astec.export.artifact.shortlist.label_graph import LabelGraph
from astec.export.artifact.shortlist.shortlister import Shortlister
from astec.export.model.checkpoint import Checkpoint
from astec.export.search.exhaustive import ExhaustiveShortlister, search_exactly
from astec.export.search.indices import IndexBuilder, Indices


@pytest.fixture(scope="module")
def checkpoint(make_checkpoint: Callable[..., Checkpoint]) -> Checkpoint:
    return make_checkpoint()


@pytest.fixture(scope="module")
def shortlister(checkpoint: Checkpoint, build_indices: Callable[..., Indices]) -> Shortlister:
    builder, indices = IndexBuilder(checkpoint), build_indices(checkpoint)
    assert indices.centroids is not None
    assert indices.points is not None
    return Shortlister(
        LabelGraph(indices.centroids, builder.labels("centroids"), 5),
        LabelGraph(indices.points, builder.labels("points"), 5),
        builder.representatives(),
    )


@pytest.fixture(scope="module")
def v(checkpoint: Checkpoint) -> NDArray[np.float32]:
    """Representations of some texts; the last text has no known token."""
    v_BD = checkpoint.reference.v[-8:]
    assert not v_BD[-1].any()
    return v_BD


def sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-x)))


def test_every_label_of_a_text_is_a_candidate(
    checkpoint: Checkpoint, shortlister: Shortlister, v: NDArray[np.float32]
) -> None:
    num_labels = len(checkpoint.labels)
    limited = Shortlister(shortlister.centroids, shortlister.points, shortlister.representatives, max_candidates=2)
    candidates = ExhaustiveShortlister(shortlister, num_labels).search(v, v)
    assert np.array_equal(ExhaustiveShortlister(limited, num_labels).search(v, v).votes, candidates.votes)
    assert np.diff(candidates.offsets).tolist() == [num_labels] * (len(v) - 1) + [0]
    assert candidates.labels.tolist() == list(range(num_labels)) * (len(v) - 1)


def test_the_best_are_those_of_a_reference_that_scores_every_label(
    checkpoint: Checkpoint, shortlister: Shortlister, v: NDArray[np.float32]
) -> None:
    x_hat_BD, model = checkpoint.reference.x_hat[-8:], checkpoint.model
    weights = checkpoint.shares.weights()._replace(sparse=0)
    candidates = ExhaustiveShortlister(shortlister, len(checkpoint.labels)).search(v, v)
    no_scales = np.empty(0, np.float32)
    best, scores = rank(candidates, weights, 5, Classifiers(x_hat_BD, model.classifier, no_scales, model.bias))
    near = shortlister.search(v, v)
    units = checkpoint.centroids
    for query in range(len(v) - 1):
        cosines = units @ v[query] / np.linalg.norm(v[query])
        similarities = [cosines[checkpoint.centroid_labels == label].max() for label in range(len(checkpoint.labels))]
        votes = np.zeros(len(checkpoint.labels))
        own = slice(near.offsets[query], near.offsets[query + 1])
        votes[near.labels[own]] = near.votes[own]
        expected = (
            weights.classifier * sigmoid(model.classifier @ x_hat_BD[query] + model.bias)
            + weights.similarity * sigmoid(np.array(similarities))
            + weights.votes * votes
        )
        assert scores[query] == pytest.approx(-np.sort(-expected)[:5], abs=1e-5)
        assert expected[best[query]] == pytest.approx(scores[query], abs=1e-5)
    assert best[-1].tolist() == [-1] * 5


def test_by_brute_force_nothing_is_missed() -> None:
    """The graphs are so poor that they miss nearly all neighbours."""
    vectors_ND = np.random.default_rng(0).standard_normal((400, 16), np.float32)
    queries_BD = np.random.default_rng(1).standard_normal((20, 16), np.float32)
    poor, labels = HnswIndex.build(vectors_ND, HnswParams(2, 1, 1), 0), np.arange(400, dtype=np.int32)
    graph = LabelGraph(poor, LabelSets.one_each(labels), 6)
    nearest = np.argsort(-queries_BD @ poor.vectors().T, axis=1)[:, :6]

    def found(shortlister: Shortlister) -> list[set[int]]:
        candidates = shortlister.search(queries_BD, queries_BD)
        return [set(some.tolist()) for some in np.split(candidates.labels, candidates.offsets[1:-1])]

    expected = [set(ids.tolist()) for ids in nearest]
    for approximate in (Shortlister(graph, None, None), Shortlister(None, graph, None)):
        exact = search_exactly(approximate)
        assert found(approximate) != expected
        assert found(exact) == expected
        assert (exact.centroids is None, exact.points is None) == (
            approximate.centroids is None,
            approximate.points is None,
        )


def test_brute_force_keeps_the_rest(shortlister: Shortlister) -> None:
    limited = Shortlister(shortlister.centroids, shortlister.points, shortlister.representatives, max_candidates=2)
    exact = search_exactly(limited)
    assert exact.max_candidates == 2
    assert exact.representatives is shortlister.representatives
    assert exact.points is not None
    assert shortlister.points is not None
    assert isinstance(exact.points.index, FlatIndex)
    assert (exact.points.labels, exact.points.neighbours) == (shortlister.points.labels, shortlister.points.neighbours)
