"""Encoder, classifiers and loss, each against an independent reference."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from astec.export.model.checkpoint_folder import read_checkpoint
from astec.export.readers import open_dataset
from astec.trainer.data.examples import Texts
from astec.trainer.encoders.boe import BagOfEmbeddings
from astec.trainer.encoders.encoder import Encoder
from astec.trainer.encoders.reading import BagReading
from astec.trainer.settings.section import EncoderSection
from astec.trainer.training.layers import Classifier, Residual, one_vs_all_loss

CPU = torch.device("cpu")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def spectral_norm(matrix: Tensor) -> float:
    return float(torch.linalg.matrix_norm(matrix.detach().double(), ord=2))


@pytest.mark.parametrize("bound", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_the_exported_residual_is_within_its_bound(bound: float, scale: float) -> None:
    residual = Residual(16, bound, seeded(), CPU)
    residual.table.weight.copy_(scale * torch.randn(16, 16, generator=seeded(1)))
    before = spectral_norm(residual.table.weight)
    assert spectral_norm(residual.exact()) == pytest.approx(min(before, bound), rel=1e-6)


def test_a_residual_within_its_bound_is_left_as_it_is() -> None:
    residual = Residual(16, 1.0, seeded(), CPU)
    residual.table.weight.copy_(0.01 * torch.randn(16, 16, generator=seeded(1)))
    assert torch.equal(residual.exact(), residual.table.weight)
    assert torch.equal(residual.bounded(), residual.table.weight)


def test_a_residual_starts_from_the_identity() -> None:
    v_BD = torch.rand(3, 16, generator=seeded())
    torch.testing.assert_close(Residual(16, 1.0, seeded(), CPU)(v_BD), v_BD)


def test_power_iteration_finds_the_spectral_norm() -> None:
    residual = Residual(24, 0.5, seeded(), CPU)
    residual.table.weight.copy_(torch.randn(24, 24, generator=seeded(1)))
    for _ in range(300):
        estimate = residual.bounded()
    assert spectral_norm(estimate) == pytest.approx(0.5, rel=1e-4)
    torch.testing.assert_close(estimate.detach(), residual.exact(), rtol=1e-4, atol=1e-5)


def test_the_gradient_goes_through_the_bound() -> None:
    residual = Residual(6, 0.5, seeded(), CPU)
    probe = torch.randn(6, 6, generator=seeded(1))
    start = torch.randn(6, 6, generator=seeded(2))
    residual.table.weight.copy_(start)
    for _ in range(2_000):
        residual.bounded()
    (residual.bounded() * probe).sum().backward()
    weight = start.double().requires_grad_()
    bounded = weight * (0.5 / torch.linalg.matrix_norm(weight, ord=2))
    (expected,) = torch.autograd.grad((bounded * probe).sum(), weight)
    torch.testing.assert_close(residual.table.gradient.double(), expected, rtol=1e-3, atol=1e-5)


def test_final_representations_stay_as_near_as_theorem_1_says(demo_run: Path, demo_data: Path) -> None:
    """Theorem 1(a): ||x_hat - v|| <= lambda ||v||, for every training text of a trained model."""
    checkpoint = read_checkpoint(demo_run)
    bound = float(checkpoint.training["spectral_bound"] or 0)
    (residual,) = checkpoint.model.residuals
    assert spectral_norm(torch.from_numpy(residual)) <= bound * (1 + 1e-6)
    queries = [row.query for row in open_dataset(demo_data, "train").rows()]
    encoder = Encoder.start(EncoderSection(), torch.from_numpy(checkpoint.model.embeddings))
    v_ND = encoder.represent(Texts(checkpoint.featurizer.transform(queries)))
    x_hat_ND = v_ND + np.maximum(v_ND @ residual.T, 0)
    v_norms = np.linalg.norm(v_ND, axis=1)
    moves = np.linalg.norm(x_hat_ND - v_ND, axis=1)
    assert np.all(moves <= bound * v_norms * (1 + 1e-5))
    assert moves.max() > 0.1 * v_norms.mean(), "the residual does something"


def embed(embeddings: Tensor, ids: Tensor, weights: Tensor, starts: Tensor) -> Tensor:
    v_BD: Tensor = BagOfEmbeddings(EncoderSection(), embeddings.shape[1])(
        *BagReading().inputs(embeddings, ids, weights, starts)
    )
    return v_BD


def test_embed_is_the_rectified_weighted_sum() -> None:
    embeddings = torch.tensor([[1.0, -1.0], [2.0, 0.5], [-4.0, 3.0]])
    ids, weights = torch.tensor([0, 1, 2]), torch.tensor([0.5, 2.0, 1.0])
    v_BD = embed(embeddings, ids, weights, torch.tensor([0, 2]))
    assert v_BD.tolist() == [[4.5, 0.5], [0.0, 3.0]]


def test_an_empty_bag_embeds_to_zero_wherever_it_stands() -> None:
    embeddings = torch.ones(2, 3)
    v_BD = embed(embeddings, torch.tensor([0, 1]), torch.tensor([1.0, 2.0]), torch.tensor([0, 0, 1, 1, 2]))
    assert v_BD[:, 0].tolist() == [0, 1, 0, 2, 0]
    none = embed(embeddings, torch.empty(0, dtype=torch.int64), torch.empty(0), torch.tensor([0, 0]))
    assert none.tolist() == [[0, 0, 0], [0, 0, 0]]


def test_the_loss_is_that_of_a_case_worked_by_hand() -> None:
    """Positives at 2 and 3, negatives at -1 and 0, two texts."""
    logits = torch.tensor([[2.0, -1.0], [0.0, 3.0]])
    loss = one_vs_all_loss(logits, torch.tensor([0, 1]), torch.tensor([0, 1]))
    terms = [math.log(1 + math.exp(-z)) for z in (2.0, 1.0, 0.0, 3.0)]
    assert float(loss) == pytest.approx(sum(terms) / 2)


def test_the_loss_is_equation_1_on_all_pairs() -> None:
    generator = seeded()
    logits = 5 * torch.randn(9, 14, generator=generator)
    positive = torch.rand(9, 14, generator=generator) < 0.2
    rows, columns = positive.nonzero(as_tuple=True)
    signs = torch.where(positive, 1.0, -1.0)
    expected = torch.log1p(torch.exp(-signs * logits)).sum(dim=1).mean()
    torch.testing.assert_close(one_vs_all_loss(logits, rows, columns), expected)


def test_the_gradient_of_the_loss_is_that_of_equation_1() -> None:
    generator = seeded()
    logits = torch.randn(9, 14, generator=generator, requires_grad=True)
    positive = torch.rand(9, 14, generator=generator) < 0.2
    rows, columns = positive.nonzero(as_tuple=True)
    signs = torch.where(positive, 1.0, -1.0)
    (expected,) = torch.autograd.grad(7 * torch.log1p(torch.exp(-signs * logits)).sum(dim=1).mean(), logits)
    (found,) = torch.autograd.grad(7 * one_vs_all_loss(logits, rows, columns), logits)
    torch.testing.assert_close(found, expected)


def test_the_loss_of_large_logits_is_finite() -> None:
    loss = one_vs_all_loss(torch.tensor([[1e4, -1e4]]), torch.tensor([0]), torch.tensor([1]))
    assert float(loss) == pytest.approx(2e4)


def test_gradients_of_encoder_and_loss_agree_with_finite_differences() -> None:
    generator = seeded(3)
    embeddings = torch.randn(5, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    classifiers = torch.randn(3, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    ids, starts = torch.tensor([0, 1, 2, 1, 4]), torch.tensor([0, 3, 3])
    weights = torch.rand(5, dtype=torch.float64, generator=generator)

    def loss(embeddings_UD: Tensor, classifiers_LD: Tensor) -> Tensor:
        v_BD = embed(embeddings_UD, ids, weights, starts)
        return one_vs_all_loss(v_BD @ classifiers_LD.T, torch.tensor([0, 2]), torch.tensor([1, 2]))

    assert torch.autograd.gradcheck(loss, (embeddings, classifiers))


def test_a_classifier_scores_the_labels_asked_for_and_learns_them_alone() -> None:
    classifier = Classifier(6, 4, prior=0.25, generator=seeded(), device=CPU)
    weights, biases = classifier.weights.weight.clone(), classifier.biases.weight.clone()
    assert biases.flatten().tolist() == pytest.approx([math.log(0.25 / 0.75)] * 6)
    assert weights.abs().max() <= math.sqrt(6 / (6 + 4)), "Xavier's bound"
    x_BD, labels = torch.randn(3, 4, generator=seeded(1)), torch.tensor([4, 1])
    logits = classifier.logits(x_BD, labels)
    torch.testing.assert_close(logits, x_BD @ weights[labels].T + biases[labels].T)
    one_vs_all_loss(logits, torch.tensor([0]), torch.tensor([1])).backward()
    classifier.step(0.01)
    changed = (classifier.weights.weight != weights).any(dim=1) & (classifier.biases.weight != biases).any(dim=1)
    assert changed.nonzero().flatten().tolist() == [1, 4]


def test_a_classifier_asked_for_all_labels_scores_and_learns_all() -> None:
    classifier = Classifier(6, 4, prior=0.25, generator=seeded(), device=CPU)
    x_BD = torch.randn(3, 4, generator=seeded(1))
    expected = classifier.logits(x_BD, torch.arange(6))
    torch.testing.assert_close(classifier.logits(x_BD, None), expected)
    before = classifier.weights.weight.clone()
    one_vs_all_loss(classifier.logits(x_BD, None), torch.tensor([0]), torch.tensor([1])).backward()
    classifier.step(0.01)
    assert (classifier.weights.weight != before).any(dim=1).all()


def test_half_precision_is_for_products_only() -> None:
    """Logits are near those of full precision; loss and parameters are float32."""
    x_BD, labels = torch.randn(5, 64, generator=seeded(1)), torch.arange(20)
    full = Classifier(20, 64, 0.25, seeded(), CPU).logits(x_BD, labels)
    classifier = Classifier(20, 64, 0.25, seeded(), CPU, torch.bfloat16)
    half = classifier.logits(x_BD, labels)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), full, rtol=0.02, atol=0.05)
    pairs = torch.tensor([0, 3]), torch.tensor([7, 19])
    loss = one_vs_all_loss(half, *pairs)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, one_vs_all_loss(full, *pairs), rtol=0.01, atol=0)
    before = classifier.weights.weight.clone()
    loss.backward()
    classifier.step(0.01)
    assert classifier.weights.weight.dtype == torch.float32
    assert 0 < (classifier.weights.weight - before).abs().max() <= 0.011
