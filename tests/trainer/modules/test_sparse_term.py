"""The linear SVMs of the sparse term: against a general optimiser, pruned, and repeatable.

Shapes: N texts, L labels, V vocabulary, M examples of a label, S negatives of a text.
"""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import csr_matrix

from astec.export.artifact.scoring.sparse import MIN_HEAD_WEIGHTS, SparseClassifier
from astec.export.artifact.shortlist.candidates import Candidates
from astec.export.artifact.text.bags import Bags
from astec.trainer.data.examples import Examples
from astec.trainer.modules import sparse_term
from astec.trainer.modules.sparse_term import KnownLabels, learn_sparse
from astec.trainer.settings.config import SparseSection

NUM_TEXTS, NUM_LABELS, NUM_FEATURES = 60, 4, 10
EXACT = SparseSection(epochs=2000, prune_below=0, prune_head_below=0)


def examples_of(features_NV: NDArray[np.float32], labels_NL: NDArray[np.float32]) -> Examples:
    """Make texts with these features, each scaled to norm 1."""
    norms_N1 = np.linalg.norm(features_NV, axis=1, keepdims=True)
    unit = csr_matrix(features_NV / np.maximum(norms_N1, 1e-9))
    bags = Bags(unit.indices.astype(np.int32), unit.data.astype(np.float32), unit.indptr.astype(np.int64))
    return Examples(bags, csr_matrix(labels_NL))


def negatives_of(labels_NL: NDArray[np.float32]) -> NDArray[np.int32]:
    """Return every wrong label of each text, padded with -1."""
    negatives_NS = np.full(labels_NL.shape, -1, np.int32)
    for row, positives in zip(negatives_NS, labels_NL, strict=True):
        wrong = np.flatnonzero(positives == 0)
        row[: len(wrong)] = wrong
    return negatives_NS


@pytest.fixture(name="noisy", scope="module")
def noisy_examples() -> Examples:
    """Examples that no linear classifier separates without errors, and a text without a token."""
    rng = np.random.default_rng(0)
    features_NV = rng.random((NUM_TEXTS, NUM_FEATURES), np.float32)
    features_NV[rng.random(features_NV.shape) < 0.5] = 0
    features_NV[7] = 0
    labels_NL = (rng.random((NUM_TEXTS, NUM_LABELS)) < 0.3).astype(np.float32)
    return examples_of(features_NV, labels_NL)


def learn(
    train: Examples,
    settings: SparseSection,
    seed: int = 0,
    negatives_NS: NDArray[np.int32] | None = None,
    cost: float = 1.0,
) -> SparseClassifier:
    """Train the sparse term, by default against all wrong labels; it must have weights."""
    if negatives_NS is None:
        negatives_NS = negatives_of(train.labels.toarray())
    sparse = learn_sparse(train, negatives_NS, NUM_FEATURES, settings, cost, seed)
    assert sparse is not None
    return sparse


def dense(sparse: SparseClassifier, num_features: int = NUM_FEATURES) -> NDArray[np.float32]:
    """Return the weights, [L, V]."""
    shape = (len(sparse.bias), num_features)
    weights_LV: NDArray[np.float32] = csr_matrix((sparse.values, sparse.indices, sparse.indptr), shape=shape).toarray()
    return weights_LV


def assert_same(one: SparseClassifier, other: SparseClassifier) -> None:
    for field in fields(SparseClassifier):
        first, second = getattr(one, field.name), getattr(other, field.name)
        assert first.dtype == second.dtype
        assert np.array_equal(first, second), field.name


def objective(
    u_W: NDArray[np.float64], x_MW: NDArray[np.float64], y_M: NDArray[np.float64], cost: float
) -> tuple[float, NDArray[np.float64]]:
    """Return the L2-regularised squared hinge loss and its gradient; the bias is the last weight, also regularised."""
    slack_M = np.maximum(1 - y_M * (x_MW @ u_W), 0)
    return float(u_W @ u_W / 2 + cost * slack_M @ slack_M), u_W - 2 * cost * x_MW.T @ (y_M * slack_M)


@pytest.mark.parametrize("cost", [0.1, 1.0, 10.0])
def test_every_label_reaches_the_optimum_of_its_problem(noisy: Examples, cost: float) -> None:
    sparse = learn(noisy, EXACT, cost=cost)
    weights_LV = dense(sparse)
    x_NW = np.hstack([noisy.features(NUM_FEATURES).toarray(), np.ones((NUM_TEXTS, 1))]).astype(np.float64)
    for label in range(NUM_LABELS):
        y_N = 2.0 * noisy.labels.toarray()[:, label] - 1
        start = np.zeros(NUM_FEATURES + 1)
        best = minimize(objective, start, (x_NW, y_N, cost), jac=True, method="L-BFGS-B", tol=1e-12)
        reached, _ = objective(np.append(weights_LV[label], sparse.bias[label]), x_NW, y_N, cost)
        assert best.fun * (1 - 1e-6) <= reached <= best.fun * 1.01
        assert best.fun < 0.95 * objective(start, x_NW, y_N, cost)[0], "there is something to learn"


def test_a_text_of_weight_two_counts_twice(noisy: Examples) -> None:
    """The heavy texts are half of those with a label; as negatives they count twice as well."""
    heavy = np.flatnonzero(np.diff(noisy.labels.indptr))[::2]
    factors_N1 = np.ones((NUM_TEXTS, 1), np.float32)
    factors_N1[heavy] = 2
    weighted = Examples(noisy.bags, csr_matrix(noisy.labels.toarray() * factors_N1))
    twice = noisy.take(np.concatenate([np.arange(NUM_TEXTS), heavy]))
    one, other, plain = (dense(learn(examples, EXACT)) for examples in (weighted, twice, noisy))
    assert np.abs(plain - other).max() > 0.1
    assert np.abs(one - other).max() < 0.01


def test_separable_texts_are_on_their_side_of_every_label() -> None:
    """Text n has token n % 5, which only its label has, and a token that all texts have."""
    labels_N = np.arange(NUM_TEXTS) % 5
    features_NV = np.eye(NUM_FEATURES, dtype=np.float32)[labels_N]
    features_NV[np.arange(NUM_TEXTS), 5 + np.arange(NUM_TEXTS) // 5 % 5] = 0.5
    train = examples_of(features_NV, np.eye(5, dtype=np.float32)[labels_N])
    sparse = learn(train, SparseSection(), cost=10)
    margins_NL = train.features(NUM_FEATURES).toarray() @ dense(sparse).T + sparse.bias
    sign_NL = 2 * train.labels.toarray() - 1
    assert (sign_NL * margins_NL).min() > 0.8


def test_only_the_hardest_negatives_count(noisy: Examples) -> None:
    negatives_NS = negatives_of(noisy.labels.toarray())
    first_only = learn(noisy, EXACT.model_copy(update={"num_negatives": 1}), negatives_NS=negatives_NS)
    assert_same(first_only, learn(noisy, EXACT, negatives_NS=negatives_NS[:, :1]))
    assert not np.array_equal(first_only.bias, learn(noisy, EXACT, negatives_NS=negatives_NS).bias)


def test_pruning_drops_the_small_weights_and_nothing_else(noisy: Examples) -> None:
    whole, pruned = learn(noisy, EXACT), learn(noisy, EXACT.model_copy(update={"prune_below": 0.5}))
    weights_LV = dense(whole)
    kept_LV = np.abs(weights_LV) >= 0.5
    assert 0 < kept_LV.sum() < (weights_LV != 0).sum()
    assert np.array_equal(dense(pruned), np.where(kept_LV, weights_LV, 0))
    assert len(pruned.values) == kept_LV.sum()
    assert np.array_equal(pruned.bias, whole.bias)


def test_labels_that_keep_many_weights_are_pruned_harder() -> None:
    """Each token comes in one text: label 0, of all texts but two, has weights on nearly all, label 1 on few."""
    num_texts, tokens_per_text = 60, 20
    num_features = num_texts * tokens_per_text
    assert num_features > MIN_HEAD_WEIGHTS
    weights_T = np.linspace(0.2, 1, tokens_per_text)
    features_NV = np.kron(np.eye(num_texts), weights_T).astype(np.float32)
    labels_NL = np.zeros((num_texts, 2), np.float32)
    labels_NL[2:, 0], labels_NL[:2, 1] = 1, 1
    train = examples_of(features_NV, labels_NL)
    negatives_NS = np.full((num_texts, 1), -1, np.int32)
    negatives_NS[:2], negatives_NS[2:4] = 0, 1

    def learn_with(prune_head_below: float) -> NDArray[np.float32]:
        settings = EXACT.model_copy(update={"prune_head_below": prune_head_below})
        sparse = learn_sparse(train, negatives_NS, num_features, settings, 1.0, seed=0)
        assert sparse is not None
        indptr, indices, values = by_label(sparse)
        return csr_matrix((values, indices, indptr), shape=(2, num_features)).toarray()

    whole_LV = learn_with(0)
    sizes = (whole_LV != 0).sum(axis=1)
    assert sizes[0] >= MIN_HEAD_WEIGHTS > sizes[1] > 0
    limit = float(np.median(np.abs(whole_LV[0][whole_LV[0] != 0])))
    pruned_LV = learn_with(limit)
    assert np.array_equal(pruned_LV[0], np.where(np.abs(whole_LV[0]) >= limit, whole_LV[0], 0))
    assert np.array_equal(pruned_LV[1], whole_LV[1])


def by_label(sparse: SparseClassifier) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
    """Return the weights of each label, including the weights of the head."""
    tokens = np.repeat(np.arange(len(sparse.posting_indptr) - 1), np.diff(sparse.posting_indptr))
    owners = np.flatnonzero(sparse.head >= 0)[sparse.posting_heads]
    labels = np.concatenate([np.repeat(np.arange(len(sparse.bias)), np.diff(sparse.indptr)), owners])
    order = np.argsort(labels, kind="stable")
    indptr = np.concatenate([[0], np.cumsum(np.bincount(labels, minlength=len(sparse.bias)))])
    indices = np.concatenate([sparse.indices, tokens.astype(np.int32)])[order]
    return indptr, indices, np.concatenate([sparse.values, sparse.posting_values])[order]


@pytest.mark.parametrize("prune_below", [0.0, 0.1])
def test_tokens_of_a_label_are_distinct(noisy: Examples, prune_below: float) -> None:
    sparse = learn(noisy, EXACT.model_copy(update={"prune_below": prune_below}))
    assert (sparse.indptr.dtype, sparse.indices.dtype) == (np.int64, np.int32)
    assert (sparse.values.dtype, sparse.bias.dtype) == (np.float32, np.float32)
    for begin, end in zip(sparse.indptr, sparse.indptr[1:], strict=False):
        assert len(np.unique(sparse.indices[begin:end])) == end - begin
    assert np.all(np.abs(sparse.values) >= prune_below)
    assert np.all(sparse.values != 0)


def test_the_seed_decides(noisy: Examples) -> None:
    one_pass = SparseSection(epochs=1)
    assert_same(learn(noisy, one_pass, seed=3), learn(noisy, one_pass, seed=3))
    assert not np.array_equal(learn(noisy, one_pass, seed=3).bias, learn(noisy, one_pass, seed=4).bias)


def test_a_label_without_negatives_takes_every_text_and_one_without_texts_none(noisy: Examples) -> None:
    """Label 0 is right for every text, label 1 for none though a negative of all, label 2 is nowhere."""
    labels_NL = np.zeros((NUM_TEXTS, 3), np.float32)
    labels_NL[:, 0] = 1
    train = Examples(noisy.bags, csr_matrix(labels_NL))
    sparse = learn(train, EXACT, negatives_NS=np.tile(np.array([1, -1], np.int32), (NUM_TEXTS, 1)))
    margins_NL = train.features(NUM_FEATURES).toarray() @ dense(sparse).T + sparse.bias
    assert margins_NL[:, 0].min() > 0.8
    assert margins_NL[:, 1].max() < -0.8
    assert sparse.bias[2] == -1
    assert sparse.indptr[2] == sparse.indptr[3]


def test_more_labels_and_weights_than_a_chunk_holds() -> None:
    """Text n has label n and three tokens of its own, and the next text's label among its negatives."""
    num_texts = 1100
    tokens = np.arange(3 * num_texts, dtype=np.int32)
    bags = Bags(tokens, np.full(len(tokens), 3**-0.5, np.float32), np.arange(0, len(tokens) + 1, 3))
    train = Examples(bags, csr_matrix(np.eye(num_texts, dtype=np.float32)))
    next_N1 = ((np.arange(num_texts) + 1) % num_texts).astype(np.int32)[:, None]
    sparse = learn_sparse(train, next_N1, 3 * num_texts, EXACT, 1.0, seed=0)
    assert sparse is not None
    assert np.diff(sparse.indptr).tolist() == [6] * num_texts
    margins_NL = train.features(3 * num_texts) @ dense(sparse, 3 * num_texts).T + sparse.bias
    texts = np.arange(num_texts)
    assert margins_NL[texts, texts].min() > 0.4
    assert margins_NL[texts, next_N1[:, 0]].max() < -0.4


def of_two_frequent_labels() -> tuple[Examples, NDArray[np.float32]]:
    """Make texts that each have a token of their own and the label of their half, and their labels [N, 2].

    A label has twice as many weights as texts.
    """
    num_texts = 2 * MIN_HEAD_WEIGHTS
    bags = Bags(np.arange(num_texts, dtype=np.int32), np.ones(num_texts, np.float32), np.arange(num_texts + 1))
    labels_NL = np.eye(2, dtype=np.float32)[np.arange(num_texts) % 2]
    return Examples(bags, csr_matrix(labels_NL)), labels_NL


def test_frequent_labels_of_many_weights_are_learnt_as_all_others() -> None:
    train, labels_NL = of_two_frequent_labels()
    num_texts = len(labels_NL)
    sparse = learn_sparse(train, negatives_of(labels_NL), num_texts, EXACT, 1.0, seed=0)
    assert sparse is not None
    assert sparse.head.tolist() == [0, 1]
    every_label = np.tile(np.arange(2, dtype=np.int32), num_texts)
    zeros_C = np.zeros(len(every_label), np.float32)
    candidates = Candidates(every_label, zeros_C, zeros_C, np.arange(0, 2 * num_texts + 1, 2))
    margins_NL = sparse.logits(candidates, train.bags).reshape(num_texts, 2)
    assert ((2 * labels_NL - 1) * margins_NL).min() > 0.6


def of_several_chunks(noisy: Examples) -> tuple[Examples, NDArray[np.int32]]:
    """Make labels of several chunks, with a few texts each, and negatives."""
    num_labels, rng = 700, np.random.default_rng(4)
    labels_NL = csr_matrix((rng.random((NUM_TEXTS, num_labels)) < 0.05).astype(np.float32))
    return Examples(noisy.bags, labels_NL), rng.integers(-1, num_labels, (NUM_TEXTS, 40)).astype(np.int32)


@pytest.mark.parametrize("most", [1, 900, 1_500])
def test_negatives_that_do_not_fit_into_memory_together_change_nothing(
    noisy: Examples, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There are 2,400 negatives, about 440 for each of the chunks."""
    train, negatives_NS = of_several_chunks(noisy)
    whole = learn(train, SparseSection(), negatives_NS=negatives_NS)
    monkeypatch.setattr(sparse_term, "MOST_NEGATIVES", most)
    assert_same(learn(train, SparseSection(), negatives_NS=negatives_NS), whole)


def test_the_number_of_threads_changes_nothing(noisy: Examples) -> None:
    train, negatives_NS = of_several_chunks(noisy)
    whole = learn(train, SparseSection(), negatives_NS=negatives_NS)
    for threads in (1, 3):
        learnt = learn_sparse(train, negatives_NS, NUM_FEATURES, SparseSection(), 1.0, 0, threads)
        assert learnt is not None
        assert_same(learnt, whole)


def test_known_labels_keep_their_weights_and_all_others_learn(noisy: Examples) -> None:
    train, negatives_NS = of_several_chunks(noisy)
    # A third of the texts is new, and the labels of three of these learn again.
    before, labels_NL = 2 * NUM_TEXTS // 3, train.labels.toarray()
    old = learn(Examples(train.bags.take(np.arange(before)), train.labels[:before]), EXACT, 0, negatives_NS[:before])
    are_known = ~labels_NL[before : before + 3].any(axis=0)
    assert 0 < are_known.sum() < len(are_known)
    known = KnownLabels(old, are_known)
    both = learn_sparse(train, negatives_NS, NUM_FEATURES, EXACT, 1.0, seed=0, known=known)
    new = learn(train, EXACT, 0, negatives_NS)
    assert both is not None
    assert np.array_equal(dense(both)[are_known], dense(old)[are_known])
    assert np.array_equal(both.bias[are_known], old.bias[are_known])
    np.testing.assert_allclose(dense(both)[~are_known], dense(new)[~are_known], atol=0.02)
    np.testing.assert_allclose(both.bias[~are_known], new.bias[~are_known], atol=0.02)


def test_known_labels_of_the_head_keep_their_weights() -> None:
    train, labels_NL = of_two_frequent_labels()
    num_texts = len(labels_NL)
    old = learn_sparse(train, negatives_of(labels_NL), num_texts, EXACT, 1.0, seed=0)
    assert old is not None
    known = KnownLabels(old, np.array([True, False]))
    new = learn_sparse(train, negatives_of(labels_NL), num_texts, EXACT, 2.0, seed=0, known=known)
    assert new is not None
    (begin, middle, _), tokens, values = new.by_label()
    (_, old_middle, _), old_tokens, old_values = old.by_label()
    assert (begin, middle) == (0, old_middle)
    assert np.array_equal(tokens[:middle], old_tokens[:middle])
    assert np.array_equal(values[:middle], old_values[:middle])
    assert not np.array_equal(values[middle:], old_values[middle:])


def test_token_ids_may_be_as_large_as_an_int32_holds(noisy: Examples) -> None:
    """Neither time nor memory grows with the number of features."""
    far = 2**31 - 1 - NUM_FEATURES
    bags = Bags(noisy.bags.ids + np.int32(far), noisy.bags.weights, noisy.bags.offsets)
    negatives_NS = negatives_of(noisy.labels.toarray())
    sparse = learn_sparse(Examples(bags, noisy.labels), negatives_NS, 2**31 - 1, SparseSection(), 1.0, seed=0)
    near = learn(noisy, SparseSection())
    assert sparse is not None
    assert np.array_equal(sparse.indptr, near.indptr)
    for begin, end in zip(sparse.indptr, sparse.indptr[1:], strict=False):  # ordered by a hash
        order, near_order = np.argsort(sparse.indices[begin:end]), np.argsort(near.indices[begin:end])
        assert np.array_equal(sparse.indices[begin:end][order] - far, near.indices[begin:end][near_order])
        assert np.array_equal(sparse.values[begin:end][order], near.values[begin:end][near_order])


def test_texts_without_a_token_give_no_term(noisy: Examples) -> None:
    empty = Bags(np.empty(0, np.int32), np.empty(0, np.float32), np.zeros(NUM_TEXTS + 1, np.int64))
    negatives_NS = negatives_of(noisy.labels.toarray())
    assert learn_sparse(Examples(empty, noisy.labels), negatives_NS, NUM_FEATURES, SparseSection(), 1.0, seed=0) is None


def test_without_a_weight_there_is_no_term(noisy: Examples) -> None:
    negatives_NS = negatives_of(noisy.labels.toarray())
    pruned = EXACT.model_copy(update={"prune_below": 1e6})
    assert learn_sparse(noisy, negatives_NS, NUM_FEATURES, pruned, 1.0, seed=0) is None
