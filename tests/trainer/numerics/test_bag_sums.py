"""Weighted sums of rows and their gradient, compared with torch's `embedding_bag`."""

import pytest
import torch
from torch.nn import functional

from astec.trainer.numerics.bag_sums import sum_bags


@pytest.mark.parametrize("dim", [1, 33])
def test_sums_and_gradients_are_those_of_an_embedding_bag(dim: int) -> None:
    """Some texts are empty, some tokens come twice in a text, and some rows are those of no token."""
    generator = torch.Generator().manual_seed(dim)
    own, expected = (torch.randn(40, dim, generator=generator.manual_seed(dim), requires_grad=True) for _ in range(2))
    ids_T, weights_T = torch.randint(30, (90,), generator=generator), torch.rand(90, generator=generator)
    starts_B = torch.tensor([0, 0, 17, 50, 50, 50, 89, 90])
    sums_BD = sum_bags(own, ids_T, weights_T, starts_B)
    expected_BD = functional.embedding_bag(ids_T, expected, starts_B, mode="sum", per_sample_weights=weights_T)
    torch.testing.assert_close(sums_BD, expected_BD)
    factor_BD = torch.randn(dim, len(starts_B), generator=generator).T  # so that the gradient is not contiguous
    (sums_BD * factor_BD).sum().backward()
    (expected_BD * factor_BD).sum().backward()
    torch.testing.assert_close(own.grad, expected.grad)
    assert own.grad is not None
    assert not own.grad[30:].any()


def test_no_tokens_are_zeros() -> None:
    rows_UD = torch.ones(2, 3, requires_grad=True)
    nothing = torch.empty(0, dtype=torch.int64)
    sum_bags(rows_UD, nothing, torch.empty(0), torch.zeros(2, dtype=torch.int64)).sum().backward()
    assert rows_UD.grad is not None
    assert not rows_UD.grad.any()
    assert sum_bags(rows_UD, nothing, torch.empty(0), nothing).shape == (0, 3)
