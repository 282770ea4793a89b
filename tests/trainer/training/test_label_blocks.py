"""A step of the classifiers block by block, compared with the one by torch's operations."""

import numpy as np
import pytest
import torch
from torch import Tensor

from astec.trainer.training import label_blocks
from astec.trainer.training.label_blocks import LabelPairs, step_labels
from astec.trainer.training.layers import Classifier, one_vs_all_loss
from astec.trainer.training.pair_weights import BatchWeights

NUM_LABELS, NUM_TEXTS, DIM = 30, 11, 16


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make_classifier(dtype: torch.dtype) -> Classifier:
    return Classifier(NUM_LABELS, DIM, 0.1, seeded(), torch.device("cpu"), dtype)


def make_pairs(*, listed: bool, weighted: bool) -> LabelPairs:
    """Make positive pairs of all labels, or of a list of labels out of order."""
    labels = torch.randperm(NUM_LABELS, generator=seeded(1))[:23] if listed else None
    num_columns = 23 if listed else NUM_LABELS
    rows, columns = (torch.rand(NUM_TEXTS, num_columns, generator=seeded(2)) < 0.15).nonzero(as_tuple=True)
    weights = None
    if weighted:
        weights = BatchWeights(
            torch.rand(len(rows), generator=seeded(3)), 1 + torch.rand(NUM_TEXTS, generator=seeded(4))
        )
    return LabelPairs(labels, rows, columns, weights)


def step_by_torch(
    classifier: Classifier, x_BD: Tensor, pairs: LabelPairs, num_texts: int, rate: float
) -> tuple[Tensor, Tensor]:
    """Do the same as `step_labels`, all labels at once and by automatic differentiation."""
    x_BD = x_BD.clone().requires_grad_()
    logits_BU = classifier.logits(x_BD, pairs.labels)
    loss = one_vs_all_loss(logits_BU, pairs.rows, pairs.columns, num_texts, pairs.weights)
    (gradient_BD,) = torch.autograd.grad(loss, x_BD, retain_graph=True)
    loss.backward()
    classifier.step(rate)
    return loss.detach(), gradient_BD


@pytest.mark.parametrize("at_once", [7, 4096])
@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_blocks_step_as_all_labels_at_once(
    monkeypatch: pytest.MonkeyPatch, at_once: int, listed: bool, weighted: bool
) -> None:
    monkeypatch.setattr(label_blocks, "_LABELS_AT_ONCE", at_once)
    own, reference = make_classifier(torch.float32), make_classifier(torch.float32)
    pairs = make_pairs(listed=listed, weighted=weighted)
    for seed in range(3):  # so that moments count
        x_BD = torch.randn(NUM_TEXTS, DIM, generator=seeded(10 + seed))
        found = step_labels(own, x_BD, pairs, 2 * NUM_TEXTS, 0.05)
        expected = step_by_torch(reference, x_BD, pairs, 2 * NUM_TEXTS, 0.05)
        torch.testing.assert_close(found, expected)
    for name, table in own.tables.items():
        torch.testing.assert_close(table.weight, reference.tables[name].weight, rtol=1e-4, atol=1e-5)
        assert not torch.equal(table.weight, make_classifier(torch.float32).tables[name].weight)


def test_half_precision_is_for_products_alone() -> None:
    """Loss and gradient are near those of full precision, and the parameters stay float32."""
    half, full = make_classifier(torch.bfloat16), make_classifier(torch.float32)
    pairs = make_pairs(listed=True, weighted=False)
    x_BD = torch.randn(NUM_TEXTS, DIM, generator=seeded(10))
    loss, gradient_BD = step_labels(half, x_BD, pairs, NUM_TEXTS, 0.05)
    full_loss, full_gradient_BD = step_labels(full, x_BD, pairs, NUM_TEXTS, 0.05)
    assert loss.dtype == gradient_BD.dtype == half.weights.weight.dtype == torch.float32
    torch.testing.assert_close(loss, full_loss, rtol=0.01, atol=0)
    torch.testing.assert_close(gradient_BD, full_gradient_BD, rtol=0.05, atol=0.01)
    changed = (half.weights.weight != make_classifier(torch.float32).weights.weight).any(dim=1)
    assert pairs.labels is not None
    np.testing.assert_array_equal(np.flatnonzero(changed.numpy()), np.sort(pairs.labels.numpy()))
    # Adam's first step has the size of the rate, and the sign of the gradient: few of them are near 0.
    agree = (half.weights.weight - full.weights.weight).abs() < 0.01
    assert agree.float().mean() > 0.95
