"""Scores of the held-out texts, and the alpha and gamma that mix them best.

Shapes: R held-out texts, L labels, V vocabulary, D dimensions.
"""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from export.artifact.featurizer import Bags
from export.artifact.index import HnswIndex, HnswParams
from export.artifact.shortlist import Candidates, LabelGraph, LabelSets, Shortlister
from export.artifact.sparse import SparseClassifier
from trainer.data import Examples
from trainer.extreme import ExtremeModel
from trainer.validation import SHARES, choose_mix, join_candidates, score_candidates

NUM_FEATURES = 4


def shortlister(mu_LD: NDArray[np.float32], neighbours: int) -> Shortlister:
    index = HnswIndex.build(mu_LD, HnswParams(m=16, ef_construction=100, ef_search=100), seed=0)
    return Shortlister((LabelGraph(index, LabelSets.one_each(np.arange(len(mu_LD), dtype=np.int32)), neighbours),))


def plain_model(classifier_LD: NDArray[np.float32], bias_L: NDArray[np.float32]) -> ExtremeModel:
    """A model without a residual: x_hat = v."""
    dim = classifier_LD.shape[1]
    return ExtremeModel(torch.zeros(dim, dim), torch.from_numpy(classifier_LD), torch.from_numpy(bias_L))


def examples(labels_NL: NDArray[np.float32], tokens_N: NDArray[np.int32] | None = None) -> Examples:
    """Texts of one token each; without `tokens_N`, of none: then only their labels matter."""
    if tokens_N is None:
        empty = Bags(np.empty(0, np.int32), np.empty(0, np.float32), np.zeros(len(labels_NL) + 1, np.int64))
        return Examples(empty, csr_matrix(labels_NL))
    bags = Bags(tokens_N, np.ones(len(tokens_N), np.float32), np.arange(len(tokens_N) + 1))
    return Examples(bags, csr_matrix(labels_NL))


def sparse_classifier(u_LV: NDArray[np.float32], bias_L: NDArray[np.float32]) -> SparseClassifier:
    """Of these weights, zeros too."""
    matrix = csr_matrix(u_LV)
    return SparseClassifier(matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32), matrix.data, bias_L)


def smoothed(figures: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each trial's mean with its eight neighbours; beyond the border the border goes on."""
    padded = np.pad(figures, 1, mode="edge")
    rows, columns = figures.shape
    return np.array([[padded[i : i + 3, j : j + 3].mean() for j in range(columns)] for i in range(rows)])


def sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-x))


def test_scores_are_the_logits_of_the_final_representation() -> None:
    """For more pairs than are scored at a time."""
    generator = np.random.default_rng(0)
    v_RD = generator.random((500, 6), np.float32)
    residual, classifier, bias = (generator.normal(size=shape).astype(np.float32) for shape in ((6, 6), (400, 6), 400))
    labels = [generator.permutation(400)[: generator.integers(0, 400)] for _ in range(500)]
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in labels])])
    pairs = np.concatenate(labels).astype(np.int32)
    candidates = Candidates(pairs, np.zeros(len(pairs), np.float32), offsets)
    model = ExtremeModel(*(torch.from_numpy(array) for array in (residual, classifier, bias)))
    logits_RL = (v_RD + np.maximum(v_RD @ residual.T, 0)) @ classifier.T + bias
    expected = np.concatenate([logits_RL[row, row_labels] for row, row_labels in enumerate(labels)])
    assert len(pairs) > 1 << 16
    np.testing.assert_allclose(score_candidates(model, v_RD, candidates), expected, rtol=1e-4, atol=1e-4)


def test_chunks_of_candidates_are_joined_in_order() -> None:
    first = Candidates(np.int32([5, 6, 7]), np.float32([0.5, 0.6, 0.7]), np.array([0, 1, 3]))
    second = Candidates(np.int32([8]), np.float32([0.8]), np.array([0, 0, 1]))
    joined = join_candidates([first, second])
    assert joined.labels.tolist() == [5, 6, 7, 8]
    assert joined.similarities.tolist() == pytest.approx([0.5, 0.6, 0.7, 0.8])
    assert joined.offsets.tolist() == [0, 1, 3, 3, 4]


@pytest.mark.parametrize("with_sparse", [False, True])
def test_trials_are_those_of_a_dense_computation_and_the_best_neighbourhood_wins(with_sparse: bool) -> None:
    generator = np.random.default_rng(1)
    num_texts, num_labels, dim = 80, 12, 5
    v_RD, mu_LD = generator.random((num_texts, dim), np.float32), generator.random((num_labels, dim), np.float32)
    classifier, bias = generator.normal(size=(num_labels, dim)).astype(np.float32), np.zeros(num_labels, np.float32)
    relevant = (generator.random((num_texts, num_labels)) < 0.25).astype(np.float32)
    relevant[:, 0] = 1
    u_LV = generator.normal(size=(num_labels, NUM_FEATURES)).astype(np.float32)
    tokens_R = generator.integers(0, NUM_FEATURES, num_texts).astype(np.int32)
    held = examples(relevant, tokens_R)
    chosen = choose_mix(
        shortlister(mu_LD, num_labels),
        plain_model(classifier, bias),
        sparse_classifier(u_LV, bias) if with_sparse else None,
        v_RD,
        held,
        held,
    )
    classes = sigmoid(v_RD @ classifier.T)
    norms = np.linalg.norm(v_RD, axis=1)[:, None] * np.linalg.norm(mu_LD, axis=1)
    similarities = sigmoid(v_RD @ mu_LD.T / norms)
    terms = sigmoid(2 * u_LV.T[tokens_R])
    mixes = [(gamma, alpha) for gamma in (SHARES if with_sparse else SHARES[:1]) for alpha in SHARES]
    figures = []
    for (gamma, alpha), trial in zip(mixes, chosen.trials, strict=True):
        dense = alpha * classes + (1 - alpha) * similarities
        order = np.argsort(-((1 - gamma) * dense + gamma * terms), axis=1)
        hits = np.take_along_axis(relevant, order, axis=1)
        precisions = [100 * hits[:, :k].mean() for k in (1, 3, 5)]
        tried = [trial[name] for name in ("gamma", "alpha", "P@1", "P@3", "P@5")]
        assert tried == pytest.approx([gamma, alpha, *precisions])
        figures.append(sum(precisions))
    best = mixes.index((chosen.gamma, chosen.alpha))
    grid = smoothed(np.array(figures).reshape(-1, len(SHARES)))
    assert grid.ravel()[best] == pytest.approx(grid.max())
    assert {name: chosen.metrics[name] for name in ("P@1", "P@5")} == {
        name: round(chosen.trials[best][name], 2) for name in ("P@1", "P@5")
    }


@pytest.mark.parametrize(
    ("relevant", "alpha"),
    [
        ([[1, 0], [1, 0]], 0.0),  # the similarity is right, and alone: the classifier errs
        ([[0, 1], [0, 1]], 0.2),  # the classifier is right and sure of it, from 0.1 on
    ],
)
def test_the_side_that_is_right_gets_the_weight(relevant: list[list[int]], alpha: float) -> None:
    """Label 0 is nearer to both texts, and the classifier prefers label 1 by far."""
    mu_LD = np.float32([[1, 0], [0.6, 0.8]])
    model = plain_model(np.float32([[-5, 0], [5, 0]]), np.zeros(2, np.float32))
    held = examples(np.float32(relevant))
    chosen = choose_mix(shortlister(mu_LD, 2), model, None, np.float32([[1, 0], [1, 0.1]]), held, held)
    assert (chosen.alpha, chosen.gamma) == (alpha, 0)
    assert chosen.metrics["P@1"] == 100


@pytest.mark.parametrize(
    ("relevant", "mix"),
    [
        # From gamma 0.2 on, and from 0.1 where alpha is 0.4: the first with only such neighbours.
        ([[1, 0], [0, 1]], {"gamma": 0.2, "alpha": 0.5}),
        ([[1, 0], [1, 0]], {"gamma": 0.0, "alpha": 0.0}),  # the similarity alone
    ],
)
def test_the_sparse_term_has_a_say_where_tokens_tell(relevant: list[list[int]], mix: dict[str, float]) -> None:
    """Both texts lie at label 0 and the classifier does not mind; the token of the second text speaks for label 1."""
    mu_LD = np.float32([[1, 0], [0.6, 0.8]])
    model = plain_model(np.zeros((2, 2), np.float32), np.zeros(2, np.float32))
    sparse = sparse_classifier(np.float32([[0, 0, 0, 0], [0, 8, 0, 0]]), np.float32([0, -4]))
    held = examples(np.float32(relevant), np.int32([0, 1]))
    v_RD = np.float32([[1, 0], [1, 0]])
    chosen = choose_mix(shortlister(mu_LD, 2), model, sparse, v_RD, held, held)
    assert {"gamma": chosen.gamma, "alpha": chosen.alpha} == mix
    assert chosen.metrics["P@1"] == 100


def test_the_recall_of_the_shortlist_is_that_of_all_its_candidates() -> None:
    """One neighbour only: it is the label of the first text, and one of the two labels of the second."""
    mu_LD = np.float32([[1, 0], [0, 1]])
    model = plain_model(np.eye(2, dtype=np.float32), np.zeros(2, np.float32))
    held = examples(np.float32([[1, 0], [1, 1]]))
    v_RD = np.float32([[1, 0.1], [0.1, 1]])
    chosen = choose_mix(shortlister(mu_LD, 1), model, None, v_RD, held, held)
    assert chosen.metrics["shortlist recall"] == 75


@pytest.mark.parametrize("with_sparse", [False, True])
def test_held_out_texts_without_a_known_token_find_nothing(with_sparse: bool) -> None:
    model = plain_model(np.eye(2, dtype=np.float32), np.zeros(2, np.float32))
    sparse = sparse_classifier(np.ones((2, NUM_FEATURES), np.float32), np.zeros(2, np.float32)) if with_sparse else None
    held = examples(np.float32([[1, 0], [0, 1]]))
    v_RD = np.zeros((2, 2), np.float32)
    chosen = choose_mix(shortlister(np.eye(2, dtype=np.float32), 2), model, sparse, v_RD, held, held)
    assert (chosen.metrics["P@1"], chosen.metrics["shortlist recall"]) == (0, 0)
