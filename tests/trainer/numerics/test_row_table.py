"""The table that is updated row by row, compared with torch's SparseAdam."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from astec.trainer.numerics.row_table import RowTable


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_a_table_steps_as_sparse_adam_does(device: str) -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(20, 4, generator=generator)
    table, parameter = RowTable(start.clone().to(device)), nn.Parameter(start.clone())
    optimizer = torch.optim.SparseAdam([parameter])
    for rate in (0.1, 0.05, 0.2, 0.01, 0.1):
        rows = torch.randperm(20, generator=generator)[:6]
        target = torch.randn(6, 4, generator=generator)
        ((table.gather(rows.to(device)) - target.to(device)) ** 4).sum().backward()
        table.step(rate)
        looked_up = functional.embedding(rows, parameter, sparse=True)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        ((looked_up - target) ** 4).sum().backward()
        optimizer.step()
    torch.testing.assert_close(table.weight.cpu(), parameter.detach())
    assert not torch.equal(table.weight.cpu(), start)


def test_a_step_leaves_every_other_row_untouched() -> None:
    start = torch.randn(1_000, 8, generator=torch.Generator().manual_seed(0))
    table = RowTable(start.clone())
    rows = torch.tensor([3, 999, 500])
    for _ in range(3):
        leaf = table.gather(rows)
        leaf.square().sum().backward()
        table.step(0.1)
    assert leaf.grad is not None
    assert leaf.grad.shape == (3, 8), "gradients are of the rows, not of the table"
    others = torch.ones(1_000, dtype=torch.bool)
    others[rows] = False
    assert torch.equal(table.weight[others], start[others])
    assert (table.weight[rows] != start[rows]).all()


def test_all_rows_at_once_step_as_each_would() -> None:
    start = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    whole, listed = RowTable(start.clone()), RowTable(start.clone())
    for rate in (0.1, 0.05):
        for table, rows in ((whole, None), (listed, torch.arange(20))):
            (table.gather(rows) ** 4).sum().backward()
            table.step(rate)
    torch.testing.assert_close(whole.weight, listed.weight)
    assert not torch.equal(whole.weight, start)


def test_a_gradient_that_is_a_view_is_read_rightly() -> None:
    """A transposed product leaves a gradient whose rows are not contiguous."""
    table, factor = RowTable(torch.zeros(5, 3)), torch.tensor([[1.0, -1.0, 1.0], [1.0, 1.0, -1.0]])
    leaf = table.gather(torch.tensor([4, 2]))
    (leaf.T * factor.T).sum().backward()
    table.step(0.5)
    assert table.weight[4].tolist() == pytest.approx([-0.5, 0.5, -0.5]), "a first step of Adam is the rate"
    assert table.weight[2].tolist() == pytest.approx([-0.5, -0.5, 0.5])


def test_a_step_needs_rows_with_a_gradient() -> None:
    table = RowTable(torch.ones(3, 2))
    with pytest.raises(RuntimeError, match="gather"):
        table.step(0.1)
    leaf = table.gather(torch.tensor([1]))
    with pytest.raises(RuntimeError, match="gradient"):
        table.step(0.1)
    leaf.sum().backward()
    table.step(0.1)
    with pytest.raises(RuntimeError, match="gather"):
        table.step(0.1)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_a_restored_table_goes_on_as_if_nothing_had_happened(device: str) -> None:
    """The table continues from a copy of its state to the same bits."""
    start = torch.randn(20, 4, generator=torch.Generator().manual_seed(0)).to(device)

    def learn(table: RowTable, steps: range) -> None:
        for step in steps:
            rows = torch.randperm(20, generator=torch.Generator().manual_seed(step))[:6].to(device)
            (table.gather(rows) ** 4).sum().backward()
            table.step(0.1 / (1 + step))

    whole, first, second = RowTable(start.clone()), RowTable(start.clone()), RowTable(torch.zeros_like(start))
    learn(whole, range(6))
    learn(first, range(3))
    second.restore({name: tensor.clone().cpu() for name, tensor in first.state().items()})
    learn(second, range(3, 6))
    assert torch.equal(second.weight, whole.weight)
    assert not torch.equal(second.weight, first.weight)
    assert all(torch.equal(tensor, whole.state()[name]) for name, tensor in second.state().items())
