"""Adam on some rows of a table, compared with torch's optimisers, by each implementation."""

import importlib
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from astec.trainer.numerics.adam import BETA1, BETA2, EPSILON, step_by_torch, step_rows

Step = Callable[..., None]
IMPLEMENTATIONS = ("own", "torch", "triton")
RATES = (0.1, 0.05, 0.2, 0.01)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.param)


@pytest.fixture(params=IMPLEMENTATIONS)
def step(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, device: torch.device) -> Step:
    """Return an implementation of `step_rows`: the one of the device, separate operations, or the Triton kernel."""
    if request.param == "own":
        return step_rows
    if request.param == "torch":
        return partial(_corrected, step_by_torch)
    pytest.importorskip("triton", reason="Triton comes only with torch's builds for GPUs")
    if device.type == "cpu":
        if torch.cuda.is_available():
            pytest.skip("one process cannot both compile the kernel and interpret it")
        monkeypatch.setenv("TRITON_INTERPRET", "1")
    fused = importlib.import_module("astec.trainer.numerics.fused_adam").step_fused
    return partial(_corrected, partial(fused, betas=(BETA1, BETA2), epsilon=EPSILON))


def _corrected(
    step: Step,
    weight: Tensor,
    mean: Tensor,
    square: Tensor,
    rows: Tensor | None,
    gradient: Tensor,
    rate: float,
    steps: int,
) -> None:
    step(weight, mean, square, rows, gradient, rate * (1 - BETA2**steps) ** 0.5 / (1 - BETA1**steps))


@pytest.mark.parametrize("dim", [1, 3, 128, 300])
def test_rows_step_as_in_sparse_adam(step: Step, device: torch.device, dim: int) -> None:
    generator = torch.Generator().manual_seed(dim)
    start = torch.randn(40, dim, generator=generator)
    parameter = nn.Parameter(start.clone())
    optimizer = torch.optim.SparseAdam([parameter], betas=(BETA1, BETA2), eps=EPSILON)
    weight = start.clone().to(device)
    mean, square = torch.zeros_like(weight), torch.zeros_like(weight)
    for steps, rate in enumerate(RATES, start=1):
        rows, gradient = torch.randperm(40, generator=generator)[:13], torch.randn(13, dim, generator=generator)
        optimizer.param_groups[0]["lr"] = rate
        parameter.grad = torch.sparse_coo_tensor(rows[None], gradient, parameter.shape, check_invariants=True)
        optimizer.step()
        step(weight, mean, square, rows.to(device), gradient.to(device), rate, steps)
    torch.testing.assert_close(weight.cpu(), parameter.detach(), rtol=1e-5, atol=1e-6)


def test_a_whole_table_steps_as_in_adam(step: Step, device: torch.device) -> None:
    """A tile of the fused kernel has 8 rows and 128 columns: this table has 3 by 3 tiles, some of them in part.

    `torch.optim.Adam` adds epsilon elsewhere than `SparseAdam`, so that no gradient here is near zero.
    """
    generator = torch.Generator().manual_seed(0)
    parameter = nn.Parameter(torch.randn(21, 300, generator=generator))
    optimizer = torch.optim.Adam([parameter], betas=(BETA1, BETA2), eps=EPSILON)
    weight = parameter.detach().clone().to(device)
    mean, square = torch.zeros_like(weight), torch.zeros_like(weight)
    for steps, rate in enumerate(RATES, start=1):
        parameter.grad = 0.5 + torch.rand(21, 300, generator=generator)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        step(weight, mean, square, None, parameter.grad.to(device), rate, steps)
    torch.testing.assert_close(weight.cpu(), parameter.detach(), rtol=1e-5, atol=1e-6)


def test_other_rows_and_their_moments_stay(step: Step, device: torch.device) -> None:
    tables = [torch.full((9, 5), value, device=device) for value in (1.0, 2.0, 3.0)]
    step(*tables, torch.tensor([7, 2], device=device), torch.ones(2, 5, device=device), 0.1, 1)
    for table, before in zip(tables, (1.0, 2.0, 3.0), strict=True):
        changed = (table != before).all(dim=1)
        assert changed.nonzero().ravel().tolist() == [2, 7]
        assert (table[~changed] == before).all()


def test_no_rows_are_no_work(step: Step, device: torch.device) -> None:
    tables = [torch.ones(4, 3, device=device) for _ in range(3)]
    step(*tables, torch.empty(0, dtype=torch.int64, device=device), torch.empty(0, 3, device=device), 0.1, 1)
    assert all(torch.equal(table, torch.ones_like(table)) for table in tables)


def test_a_gradient_in_half_precision_is_read_as_it_is() -> None:
    generator = torch.Generator().manual_seed(0)
    rows, gradient = torch.tensor([5, 0, 3]), torch.randn(3, 33, generator=generator).bfloat16()
    half, single = ((torch.ones(7, 33), torch.zeros(7, 33), torch.zeros(7, 33)) for _ in range(2))
    step_rows(*half, rows, gradient, 0.1, 1)
    step_rows(*single, rows, gradient.float(), 0.1, 1)
    for found, expected in zip(half, single, strict=True):
        assert torch.equal(found, expected)
