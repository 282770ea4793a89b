"""What the indices bring, joined and measured, against a slow reference.

Shapes: B queries, D dimensions, d of the indices, N vectors of an index, K hits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from astec.export.artifact.kernels.quantization import quantize_int8
from astec.export.artifact.kernels.weight_rows import read_only
from astec.export.artifact.labels.label_sets import LabelSets
from astec.export.artifact.shortlist.candidates import Candidates
from astec.export.artifact.shortlist.label_graph import LabelGraph
from astec.export.artifact.shortlist.representatives import Representatives, label_bounds
from astec.export.artifact.shortlist.shortlister import Shortlister

DIM, INDEX_DIM = 5, 3


class ExactIndex:
    """Exact search that, as a graph may, does not reach some vectors."""

    def __init__(self, vectors_Nd: NDArray[np.float32], unreachable: int) -> None:
        self.count = len(vectors_Nd)
        self._vectors_Nd = vectors_Nd
        self._reachable = self.count - unreachable

    def search(self, queries_Bd: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        k = min(k, self.count)
        similarities_BN = queries_Bd @ self._vectors_Nd.T
        similarities_BN[:, self._reachable :] = -np.inf
        ids_BK = np.argsort(-similarities_BN, axis=1, kind="stable")[:, :k]
        found_BK = np.take_along_axis(similarities_BN, ids_BK, axis=1)
        missed_BK = np.isneginf(found_BK)
        return np.where(missed_BK, -1, ids_BK), np.where(missed_BK, np.float32(-1), found_BK)


def random_graph(rng: np.random.Generator, num_labels: int) -> LabelGraph:
    """Vectors of no, one or several labels each."""
    num_vectors = int(rng.integers(1, 9))
    lengths = rng.integers(0, 4, num_vectors)
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    sets = LabelSets(read_only(indptr), read_only(rng.integers(0, num_labels, lengths.sum()).astype(np.int32)))
    vectors_Nd = rng.integers(-2, 3, (num_vectors, INDEX_DIM)).astype(np.float32)
    index = ExactIndex(vectors_Nd, unreachable=int(rng.integers(0, 2)))
    return LabelGraph(index, sets, neighbours=int(rng.integers(1, num_vectors + 2)))


def random_representatives(rng: np.random.Generator, num_labels: int, *, int8: bool) -> Representatives:
    """Several of some labels, none of others."""
    labels = np.repeat(np.arange(num_labels, dtype=np.int32), rng.integers(0, 4, num_labels))
    vectors = rng.standard_normal((len(labels), DIM)).astype(np.float32)
    mu = Representatives.of(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), labels, num_labels)
    if not int8:
        return mu
    codes, scales = quantize_int8(np.asarray(mu.vectors, np.float32))
    return Representatives(mu.indptr, read_only(codes), read_only(scales))


Scores = dict[int, tuple[float, float]]


def hits_of(graph: LabelGraph | None, z_d: NDArray[np.float32]) -> Iterator[tuple[float, list[int]]]:
    """Similarity and labels of each hit."""
    if graph is None:
        return
    ids, similarities = graph.index.search(z_d[None], graph.neighbours)
    for hit, similarity in zip(ids[0].tolist(), similarities[0].tolist(), strict=True):
        if hit >= 0:
            yield similarity, graph.labels.indices[graph.labels.indptr[hit] : graph.labels.indptr[hit + 1]].tolist()


def slow_similarity(mu: Representatives | None, label: int, v_D: NDArray[np.float32]) -> float:
    """Cosine similarity of the label's best representative: -1 without one; 0 where nobody asks."""
    if mu is None:
        return 0.0
    rows = np.asarray(mu.vectors, np.float64)
    if len(mu.scales):
        rows = rows * mu.scales[:, None]
    cosines = rows[mu.indptr[label] : mu.indptr[label + 1]] @ v_D / np.linalg.norm(v_D)
    return float(cosines.max(initial=-1))


def slow_search(shortlister: Shortlister, z_d: NDArray[np.float32], v_D: NDArray[np.float32]) -> Scores:
    """Similarity and vote of each label, in the order found."""
    if not z_d.any():
        return {}
    votes = {label: 0.0 for _, labels in hits_of(shortlister.centroids, z_d) for label in labels}
    neighbours = list(hits_of(shortlister.points, z_d))
    total = sum(max(similarity, 1e-3) ** 6 for similarity, _ in neighbours)
    for similarity, labels in neighbours:
        for label in labels:
            votes[label] = votes.get(label, 0.0) + max(similarity, 1e-3) ** 6 / total
    mu = shortlister.representatives
    return {label: (slow_similarity(mu, label, v_D), min(1.0, vote)) for label, vote in votes.items()}


def per_query(candidates: Candidates) -> Iterator[tuple[list[int], list[tuple[float, float]]]]:
    for begin, end in pairwise(candidates.offsets.tolist()):
        scores = zip(candidates.similarities[begin:end].tolist(), candidates.votes[begin:end].tolist(), strict=True)
        yield candidates.labels[begin:end].tolist(), list(scores)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    seed=st.integers(0, 2**32),
    kind=st.sampled_from(["centroids", "points", "union"]),
    weights=st.sampled_from(["float32", "int8", None]),
    num_queries=st.integers(0, 5),
)
def test_labels_similarities_and_votes(seed: int, kind: str, weights: str | None, num_queries: int) -> None:
    rng = np.random.default_rng(seed)
    num_labels = int(rng.integers(1, 12))
    shortlister = Shortlister(
        random_graph(rng, num_labels) if kind != "points" else None,
        random_graph(rng, num_labels) if kind != "centroids" else None,
        random_representatives(rng, num_labels, int8=weights == "int8") if weights else None,
    )
    z_Bd = rng.integers(-1, 2, (num_queries, INDEX_DIM)).astype(np.float32)
    v_BD = rng.standard_normal((num_queries, DIM)).astype(np.float32)
    candidates = shortlister.search(z_Bd, v_BD)
    assert len(candidates.offsets) == num_queries + 1
    for query, (labels, scores) in enumerate(per_query(candidates)):
        expected = slow_search(shortlister, z_Bd[query], v_BD[query])
        assert labels == list(expected)
        np.testing.assert_allclose(
            np.array(scores).reshape(-1, 2),
            [expected[label] for label in labels] or np.empty((0, 2)),
            rtol=1e-5,
            atol=1e-6,
        )
        alone = shortlister.search(z_Bd[query : query + 1], v_BD[query : query + 1])
        assert list(per_query(alone)) == [(labels, scores)]


@settings(derandomize=True, deadline=None, max_examples=200)
@given(seed=st.integers(0, 2**32), kind=st.sampled_from(["centroids", "points", "union"]))
def test_what_voters_give_are_the_votes_of_their_labels(seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    num_labels = int(rng.integers(1, 12))
    centroids = random_graph(rng, num_labels) if kind != "points" else None
    points = random_graph(rng, num_labels) if kind != "centroids" else None
    shortlister = Shortlister(centroids, points, None)
    z_1d = rng.integers(-1, 2, (1, INDEX_DIM)).astype(np.float32)
    voters = shortlister.voters(z_1d)
    votes = dict.fromkeys(shortlister.shortlist(z_1d).labels.tolist(), 0.0)
    for point, vote in zip(voters.points.tolist(), voters.votes.tolist(), strict=True):
        assert points is not None
        for label in points.labels.take(np.array([point])).indices.tolist():
            votes[label] += vote
    expected = [min(1.0, vote) for vote in votes.values()]
    np.testing.assert_allclose(shortlister.shortlist(z_1d).votes, expected, rtol=1e-5, atol=1e-6)
    assert float(voters.votes.sum()) == pytest.approx(1 if len(voters.points) else 0, abs=1e-5)
    assert np.all(np.diff(voters.similarities) <= 0)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    seed=st.integers(0, 2**32),
    kind=st.sampled_from(["centroids", "points", "union"]),
    max_candidates=st.integers(1, 12),
    num_queries=st.integers(0, 5),
)
def test_the_candidates_with_the_highest_votes_are_kept_of_equal_ones_those_found_first(
    seed: int, kind: str, max_candidates: int, num_queries: int
) -> None:
    rng = np.random.default_rng(seed)
    num_labels = int(rng.integers(1, 20))
    centroids = random_graph(rng, num_labels) if kind != "points" else None
    points = random_graph(rng, num_labels) if kind != "centroids" else None
    mu = random_representatives(rng, num_labels, int8=False)
    limited, whole = Shortlister(centroids, points, mu, max_candidates), Shortlister(centroids, points, mu)
    z_Bd = rng.integers(-1, 2, (num_queries, INDEX_DIM)).astype(np.float32)
    v_BD = rng.standard_normal((num_queries, DIM)).astype(np.float32)
    expected = [best_of(labels, scores, max_candidates) for labels, scores in per_query(whole.search(z_Bd, v_BD))]
    assert list(per_query(limited.search(z_Bd, v_BD))) == expected
    for query in range(num_queries):
        rows = slice(query, query + 1)
        assert list(per_query(limited.search(z_Bd[rows], v_BD[rows]))) == [expected[query]]


def best_of(
    labels: list[int], scores: list[tuple[float, float]], most: int
) -> tuple[list[int], list[tuple[float, float]]]:
    """The candidates with the highest votes, in the order found."""
    kept = sorted(sorted(range(len(labels)), key=lambda i: -scores[i][1])[:most])
    return [labels[i] for i in kept], [scores[i] for i in kept]


def test_a_limit_keeps_the_best_in_the_order_found() -> None:
    z_Bd = np.array([[0.4, 0.8, 0.4]], np.float32)
    for max_candidates, kept in ((1, [7]), (2, [7, 6]), (3, [7, 6, 8]), (4, [3, 7, 6, 8]), (None, [3, 9, 7, 6, 8])):
        # Labels 6 and 8 are equally near; 3 and 9 have no vote, and 3 is the nearer one of them.
        shortlister = Shortlister(axes_of([9, 3]), axes_of([6, 7, 8]), None, max_candidates)
        assert shortlister.search(z_Bd, z_Bd).labels.tolist() == kept


def test_votes_of_labels_that_are_dropped_do_not_leak_into_the_next_query() -> None:
    z_Bd = np.array([[1, 0.5, 0.1], [1, 0.5, 0.1]], np.float32)
    candidates = Shortlister(None, axes_of([4, 5, 6]), None, 1).search(z_Bd, z_Bd)
    assert candidates.offsets.tolist() == [0, 1, 2]
    assert candidates.votes[0] == candidates.votes[1] < 1


def axes_of(labels: list[int]) -> LabelGraph:
    """A vector along an axis of its own for each label."""
    index = ExactIndex(np.eye(len(labels), INDEX_DIM, dtype=np.float32), unreachable=0)
    return LabelGraph(index, LabelSets.one_each(read_only(np.array(labels, np.int32))), neighbours=len(labels))


def test_a_label_with_two_representatives_is_one_candidate_as_similar_as_the_better() -> None:
    mu = Representatives.of(np.eye(3, DIM, dtype=np.float32), np.array([4, 4, 7], np.int32), 8)
    query = np.array([[0.6, 0.8, 0]], np.float32), np.array([[0.6, 0.8, 0, 0, 0]], np.float32)
    candidates = Shortlister(axes_of([4, 4, 7]), None, mu).search(*query)
    assert list(per_query(candidates)) == [([4, 7], [(pytest.approx(0.8), 0.0), (0.0, 0.0)])]


def test_points_vote_by_the_sixth_powers_of_their_similarities() -> None:
    """Hits at 0.8 and 0.4: 64 to 1. Only the space of the indices counts, where v may be longer."""
    z_Bd, v_BD = np.array([[0.8, 0.4, -0.5]], np.float32), np.array([[3, 4, 0, 0, 0]], np.float32)
    mu = Representatives.of(np.eye(6, DIM, dtype=np.float32), np.arange(6, dtype=np.int32), 6)
    ((labels, scores),) = per_query(Shortlister(axes_of([0, 1]), axes_of([5, 0]), mu).search(z_Bd, v_BD))
    assert labels == [0, 1, 5]
    assert [similarity for similarity, _ in scores] == pytest.approx([0.6, 0.8, 0])
    assert [vote for _, vote in scores] == pytest.approx([1 / 65, 0, 64 / 65])


def test_points_vote_by_the_weights_of_their_labels() -> None:
    """A point weighs as much as its heaviest label, and votes of equally near points are shares of their weights."""
    labels = read_only(np.array([0, 1, 2], np.int32))
    sets = LabelSets(read_only(np.array([0, 2, 3])), labels, read_only(np.array([3, 1, 2], np.float32)))
    index = ExactIndex(np.eye(2, INDEX_DIM, dtype=np.float32), unreachable=0)
    shortlister = Shortlister(None, LabelGraph(index, sets, neighbours=2), None)
    z_1d = np.ones((1, INDEX_DIM), np.float32)
    found = shortlister.shortlist(z_1d)
    assert dict(zip(found.labels.tolist(), found.votes.tolist(), strict=True)) == pytest.approx(
        {0: 3 / 5, 1: 1 / 5, 2: 2 / 5}
    )
    assert shortlister.voters(z_1d).votes.tolist() == pytest.approx([3 / 5, 2 / 5])


def test_without_representatives_nothing_is_similar() -> None:
    candidates = Shortlister(None, axes_of([2, 3]), None).search(*[np.ones((2, INDEX_DIM), np.float32)] * 2)
    assert candidates.labels.tolist() == [2, 3, 2, 3]
    assert candidates.similarities.tolist() == [0, 0, 0, 0]


def test_a_zero_vector_has_no_candidates() -> None:
    v_BD = np.array([[0, 0, 0], [1, 0, 0], [0, 0, 0]], np.float32)
    candidates = Shortlister(axes_of([0, 1]), axes_of([2, 3]), None).search(v_BD, v_BD)
    assert candidates.offsets.tolist() == [0, 0, 4, 4]


def test_no_index_is_no_shortlist() -> None:
    with pytest.raises(ValueError, match="needs an index over label representatives or over training points"):
        Shortlister(None, None, None)


@pytest.mark.parametrize("max_candidates", [0, -1])
def test_a_limit_that_leaves_nothing_is_refused(max_candidates: int) -> None:
    with pytest.raises(ValueError, match=f"max_candidates is {max_candidates}; it must be at least 1"):
        Shortlister(axes_of([0]), None, None, max_candidates)


def test_the_bounds_of_labels_some_of_which_have_no_representative() -> None:
    assert label_bounds(np.array([1, 1, 3], np.int32), 5).tolist() == [0, 0, 2, 2, 3, 3]


@pytest.mark.parametrize("label_of", [lambda i: i, lambda i: 2**31 - 1 - i, lambda i: i << 16])
def test_many_labels_that_collide_are_kept_apart(label_of: Callable[[int], int]) -> None:
    labels = np.array([label_of(i) for i in range(5_000)], np.int32)
    sets = LabelSets(read_only(np.array([0, 5_000], np.int64)), read_only(labels))
    index = ExactIndex(np.ones((1, INDEX_DIM), np.float32), unreachable=0)
    graph, v_BD = LabelGraph(index, sets, neighbours=1), np.ones((3, INDEX_DIM), np.float32)
    candidates = Shortlister(graph, graph, None).search(v_BD, v_BD)
    assert candidates.labels.tolist() == labels.tolist() * 3
