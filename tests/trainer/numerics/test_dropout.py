"""Dropout from random bits: how much is dropped, and what makes up for it."""

import pytest
import torch

from astec.trainer.numerics.dropout import dropout_mask


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_the_share_is_dropped_and_made_up_for(share: float) -> None:
    torch.manual_seed(3)
    mask = dropout_mask(301, 333, share)
    assert mask.dtype == torch.float32
    kept = mask[mask > 0]
    assert kept.tolist() == pytest.approx([1 / (1 - share)] * len(kept), rel=1e-4)
    # Four standard errors of a share of 100,000 numbers are 0.6 points.
    for part in (mask, mask[:, ::4], mask[:, 1::4], mask[:150], mask[150:]):
        assert (part == 0).float().mean().item() == pytest.approx(share, abs=0.013)


def test_each_seed_has_its_mask() -> None:
    masks = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        masks.append(dropout_mask(5, 70, 0.5))
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])
    assert not torch.equal(masks[0][0], masks[0][1])
