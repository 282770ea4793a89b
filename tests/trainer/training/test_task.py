"""The training problem of every module: its batches, the direction of its steps, and resuming from a saved state."""

from typing import cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor

from astec.export.artifact.text.bags import Bags
from astec.trainer.data.examples import Examples
from astec.trainer.embeddings.random import random_embeddings
from astec.trainer.encoders.encoder import Encoder
from astec.trainer.modules.negatives.label_sampler import LabelSampler
from astec.trainer.parallel.world import Arrays
from astec.trainer.settings.config import ModelSection, ShortlistSection
from astec.trainer.settings.section import EncoderSection
from astec.trainer.training.dense_model import DenseModel
from astec.trainer.training.features import EncodedFeatures, Features, FrozenFeatures
from astec.trainer.training.task import AllLabels, Labels, OneVsAllTask

CPU = torch.device("cpu")
MODEL = ModelSection(dim=16, dropout=0, precision="float32")
NUM_TEXTS, NUM_TOKENS, NUM_LABELS = 120, 30, 6
ALL = np.arange(NUM_TEXTS)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(name="examples", scope="module")
def examples_fixture() -> Examples:
    """Make texts of three tokens out of the five of their label."""
    generator = np.random.default_rng(0)
    labels_N = ALL % NUM_LABELS
    tokens = [np.sort(5 * label + generator.permutation(5)[:3]) for label in labels_N]
    bags = Bags(
        np.concatenate(tokens).astype(np.int32),
        np.full(3 * NUM_TEXTS, 3**-0.5, np.float32),
        np.arange(0, 3 * NUM_TEXTS + 1, 3),
    )
    pairs = (np.ones(NUM_TEXTS, np.float32), (ALL, labels_N))
    return Examples(bags, csr_matrix(pairs, shape=(NUM_TEXTS, NUM_LABELS)))


@pytest.fixture(name="v_ND", scope="module")
def representations() -> NDArray[np.float32]:
    """Make representations around one centre for each label."""
    generator = np.random.default_rng(1)
    centres = generator.random((NUM_LABELS, MODEL.dim))[ALL % NUM_LABELS]
    return (centres + 0.1 * generator.random((NUM_TEXTS, MODEL.dim))).astype(np.float32)


def task_of(features: Features, labels: Labels, seed: int = 0, **changes: object) -> OneVsAllTask:
    model = MODEL.model_copy(update=changes)
    return OneVsAllTask("extreme", features, labels, MODEL.dim, model, seeded(seed), CPU)


def bag_features(examples: Examples, seed: int = 0) -> EncodedFeatures:
    embeddings_VD = random_embeddings(NUM_TOKENS, MODEL.dim, seeded(seed))
    return EncodedFeatures(Encoder.start(EncoderSection(), embeddings_VD), examples.texts)


def sampler(examples: Examples) -> LabelSampler:
    negatives_NS = ((ALL[:, None] + np.array([1, 2])) % NUM_LABELS).astype(np.int32)
    return LabelSampler(examples.labels, negatives_NS, ShortlistSection(num_random_negatives=1), seed=0)


def learn(task: OneVsAllTask, steps: range, rate: float = 0.02) -> list[float]:
    """Take steps on the whole batch and return their losses."""
    return [float(task.step(task.prepare(ALL, step), rate)) for step in steps]


def test_a_batch_over_all_labels_holds_the_bags_and_labels_of_its_texts(examples: Examples) -> None:
    rows = np.array([7, 3, 50])
    batch = task_of(bag_features(examples), AllLabels(examples.labels)).prepare(rows, 0)
    tokens, ids, weights, starts = batch.features[:4]
    bags = examples.bags.take(rows)
    assert tokens[ids].tolist() == bags.ids.tolist()
    assert len(set(tokens.tolist())) == len(tokens)
    assert weights.tolist() == bags.weights.tolist()
    assert starts.tolist() == [0, 3, 6]
    assert batch.labels is None
    assert list(zip(batch.rows.tolist(), batch.columns.tolist(), strict=True)) == [(0, 1), (1, 3), (2, 2)]


def test_a_batch_on_shortlists_holds_the_representations_and_sampled_labels_of_its_texts(
    examples: Examples, v_ND: NDArray[np.float32]
) -> None:
    rows = np.array([7, 3])
    batch = task_of(FrozenFeatures(v_ND, CPU), sampler(examples)).prepare(rows, 0)
    assert batch.features[0].tolist() == v_ND[rows].tolist()
    assert batch.labels is not None
    assert {1, 2, 3, 4, 5} <= set(batch.labels.tolist()), "positives 1 and 3, negatives 2, 3 and 4, 5"
    assert batch.labels[batch.columns].tolist() == [1, 3]
    assert batch.rows.tolist() == [0, 1]


def test_the_labels_of_all_know_their_share(examples: Examples) -> None:
    labels = AllLabels(examples.labels)
    assert labels.num_labels == NUM_LABELS
    assert labels.prior == pytest.approx(1 / NUM_LABELS)


def test_learning_embeddings_brings_texts_of_a_label_together(examples: Examples) -> None:
    features = bag_features(examples)
    losses = learn(task_of(features, AllLabels(examples.labels)), range(150))
    assert losses[-1] < 0.2 * losses[0]
    v_ND = features.encoder.represent(examples.texts)
    v_ND /= np.linalg.norm(v_ND, axis=1, keepdims=True)
    labels_N = examples.labels.indices
    same = labels_N[:, None] == labels_N
    similarities = v_ND @ v_ND.T
    assert similarities[same].mean() > similarities[~same].mean() + 0.3


def test_tokens_of_no_text_keep_their_embedding(examples: Examples) -> None:
    features = bag_features(examples)
    before = features.encoder.embeddings.weight.clone()
    task = task_of(features, AllLabels(examples.labels))
    task.step(task.prepare(np.array([0, 6]), 0), 0.1)  # two texts of label 0, whose tokens are 0 to 4
    assert torch.equal(features.encoder.embeddings.weight[5:], before[5:])
    assert not torch.equal(features.encoder.embeddings.weight[:5], before[:5])


@pytest.mark.parametrize(("bound", "precision"), [(0.2, "float32"), (1.0, "float32"), (1.0, "bfloat16")])
def test_classifiers_learn_to_tell_the_labels_apart_within_their_bound(
    examples: Examples, v_ND: NDArray[np.float32], bound: float, precision: str
) -> None:
    task = task_of(FrozenFeatures(v_ND, CPU), sampler(examples), spectral_bound=bound, precision=precision)
    losses = learn(task, range(300))
    assert losses[-1] < 0.2 * losses[0]
    model = DenseModel.of(cast("Encoder", torch.empty(0, MODEL.dim)), cast("Arrays", task.learnt()))
    assert model.residuals.shape == (1, MODEL.dim, MODEL.dim)
    assert float(torch.linalg.matrix_norm(model.residuals[0].double(), ord=2)) <= bound * (1 + 1e-6)
    logits_NL = model.transform(torch.from_numpy(v_ND)) @ model.classifier.T + model.bias
    accuracy = (logits_NL.argmax(dim=1).numpy() == examples.labels.indices).mean()
    assert accuracy > 0.95
    assert task.precision(v_ND, examples.labels, None)["P@1"] == pytest.approx(100 * accuracy, abs=0.01)


def state_of(task: OneVsAllTask) -> dict[str, Tensor]:
    """Return the state of a task of one process, which splits no rows."""
    return cast("dict[str, Tensor]", task.state())


@pytest.mark.parametrize("learns_embeddings", [True, False])
def test_a_restored_task_goes_on_as_if_nothing_had_happened(
    examples: Examples, v_ND: NDArray[np.float32], learns_embeddings: bool
) -> None:
    """A task that began elsewhere and gets a copy of the state continues with the same bits, dropout included."""

    def make(seed: int) -> OneVsAllTask:
        features: Features = bag_features(examples, seed) if learns_embeddings else FrozenFeatures(v_ND, CPU)
        return task_of(features, sampler(examples), seed, dropout=0.5)

    def go_on(task: OneVsAllTask) -> list[float]:
        torch.manual_seed(9)
        return learn(task, range(5, 8))

    torch.manual_seed(8)
    whole = make(0)
    learn(whole, range(5))
    state = {name: tensor.clone() for name, tensor in state_of(whole).items()}
    other = make(1)
    other.restore(state)
    assert go_on(whole) == go_on(other)
    for name, tensor in state_of(whole).items():
        assert torch.equal(state_of(other)[name], tensor), name
        assert name == "residual.left" or not torch.equal(state[name], tensor), f"{name} learns"
