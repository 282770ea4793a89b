"""Scores of the held-out texts, and the alpha that mixes them best."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from export.artifact.featurizer import Bags
from export.artifact.index import HnswIndex, HnswParams
from export.artifact.shortlist import Candidates, LabelGraph, LabelSets, Shortlister
from trainer.data import Examples
from trainer.extreme import ExtremeModel
from trainer.validation import ALPHAS, choose_alpha, join_candidates, score_candidates


def shortlister(mu_LD: NDArray[np.float32], neighbours: int) -> Shortlister:
    index = HnswIndex.build(mu_LD, HnswParams(m=16, ef_construction=100, ef_search=100), seed=0)
    return Shortlister((LabelGraph(index, LabelSets.one_each(np.arange(len(mu_LD), dtype=np.int32)), neighbours),))


def plain_model(classifier_LD: NDArray[np.float32], bias_L: NDArray[np.float32]) -> ExtremeModel:
    """A model without a residual: x_hat = v."""
    dim = classifier_LD.shape[1]
    return ExtremeModel(torch.zeros(dim, dim), torch.from_numpy(classifier_LD), torch.from_numpy(bias_L))


def examples(labels_NL: NDArray[np.float32]) -> Examples:
    """Training texts of which only the labels matter."""
    empty = Bags(np.empty(0, np.int32), np.empty(0, np.float32), np.zeros(len(labels_NL) + 1, np.int64))
    return Examples(empty, csr_matrix(labels_NL))


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


def test_trials_are_those_of_a_dense_computation_and_the_best_wins() -> None:
    generator = np.random.default_rng(1)
    num_texts, num_labels, dim = 80, 12, 5
    v_RD, mu_LD = generator.random((num_texts, dim), np.float32), generator.random((num_labels, dim), np.float32)
    classifier, bias = generator.normal(size=(num_labels, dim)).astype(np.float32), np.zeros(num_labels, np.float32)
    relevant = (generator.random((num_texts, num_labels)) < 0.25).astype(np.float32)
    relevant[:, 0] = 1
    chosen = choose_alpha(
        shortlister(mu_LD, num_labels), plain_model(classifier, bias), v_RD, csr_matrix(relevant), examples(relevant)
    )
    classes = sigmoid(v_RD @ classifier.T)
    norms = np.linalg.norm(v_RD, axis=1)[:, None] * np.linalg.norm(mu_LD, axis=1)
    similarities = sigmoid(v_RD @ mu_LD.T / norms)
    means = []
    for alpha, trial in zip(ALPHAS, chosen.trials, strict=True):
        order = np.argsort(-(alpha * classes + (1 - alpha) * similarities), axis=1)
        hits = np.take_along_axis(relevant, order, axis=1)
        precisions = [100 * hits[:, :k].mean() for k in (1, 3, 5)]
        assert [trial["alpha"], trial["P@1"], trial["P@3"], trial["P@5"]] == pytest.approx([alpha, *precisions])
        means.append(sum(precisions))
    assert chosen.alpha == ALPHAS[int(np.argmax(means))]
    best = chosen.trials[ALPHAS.index(chosen.alpha)]
    assert {name: chosen.metrics[name] for name in ("P@1", "P@5")} == {
        name: round(best[name], 2) for name in ("P@1", "P@5")
    }


@pytest.mark.parametrize(
    ("relevant", "alpha"),
    [
        ([[1, 0], [1, 0]], 0.0),  # the similarity is right, and alone: the classifier errs
        ([[0, 1], [0, 1]], 0.1),  # the classifier is right, and sure of it
    ],
)
def test_the_side_that_is_right_gets_the_weight(relevant: list[list[int]], alpha: float) -> None:
    """Label 0 is nearer to both texts, and the classifier prefers label 1 by far."""
    mu_LD = np.float32([[1, 0], [0.6, 0.8]])
    model = plain_model(np.float32([[-5, 0], [5, 0]]), np.zeros(2, np.float32))
    labels = np.float32(relevant)
    chosen = choose_alpha(
        shortlister(mu_LD, 2), model, np.float32([[1, 0], [1, 0.1]]), csr_matrix(labels), examples(labels)
    )
    assert chosen.alpha == alpha
    assert chosen.metrics["P@1"] == 100


def test_the_recall_of_the_shortlist_is_that_of_all_its_candidates() -> None:
    """One neighbour only: it is the label of the first text, and one of the two labels of the second."""
    mu_LD = np.float32([[1, 0], [0, 1]])
    relevant = np.float32([[1, 0], [1, 1]])
    model = plain_model(np.eye(2, dtype=np.float32), np.zeros(2, np.float32))
    chosen = choose_alpha(
        shortlister(mu_LD, 1), model, np.float32([[1, 0.1], [0.1, 1]]), csr_matrix(relevant), examples(relevant)
    )
    assert chosen.metrics["shortlist recall"] == 75


def test_held_out_texts_without_a_known_token_find_nothing() -> None:
    relevant = np.float32([[1, 0], [0, 1]])
    model = plain_model(np.eye(2, dtype=np.float32), np.zeros(2, np.float32))
    v_RD = np.zeros((2, 2), np.float32)
    chosen = choose_alpha(
        shortlister(np.eye(2, dtype=np.float32), 2), model, v_RD, csr_matrix(relevant), examples(relevant)
    )
    assert (chosen.metrics["P@1"], chosen.metrics["shortlist recall"]) == (0, 0)
