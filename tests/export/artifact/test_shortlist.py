"""The union of what the graphs bring, against a slow reference."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from export.artifact.shortlist import Candidates, LabelGraph, LabelSets, Shortlister

DIM = 3


class ExactIndex:
    """Exact search that, as a graph may, does not reach some vectors."""

    def __init__(self, vectors_ND: NDArray[np.float32], unreachable: int) -> None:
        self.count = len(vectors_ND)
        self._vectors_ND = vectors_ND
        self._reachable = self.count - unreachable

    def search(self, queries_BD: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        k = min(k, self.count)
        similarities_BN = queries_BD @ self._vectors_ND.T
        similarities_BN[:, self._reachable :] = -np.inf
        ids_BK = np.argsort(-similarities_BN, axis=1, kind="stable")[:, :k]
        found_BK = np.take_along_axis(similarities_BN, ids_BK, axis=1)
        missed_BK = np.isneginf(found_BK)
        return np.where(missed_BK, -1, ids_BK), np.where(missed_BK, np.float32(-1), found_BK)


def make_graph(rng: np.random.Generator, num_vectors: int, num_labels: int) -> LabelGraph:
    lengths = rng.integers(0, 4, num_vectors)
    sets = LabelSets(
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        rng.integers(0, num_labels, lengths.sum()).astype(np.int32),
    )
    vectors_ND = rng.integers(-2, 3, (num_vectors, DIM)).astype(np.float32)
    index = ExactIndex(vectors_ND, unreachable=int(rng.integers(0, 2)))
    return LabelGraph(index, sets, neighbours=int(rng.integers(1, num_vectors + 2)))


Scores = dict[int, tuple[float, float]]


def hits_of(graph: LabelGraph, v_D: NDArray[np.float32]) -> Iterator[tuple[float, list[int]]]:
    """Similarity and labels of each hit."""
    ids, similarities = graph.index.search(v_D[None], graph.neighbours)
    for hit, similarity in zip(ids[0].tolist(), similarities[0].tolist(), strict=True):
        if hit >= 0:
            yield similarity, graph.labels.indices[graph.labels.indptr[hit] : graph.labels.indptr[hit + 1]].tolist()


def slow_union(centroids: LabelGraph, points: LabelGraph | None, v_D: NDArray[np.float32]) -> Scores:
    """Similarity and vote of each label."""
    if not v_D.any():
        return {}
    near = list(hits_of(centroids, v_D))
    best: dict[int, float] = {}
    for similarity, labels in near:
        for label in labels:
            best[label] = max(best.get(label, -np.inf), similarity)
    farthest = min((similarity for similarity, _ in near), default=0.0)
    votes: dict[int, float] = {}
    neighbours = [] if points is None else list(hits_of(points, v_D))
    total = sum(max(similarity, 1e-3) ** 6 for similarity, _ in neighbours)
    for similarity, labels in neighbours:
        for label in labels:
            votes[label] = votes.get(label, 0.0) + max(similarity, 1e-3) ** 6 / total
    return {label: (best.get(label, farthest), min(1.0, votes.get(label, 0.0))) for label in best | votes}


def per_query(candidates: Candidates) -> Iterator[tuple[list[int], list[tuple[float, float]]]]:
    for begin, end in zip(candidates.offsets, candidates.offsets[1:], strict=False):
        scores = zip(candidates.similarities[begin:end].tolist(), candidates.votes[begin:end].tolist(), strict=True)
        yield candidates.labels[begin:end].tolist(), list(scores)


@settings(derandomize=True, deadline=None, max_examples=150)
@given(seed=st.integers(0, 2**32), with_points=st.booleans(), num_queries=st.integers(0, 5))
def test_the_union_of_both_graphs_with_similarities_and_votes(seed: int, with_points: bool, num_queries: int) -> None:
    rng = np.random.default_rng(seed)
    num_labels = int(rng.integers(1, 12))
    centroids = make_graph(rng, int(rng.integers(1, 9)), num_labels)
    points = make_graph(rng, int(rng.integers(1, 9)), num_labels) if with_points else None
    v_BD = rng.integers(-1, 2, (num_queries, DIM)).astype(np.float32)
    shortlister = Shortlister(centroids, points)
    candidates = shortlister.search(v_BD)
    assert len(candidates.offsets) == num_queries + 1
    for v_D, (labels, scores) in zip(v_BD, per_query(candidates), strict=True):
        expected = slow_union(centroids, points, v_D)
        assert sorted(labels) == sorted(expected)
        np.testing.assert_allclose(
            np.array(scores).reshape(-1, 2), [expected[label] for label in labels] or np.empty((0, 2)), rtol=1e-5
        )
        alone = shortlister.search(v_D[None])
        assert list(per_query(alone)) == [(labels, scores)]


def one_graph(labels: list[int]) -> LabelGraph:
    index = ExactIndex(np.eye(len(labels), DIM, dtype=np.float32), unreachable=0)
    return LabelGraph(index, LabelSets.one_each(np.array(labels, np.int32)), neighbours=len(labels))


def test_a_label_with_two_representatives_is_one_candidate() -> None:
    candidates = Shortlister(one_graph([4, 4, 7]), None).search(np.array([[0.25, 0.5, -1]], np.float32))
    assert list(per_query(candidates)) == [([4, 7], [(0.5, 0.0), (-1.0, 0.0)])]


def test_a_label_that_only_points_bring_is_as_near_as_the_farthest_hit() -> None:
    """Hits of the points at 0.8 and 0.4: their votes are as the sixth powers, 64 to 1."""
    query = np.array([[0.8, 0.4, -0.5]], np.float32)
    candidates = Shortlister(one_graph([0, 1]), one_graph([5, 0])).search(query)
    ((labels, scores),) = per_query(candidates)
    assert labels == [0, 1, 5]
    assert [similarity for similarity, _ in scores] == pytest.approx([0.8, 0.4, 0.4])
    assert [vote for _, vote in scores] == pytest.approx([1 / 65, 0, 64 / 65])


def test_a_zero_vector_has_no_candidates() -> None:
    v_BD = np.array([[0, 0, 0], [1, 0, 0], [0, 0, 0]], np.float32)
    candidates = Shortlister(one_graph([0, 1]), one_graph([2, 3])).search(v_BD)
    assert candidates.offsets.tolist() == [0, 0, 4, 4]


@pytest.mark.parametrize("label_of", [lambda i: i, lambda i: 2**31 - 1 - i, lambda i: i << 16])
def test_many_labels_that_collide_are_kept_apart(label_of: Callable[[int], int]) -> None:
    labels = np.array([label_of(i) for i in range(5_000)], np.int32)
    sets = LabelSets(np.array([0, 5_000], np.int64), labels)
    index = ExactIndex(np.ones((1, DIM), np.float32), unreachable=0)
    graph = LabelGraph(index, sets, neighbours=1)
    candidates = Shortlister(graph, graph).search(np.ones((3, DIM), np.float32))
    assert candidates.labels.tolist() == labels.tolist() * 3
