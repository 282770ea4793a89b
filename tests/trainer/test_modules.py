"""The two modules that learn: what a batch holds, and that the parameters move the right way."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from export.artifact.featurizer import Bags
from trainer.config import ModelSection
from trainer.data import Examples
from trainer.extreme import ExtremeModel, ExtremeTask
from trainer.sampling import LabelSampler
from trainer.surrogate import SurrogateTask, encode, surrogate_labels

CPU = torch.device("cpu")
MODEL = ModelSection(dim=16, dropout=0, precision="float32")
NUM_TEXTS, NUM_TOKENS, NUM_LABELS = 120, 30, 6


@pytest.fixture(scope="module")
def examples() -> Examples:
    """Texts of three tokens out of the five of their label."""
    generator = np.random.default_rng(0)
    labels_N = np.arange(NUM_TEXTS) % NUM_LABELS
    tokens = [np.sort(5 * label + generator.permutation(5)[:3]) for label in labels_N]
    bags = Bags(
        np.concatenate(tokens).astype(np.int32),
        np.full(3 * NUM_TEXTS, 3**-0.5, np.float32),
        np.arange(0, 3 * NUM_TEXTS + 1, 3),
    )
    pairs = (np.ones(NUM_TEXTS, np.float32), (np.arange(NUM_TEXTS), labels_N))
    return Examples(bags, csr_matrix(pairs, shape=(NUM_TEXTS, NUM_LABELS)))


def surrogate_task(examples: Examples) -> SurrogateTask:
    return SurrogateTask(examples.bags, examples.labels, NUM_TOKENS, MODEL, 0, CPU)


def test_the_clusters_of_a_text_are_those_of_its_labels() -> None:
    """Labels 0 and 1 share their words, 2 and 3 theirs, so that two clusters are told apart."""
    bags = Bags(np.int32([0, 0, 1, 1, 0, 1]), np.ones(6, np.float32), np.array([0, 1, 2, 3, 4, 6]))
    labels = csr_matrix(np.float32([[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1], [0, 1, 0, 1]]))
    clusters_NK = surrogate_labels(Examples(bags, labels), 2, 2, seed=0).toarray()
    assert clusters_NK.shape == (5, 2)
    assert clusters_NK[:2].tolist() == [clusters_NK[0].tolist()] * 2, "two labels of one cluster count once"
    assert clusters_NK[2:4].tolist() == [(1 - clusters_NK[0]).tolist()] * 2
    assert clusters_NK[4].tolist() == [1, 1]


def test_with_clusters_for_all_every_label_is_its_own(examples: Examples) -> None:
    assert (surrogate_labels(examples, NUM_TOKENS, 1000, seed=0) != examples.labels).nnz == 0


def test_a_surrogate_batch_holds_the_bags_and_clusters_of_its_texts(examples: Examples) -> None:
    rows = np.array([7, 3, 50])
    batch = surrogate_task(examples).prepare(rows)
    bags = examples.bags.take(rows)
    assert batch.tokens[batch.ids].tolist() == bags.ids.tolist()
    assert len(set(batch.tokens.tolist())) == len(batch.tokens)
    assert batch.weights.tolist() == bags.weights.tolist()
    assert batch.starts.tolist() == [0, 3, 6]
    assert list(zip(batch.rows.tolist(), batch.clusters.tolist(), strict=True)) == [(0, 1), (1, 3), (2, 2)]


def test_the_surrogate_task_brings_texts_of_a_label_together(examples: Examples) -> None:
    task = surrogate_task(examples)
    losses = [task.step(task.prepare(np.arange(NUM_TEXTS)), 0.02) for _ in range(150)]
    assert losses[-1] < 0.2 * losses[0]
    v_ND = encode(task.embeddings.weight, examples.bags)
    v_ND /= np.linalg.norm(v_ND, axis=1, keepdims=True)
    labels_N = examples.labels.indices
    same = labels_N[:, None] == labels_N
    similarities = v_ND @ v_ND.T
    assert similarities[same].mean() > similarities[~same].mean() + 0.3


def test_tokens_of_no_text_keep_their_embedding(examples: Examples) -> None:
    task = surrogate_task(examples)
    before = task.embeddings.weight.clone()
    task.step(task.prepare(np.array([0, 6])), 0.1)  # two texts of label 0, whose tokens are 0 to 4
    assert torch.equal(task.embeddings.weight[5:], before[5:])
    assert not torch.equal(task.embeddings.weight[:5], before[:5])


def test_encoding_is_that_of_each_text_alone(examples: Examples) -> None:
    """More texts than are encoded at a time, an empty one among them."""
    rows = np.tile(np.arange(NUM_TEXTS), 35)
    bags = examples.bags.take(rows)
    with_empty = Bags(bags.ids, bags.weights, np.append(bags.offsets, bags.offsets[-1]))
    embeddings = torch.randn(NUM_TOKENS, 4, generator=torch.Generator().manual_seed(0))
    v_ND = encode(embeddings, with_empty)
    expected = np.maximum(examples.features(NUM_TOKENS).toarray() @ embeddings.numpy(), 0)
    assert len(with_empty) > 4096
    np.testing.assert_allclose(v_ND[:-1], expected[rows], atol=1e-6)
    assert not v_ND[-1].any()


@pytest.fixture(name="v_ND", scope="module")
def representations() -> NDArray[np.float32]:
    """Representations around a centre per label."""
    generator = np.random.default_rng(1)
    centres = generator.random((NUM_LABELS, MODEL.dim))[np.arange(NUM_TEXTS) % NUM_LABELS]
    return (centres + 0.1 * generator.random((NUM_TEXTS, MODEL.dim))).astype(np.float32)


def extreme_task(
    examples: Examples, v_ND: NDArray[np.float32], bound: float, precision: str = "float32"
) -> ExtremeTask:
    negatives_NS = ((np.arange(NUM_TEXTS)[:, None] + np.array([1, 2])) % NUM_LABELS).astype(np.int32)
    sampler = LabelSampler(examples.labels, negatives_NS, 1, seed=0)
    model = MODEL.model_copy(update={"spectral_bound": bound, "precision": precision})
    return ExtremeTask(v_ND, examples.labels, sampler, model, 0, CPU)


def test_an_extreme_batch_holds_the_representations_and_labels_of_its_texts(
    examples: Examples, v_ND: NDArray[np.float32]
) -> None:
    rows = np.array([7, 3])
    batch = extreme_task(examples, v_ND, 1.0).prepare(rows)
    assert batch.v.tolist() == v_ND[rows].tolist()
    assert {1, 2, 3, 4, 5} <= set(batch.labels.tolist()), "positives 1 and 3, negatives 2, 3 and 4, 5"
    assert batch.labels[batch.columns].tolist() == [1, 3]
    assert batch.rows.tolist() == [0, 1]


@pytest.mark.parametrize(("bound", "precision"), [(0.2, "float32"), (1.0, "float32"), (1.0, "bfloat16")])
def test_the_extreme_task_learns_to_tell_the_labels_apart_within_its_bound(
    examples: Examples, v_ND: NDArray[np.float32], bound: float, precision: str
) -> None:
    task = extreme_task(examples, v_ND, bound, precision)
    losses = [task.step(task.prepare(np.arange(NUM_TEXTS)), 0.02) for _ in range(300)]
    assert losses[-1] < 0.2 * losses[0]
    model = task.finish()
    assert float(torch.linalg.matrix_norm(model.residual.double(), ord=2)) <= bound * (1 + 1e-6)
    logits_NL = model.transform(torch.from_numpy(v_ND)) @ model.classifier.T + model.bias
    accuracy = (logits_NL.argmax(dim=1).numpy() == examples.labels.indices).mean()
    assert accuracy > 0.95


def test_the_final_representation_adds_the_rectified_residual() -> None:
    residual = torch.tensor([[0.0, -1.0], [0.5, 0.0]])
    model = ExtremeModel(residual, torch.empty(0, 2), torch.empty(0))
    assert model.transform(torch.tensor([[2.0, 1.0]])).tolist() == [[2.0, 2.0]]
