"""Scores and ranks against a slow reference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from export.artifact.shortlist import Candidates
from server.scorer import rank

TOLERANCE = 1e-5


def candidates_of(labels: list[list[int]], similarities: list[list[float]]) -> Candidates:
    offsets = np.cumsum([0, *(len(row) for row in labels)]).astype(np.int64)
    return Candidates(
        np.array([label for row in labels for label in row], np.int32),
        np.array([similarity for row in similarities for similarity in row], np.float32),
        offsets,
    )


def sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-x))


@settings(derandomize=True, deadline=None, max_examples=150)
@given(
    seed=st.integers(0, 2**32),
    num_queries=st.integers(0, 4),
    top_k=st.integers(1, 8),
    alpha=st.floats(0, 1, width=32),
    gamma=st.none() | st.floats(0, 1, width=32),
)
def test_scores_and_order_are_the_papers_and_the_sparse_terms(
    seed: int, num_queries: int, top_k: int, alpha: float, gamma: float | None
) -> None:
    """Without a gamma the paper's alone."""
    rng = np.random.default_rng(seed)
    num_labels, dim = 20, int(rng.integers(1, 40))
    labels = [rng.permutation(num_labels)[: rng.integers(0, 12)].tolist() for _ in range(num_queries)]
    similarities = [rng.uniform(-1, 1, len(row)).tolist() for row in labels]
    candidates = candidates_of(labels, similarities)
    x_hat_BD = rng.standard_normal((num_queries, dim)).astype(np.float32)
    classifier_LD = rng.standard_normal((num_labels, dim)).astype(np.float32)
    bias_L = rng.standard_normal(num_labels).astype(np.float32)

    sparse_logits_C = rng.uniform(-3, 3, len(candidates.labels)).astype(np.float32)
    sparse_term = () if gamma is None else (sparse_logits_C, gamma)

    labels_BK, scores_BK = rank(candidates, x_hat_BD, classifier_LD, bias_L, alpha, top_k, *sparse_term)

    assert labels_BK.shape == scores_BK.shape == (num_queries, top_k)
    assert (labels_BK.dtype, scores_BK.dtype) == (np.int64, np.float32)
    for query, row in enumerate(labels):
        logits = classifier_LD[row].astype(np.float64) @ x_hat_BD[query].astype(np.float64) + bias_L[row]
        expected = alpha * sigmoid(logits) + (1 - alpha) * sigmoid(np.array(similarities[query], np.float64))
        if gamma is not None:
            begin, end = candidates.offsets[query : query + 2]
            expected = (1 - gamma) * expected + gamma * sigmoid(2 * sparse_logits_C[begin:end].astype(np.float64))
        score_of = dict(zip(row, expected.tolist(), strict=True))
        count = min(top_k, len(row))
        ranked, scores = labels_BK[query, :count].tolist(), scores_BK[query, :count]
        assert np.all(labels_BK[query, count:] == -1)
        assert len(set(ranked)) == count
        assert scores == pytest.approx([score_of[label] for label in ranked], abs=TOLERANCE)
        assert scores == pytest.approx(np.sort(expected)[::-1][:count], abs=TOLERANCE)
        assert np.all(np.diff(scores) <= 0)


def test_hand_worked_scores() -> None:
    candidates = candidates_of([[1, 0]], [[0.0, 1.0]])
    classifier_LD = np.array([[1, 0], [2, 1]], np.float32)
    labels, scores = rank(
        candidates, np.array([[1, 0]], np.float32), classifier_LD, np.array([-1, 0], np.float32), 0.75, 2
    )
    # Label 1: 0.75 / (1 + e^-2) + 0.25 / 2; label 0: 0.75 / 2 + 0.25 / (1 + e^-1).
    assert labels.tolist() == [[1, 0]]
    assert scores[0] == pytest.approx([0.785598, 0.557765], abs=1e-6)


def test_hand_worked_scores_with_a_sparse_term() -> None:
    """The candidates above; the sparse term sees one third of label 1 and two thirds of label 0."""
    candidates = candidates_of([[1, 0]], [[0.0, 1.0]])
    labels, scores = rank(
        candidates,
        np.array([[1, 0]], np.float32),
        np.array([[1, 0], [2, 1]], np.float32),
        np.array([-1, 0], np.float32),
        0.75,
        2,
        np.array([-np.log(2) / 2, np.log(2) / 2], np.float32),
        0.6,
    )
    # Label 1: 0.4 * 0.785598 + 0.6 / 3; label 0: 0.4 * 0.557765 + 0.6 * 2 / 3.
    assert labels.tolist() == [[0, 1]]
    assert scores[0] == pytest.approx([0.623106, 0.514239], abs=1e-6)


@pytest.mark.parametrize("top_k", [1, 3, 6])
def test_ties_keep_the_order_of_the_shortlist(top_k: int) -> None:
    labels = [5, 2, 4, 0, 3, 1]
    candidates = candidates_of([labels], [[0.5] * 6])
    ranked, _ = rank(
        candidates, np.ones((1, 2), np.float32), np.ones((6, 2), np.float32), np.zeros(6, np.float32), 0.5, top_k
    )
    assert ranked[0].tolist() == labels[:top_k]


def test_a_query_without_candidates_between_others() -> None:
    candidates = candidates_of([[0], [], [1]], [[0.5], [], [0.5]])
    labels, scores = rank(
        candidates, np.ones((3, 2), np.float32), np.ones((2, 2), np.float32), np.zeros(2, np.float32), 0.5, 2
    )
    assert labels.tolist() == [[0, -1], [-1, -1], [1, -1]]
    assert scores[1].tolist() == [0, 0]


def test_logits_beyond_the_range_of_exp_saturate() -> None:
    candidates = candidates_of([[0, 1]], [[0.0, 0.0]])
    labels, scores = rank(
        candidates, np.full((1, 1), 1e4, np.float32), np.array([[-1], [1]], np.float32), np.zeros(2, np.float32), 1.0, 2
    )
    assert labels.tolist() == [[1, 0]]
    assert scores.tolist() == [[1, 0]]


def test_sparse_logits_beyond_the_range_of_exp_saturate() -> None:
    candidates = candidates_of([[0, 1]], [[0.0, 0.0]])
    weights = (np.ones((1, 1), np.float32), np.ones((2, 1), np.float32), np.zeros(2, np.float32))
    labels, scores = rank(candidates, *weights, 1.0, 2, np.array([-1e4, 1e4], np.float32), 1.0)
    assert labels.tolist() == [[1, 0]]
    assert scores.tolist() == [[1, 0]]
