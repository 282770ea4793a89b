"""Rounding rows of weights to 8 bits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astec.export.artifact.kernels.quantization import LARGEST, quantize_int8


@settings(derandomize=True, deadline=None, max_examples=100)
@given(seed=st.integers(0, 2**32), num_rows=st.integers(0, 5), dim=st.integers(0, 40), exponent=st.integers(-30, 30))
def test_a_weight_is_off_by_half_a_step_at_most(seed: int, num_rows: int, dim: int, exponent: int) -> None:
    weights_LD = np.random.default_rng(seed).standard_normal((num_rows, dim)).astype(np.float32)
    weights_LD *= np.float32(10.0**exponent)
    codes_LD, scales_L = quantize_int8(weights_LD)
    assert (codes_LD.dtype, scales_L.dtype) == (np.dtype(np.int8), np.dtype(np.float32))
    restored_LD = codes_LD.astype(np.float64) * scales_L[:, None]
    # Half a step, and the rounding of the scale itself times the largest code.
    bound_L = scales_L.astype(np.float64) * (0.5 + LARGEST * np.finfo(np.float32).eps)
    assert np.all(np.abs(restored_LD - weights_LD) <= bound_L[:, None])
    assert np.all(np.abs(codes_LD.astype(np.int64)) <= LARGEST)


def test_the_largest_weight_of_a_row_has_the_largest_code() -> None:
    codes_LD, scales_L = quantize_int8(np.array([[0.5, -1, 0.25], [3, 4, -2]], np.float32))
    assert codes_LD.tolist() == [[64, -127, 32], [95, 127, -64]]
    assert scales_L == pytest.approx([1 / 127, 4 / 127])


@pytest.mark.parametrize("tiny", [0, 1e-45])
def test_a_row_of_zeros_or_next_to_nothing_is_zeros(tiny: float) -> None:
    codes_LD, scales_L = quantize_int8(np.array([[tiny, -tiny], [1, 0]], np.float32))
    assert codes_LD.tolist() == [[0, 0], [127, 0]]
    assert scales_L[0] == 0


def test_more_rows_than_are_rounded_at_a_time() -> None:
    weights_LD = np.arange(1, 70_001, dtype=np.float32)[:, None]
    codes_LD, scales_L = quantize_int8(weights_LD)
    assert np.all(codes_LD == LARGEST)
    assert scales_L == pytest.approx(weights_LD[:, 0] / LARGEST)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="NaN or infinity, which int8 cannot"):
        quantize_int8(np.array([[1, value]], np.float32))
