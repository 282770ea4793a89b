"""Scores and ranks against a slow reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from astec.export.artifact.kernels.quantization import LARGEST, quantize_int8
from astec.export.artifact.kernels.weight_rows import NO_SCALES
from astec.export.artifact.scoring.scorer import Classifiers, best_labels, rank
from astec.export.artifact.scoring.shares import PartWeights, Shares
from astec.export.artifact.shortlist.candidates import Candidates

TOLERANCE = 1e-5
CLASSIFIER_ALONE = PartWeights(1.0, 0.0, 0.0, 0.0, 0.0)
SHARE = st.floats(0, 1, width=32)


def candidates_of(
    labels: list[list[int]], similarities: list[list[float]] | None = None, votes: list[list[float]] | None = None
) -> Candidates:
    offsets = np.cumsum([0, *(len(row) for row in labels)]).astype(np.int64)
    labels_C = np.array([label for row in labels for label in row], np.int32)
    similarities_C, votes_C = (
        np.zeros(len(labels_C), np.float32) if part is None else np.array([x for row in part for x in row], np.float32)
        for part in (similarities, votes)
    )
    return Candidates(labels_C, similarities_C, votes_C, offsets)


def random_classifiers(rng: np.random.Generator, num_queries: int, num_labels: int) -> Classifiers:
    dim = int(rng.integers(1, 40))
    shapes = ((num_queries, dim), (num_labels, dim), num_labels)
    x_BD, weights_LD, bias_L = (rng.standard_normal(shape).astype(np.float32) for shape in shapes)
    return Classifiers(x_BD, mapped(weights_LD), NO_SCALES, mapped(bias_L))


def mapped(array: NDArray[Any]) -> NDArray[Any]:
    """Make an array read-only like memory-mapped ones: to numba another type, for which it compiles another kernel."""
    array.flags.writeable = False
    return array


def quantized(part: Classifiers) -> Classifiers:
    codes_LD, scales_L = quantize_int8(np.asarray(part.weights, np.float32))
    return part._replace(weights=mapped(codes_LD), scales=mapped(scales_L))


def classifiers_of(x: list[list[float]], weights: list[list[float]], bias: list[float]) -> Classifiers:
    weights_LD, bias_L = mapped(np.array(weights, np.float32)), mapped(np.array(bias, np.float32))
    return Classifiers(np.array(x, np.float32), weights_LD, NO_SCALES, bias_L)


def probabilities(part: Classifiers, query: int, labels: list[int]) -> NDArray[np.float64]:
    logits = part.weights[labels].astype(np.float64) @ part.representations[query]
    scales = part.scales[labels] if len(part.scales) else 1
    return sigmoid(logits * scales + part.bias[labels])


def sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-x))


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    seed=st.integers(0, 2**32),
    num_queries=st.integers(0, 4),
    top_k=st.integers(1, 8),
    alpha=SHARE,
    beta=st.none() | SHARE,
    gamma=st.none() | SHARE,
    delta=SHARE,
    int8=st.booleans(),
)
def test_scores_and_order_are_those_of_the_formula(
    seed: int,
    num_queries: int,
    top_k: int,
    alpha: float,
    beta: float | None,
    gamma: float | None,
    delta: float,
    int8: bool,
) -> None:
    """Without beta there is no re-ranker, and without gamma no sparse term."""
    rng = np.random.default_rng(seed)
    num_labels = 20
    labels = [rng.permutation(num_labels)[: rng.integers(0, 12)].tolist() for _ in range(num_queries)]
    similarities = [rng.uniform(-1, 1, len(row)).tolist() for row in labels]
    votes = [rng.uniform(0, 1, len(row)).tolist() for row in labels]
    candidates = candidates_of(labels, similarities, votes)
    classifier = random_classifiers(rng, num_queries, num_labels)
    if int8:
        classifier = quantized(classifier)
    reranker = None if beta is None else random_classifiers(rng, num_queries, num_labels)
    sparse_logits_C = None if gamma is None else rng.uniform(-3, 3, len(candidates.labels)).astype(np.float32)
    delta = min(delta, 1 - (gamma or 0))
    weights = Shares(alpha, beta or 0, gamma or 0, delta).weights()

    labels_BK, scores_BK = rank(candidates, weights, top_k, classifier, reranker, sparse_logits_C)

    assert labels_BK.shape == scores_BK.shape == (num_queries, top_k)
    assert (labels_BK.dtype, scores_BK.dtype) == (np.int64, np.float32)
    for query, row in enumerate(labels):
        dense = alpha * probabilities(classifier, query, row) + (1 - alpha) * sigmoid(np.array(similarities[query]))
        expected = (1 - (gamma or 0) - delta) * dense + delta * np.array(votes[query])
        if gamma is not None and sparse_logits_C is not None:
            begin, end = candidates.offsets[query : query + 2]
            expected += gamma * sigmoid(2 * sparse_logits_C[begin:end].astype(np.float64))
        if beta is not None and reranker is not None:
            expected = (1 - beta) * expected + beta * probabilities(reranker, query, row)
        score_of = dict(zip(row, expected.tolist(), strict=True))
        count = min(top_k, len(row))
        ranked, scores = labels_BK[query, :count].tolist(), scores_BK[query, :count]
        assert np.all(labels_BK[query, count:] == -1)
        assert len(set(ranked)) == count
        assert scores == pytest.approx([score_of[label] for label in ranked], abs=TOLERANCE)
        assert scores == pytest.approx(np.sort(expected)[::-1][:count], abs=TOLERANCE)
        assert np.all(np.diff(scores) <= 0)


def test_hand_worked_scores() -> None:
    """The paper's formula alone."""
    candidates = candidates_of([[1, 0]], [[0.0, 1.0]])
    classifier = classifiers_of([[1, 0]], [[1, 0], [2, 1]], [-1, 0])
    labels, scores = rank(candidates, Shares(0.75).weights(), 2, classifier)
    # Label 1: 0.75 / (1 + e^-2) + 0.25 / 2; label 0: 0.75 / 2 + 0.25 / (1 + e^-1).
    assert labels.tolist() == [[1, 0]]
    assert scores[0] == pytest.approx([0.785598, 0.557765], abs=1e-6)


def test_hand_worked_scores_with_every_part() -> None:
    """The candidates of the test above, with every part.

    The sparse term sees one third of label 1 and two thirds of label 0, the votes are 0.1 and 0.9, and the re-ranker
    sees three quarters of label 1 and half of label 0.
    """
    candidates = candidates_of([[1, 0]], [[0.0, 1.0]], [[0.1, 0.9]])
    classifier = classifiers_of([[1, 0]], [[1, 0], [2, 1]], [-1, 0])
    reranker = classifiers_of([[1]], [[0], [np.log(3)]], [0, 0])
    sparse_logits_C = np.array([-np.log(2) / 2, np.log(2) / 2], np.float32)
    weights = Shares(0.75, 0.5, 0.2, 0.4).weights()
    labels, scores = rank(candidates, weights, 2, classifier, reranker, sparse_logits_C)
    # Label 1: (0.4 * 0.785598 + 0.2 / 3 + 0.04 + 0.75) / 2; label 0: (0.4 * 0.557765 + 0.4 / 3 + 0.36 + 0.5) / 2.
    assert labels.tolist() == [[0, 1]]
    assert scores[0] == pytest.approx([0.608220, 0.585453], abs=1e-6)


def test_a_part_without_a_share_is_not_looked_at() -> None:
    """The part is NaN: if it were read, the scores would be NaN."""
    candidates = candidates_of([[0, 1]])
    classifier = classifiers_of([[1]], [[0], [1]], [0, 0])
    arrays: list[Any] = [np.full_like(array, np.nan) for array in classifier]
    x_BD, weights_LD, scales_L, bias_L = arrays
    nothing = Classifiers(x_BD, mapped(weights_LD), mapped(scales_L), mapped(bias_L))
    labels, scores = rank(candidates, CLASSIFIER_ALONE, 2, classifier, nothing, np.full(2, np.nan, np.float32))
    assert labels.tolist() == [[1, 0]]
    assert scores[0] == pytest.approx([1 / (1 + np.exp(-1)), 0.5])
    labels, scores = rank(candidates, PartWeights(0.0, 0.0, 0.0, 0.0, 1.0), 2, nothing, classifier)
    assert labels.tolist() == [[1, 0]]
    assert scores[0] == pytest.approx([1 / (1 + np.exp(-1)), 0.5])


@pytest.mark.parametrize("dim", [1, 7, 64, 301])
def test_int8_is_as_far_from_float_as_rounding_may_take_it(dim: int) -> None:
    """The error is at most half a step of the label's scale for each dimension, weighted by the query."""
    rng = np.random.default_rng(dim)
    num_labels = 100
    x_BD = rng.standard_normal((1, dim)).astype(np.float32) / np.float32(dim**0.5)
    weights_LD = rng.standard_normal((num_labels, dim)).astype(np.float32)
    classifier = Classifiers(x_BD, mapped(weights_LD), NO_SCALES, mapped(np.zeros(num_labels, np.float32)))
    candidates = candidates_of([list(range(num_labels))])
    labels_BK, scores_BK = rank(candidates, CLASSIFIER_ALONE, num_labels, quantized(classifier))
    logits_L = np.empty(num_labels)
    logits_L[labels_BK[0]] = np.log(scores_BK[0] / (1 - scores_BK[0].astype(np.float64)))
    error_L = np.abs(logits_L - weights_LD.astype(np.float64) @ x_BD[0])
    bound_L = np.abs(weights_LD).max(axis=1) / LARGEST / 2 * np.abs(x_BD).sum()
    assert np.all(error_L <= bound_L + 1e-5)


def test_one_compiled_kernel_serves_models_with_and_without_a_part() -> None:
    """Images contain this kernel compiled; a second one would be compiled at every start."""
    candidates, classifier = candidates_of([[0, 1]]), classifiers_of([[1]], [[1], [1]], [0, 0])
    rank(candidates, CLASSIFIER_ALONE, 1, classifier)
    compiled = list(best_labels.signatures)
    every_part = Shares(0.5, 0.5, 0.5, 0.5).weights()
    rank(candidates, every_part, 1, classifier, classifier, np.zeros(2, np.float32))
    assert best_labels.signatures == compiled


@pytest.mark.parametrize(
    ("weights", "part"), [(PartWeights(0.5, 0, 0.5, 0, 0), "sparse"), (PartWeights(0.5, 0, 0, 0, 0.5), "reranker")]
)
def test_a_share_of_what_is_not_given_is_refused(weights: PartWeights, part: str) -> None:
    with pytest.raises(ValueError, match=rf"the share of {part} is 0\.5, but it is not given"):
        rank(candidates_of([[0]]), weights, 1, classifiers_of([[1]], [[1]], [0]))


@pytest.mark.parametrize("top_k", [1, 3, 6])
def test_ties_keep_the_order_of_the_shortlist(top_k: int) -> None:
    labels = [5, 2, 4, 0, 3, 1]
    classifier = classifiers_of([[1, 1]], [[1, 1]] * 6, [0] * 6)
    ranked, _ = rank(candidates_of([labels]), CLASSIFIER_ALONE, top_k, classifier)
    assert ranked[0].tolist() == labels[:top_k]


def test_a_query_without_candidates_between_others() -> None:
    classifier = classifiers_of([[1, 1]] * 3, [[1, 1]] * 2, [0, 0])
    labels, scores = rank(candidates_of([[0], [], [1]]), CLASSIFIER_ALONE, 2, classifier)
    assert labels.tolist() == [[0, -1], [-1, -1], [1, -1]]
    assert scores[1].tolist() == [0, 0]


def test_logits_beyond_the_range_of_exp_saturate() -> None:
    classifier = classifiers_of([[1e4]], [[-1], [1]], [0, 0])
    labels, scores = rank(candidates_of([[0, 1]]), CLASSIFIER_ALONE, 2, classifier)
    assert labels.tolist() == [[1, 0]]
    assert scores.tolist() == [[1, 0]]


def test_sparse_logits_beyond_the_range_of_exp_saturate() -> None:
    classifier = classifiers_of([[1]], [[1], [1]], [0, 0])
    sparse_logits_C = np.array([-1e4, 1e4], np.float32)
    labels, scores = rank(
        candidates_of([[0, 1]]), PartWeights(0.0, 0.0, 1.0, 0.0, 0.0), 2, classifier, None, sparse_logits_C
    )
    assert labels.tolist() == [[1, 0]]
    assert scores.tolist() == [[1, 0]]
