"""The kernels for a block of labels, compared with torch's operations in double precision."""

from collections.abc import Iterator
from typing import Any

import numba
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from astec.trainer.numerics.bfloat16 import as_array
from astec.trainer.numerics.label_block import gather_rows, to_gradients

DTYPES = (torch.float32, torch.bfloat16)
NUM_LABELS, NUM_TEXTS = 37, 21


@pytest.fixture(name="threads", params=[1, 2])
def threads_fixture(request: pytest.FixtureRequest) -> Iterator[int]:
    """Let kernels use so many threads, where there are as many."""
    before = numba.get_num_threads()
    if request.param > numba.config.NUMBA_NUM_THREADS:  # type: ignore[attr-defined]
        pytest.skip("this machine has one CPU")
    numba.set_num_threads(request.param)
    yield request.param
    numba.set_num_threads(before)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_are_gathered_as_torch_rounds_them(dtype: torch.dtype) -> None:
    table = torch.randn(50, 13, generator=seeded()) * 10.0 ** torch.arange(-6, 7)
    bits = [0x3F808000, 0x3F818000, 0x3F808001, 0x3F807FFF, -0x407F8000, 0x7F7FFFFF, 1]
    table[7, :7] = torch.tensor(bits, dtype=torch.int32).view(torch.float32)  # in the middle, by it, largest, smallest
    table[8, :3] = torch.tensor([torch.inf, -torch.inf, -0.0])
    rows, found = torch.tensor([49, 7, 0, 8, 8]), torch.empty(5, 13, dtype=dtype)
    gather_rows(table.numpy(), rows.numpy(), as_array(found))
    assert torch.equal(found, table[rows].to(dtype))
    assert torch.equal(found.signbit(), table[rows].signbit())


def make_pairs() -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Make distinct positive pairs: where those of each label begin, their texts and their weights."""
    positive = torch.rand(NUM_LABELS, NUM_TEXTS, generator=seeded(1)) < 0.1
    labels, texts = positive.nonzero(as_tuple=True)
    bounds = np.searchsorted(labels.numpy(), np.arange(NUM_LABELS + 1))
    return bounds, texts.numpy(), torch.rand(len(texts), generator=seeded(2)).numpy()


def run(logits_CB: Tensor, bias_C: Tensor, weights_B: Tensor, pairs: tuple[NDArray[Any], ...]) -> tuple[Tensor, ...]:
    """Return gradients, losses and the gradients of the biases."""
    gradients, losses, bias_gradients = logits_CB.clone(), torch.empty(len(bias_C)), torch.empty(len(bias_C))
    bounds, texts, weights = pairs
    to_gradients(
        as_array(gradients),
        bias_C.numpy(),
        weights_B.numpy(),
        bounds,
        texts,
        weights,
        losses.numpy(),
        bias_gradients.numpy(),
    )
    return gradients, losses, bias_gradients


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [0.1, 5.0, 60.0])
def test_losses_and_gradients_are_those_of_their_formula(threads: int, dtype: torch.dtype, scale: float) -> None:
    logits_CB = (scale * torch.randn(NUM_LABELS, NUM_TEXTS, generator=seeded())).to(dtype)
    bias_C, weights_B = torch.randn(NUM_LABELS, generator=seeded(3)), 1 + torch.rand(NUM_TEXTS, generator=seeded(4))
    bounds, texts, weights = make_pairs()
    labels = np.repeat(np.arange(NUM_LABELS), np.diff(bounds))
    z_CB, w_CB = logits_CB.double() + bias_C.double()[:, None], torch.zeros(NUM_LABELS, NUM_TEXTS).double()
    w_CB[labels, texts] = torch.from_numpy(weights).double()
    expected_CB = weights_B * torch.sigmoid(z_CB) - w_CB

    gradients, losses, bias_gradients = run(logits_CB, bias_C, weights_B, (bounds, texts, weights))
    precision = 1e-6 if dtype == torch.float32 else 2**-8
    torch.testing.assert_close(gradients.double(), expected_CB, rtol=precision, atol=5e-7)
    expected_C = (weights_B * functional.softplus(z_CB) - w_CB * z_CB).sum(dim=1)
    torch.testing.assert_close(losses.double(), expected_C, rtol=2e-6, atol=1e-5)
    torch.testing.assert_close(bias_gradients.double(), expected_CB.sum(dim=1), rtol=2e-6, atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_large_logits_overflow_nowhere(dtype: torch.dtype) -> None:
    logits_CB = torch.tensor([[1e4, -1e4], [-1e4, 1e4]]).to(dtype)
    pairs = np.array([0, 1, 2]), np.array([0, 0]), np.ones(2, np.float32)  # text 0 has both labels
    gradients, losses, bias_gradients = run(logits_CB, torch.zeros(2), torch.ones(2), pairs)
    large = float(logits_CB[0, 0])
    assert losses.tolist() == [0, 2 * large]
    torch.testing.assert_close(gradients.float(), torch.tensor([[0.0, 0.0], [-1.0, 1.0]]))
    torch.testing.assert_close(bias_gradients, torch.zeros(2))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_the_loss_shows_logits_that_are_not_finite(dtype: torch.dtype, value: float) -> None:
    logits_CB = torch.zeros(1, 20).to(dtype)
    logits_CB[0, 17] = value
    none = np.zeros(2, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
    _, losses, _ = run(logits_CB, torch.zeros(1), torch.ones(20), none)
    assert not torch.isfinite(losses).any()
