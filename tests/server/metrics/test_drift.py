"""The population stability index, by hand and by its properties."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astec.server.metrics.drift import population_stability_index

COUNTS = st.integers(0, 10**9)
BINS = st.integers(1, 20)
PAIRS = BINS.flatmap(lambda bins: st.tuples(*[st.lists(COUNTS, min_size=bins, max_size=bins)] * 2))


def test_an_example_worked_out_by_hand() -> None:
    # Half a query more in each bin: 8.5 and 2.5 of 11, against 5.5 and 5.5 of 11.
    p, q = (8.5 / 11, 2.5 / 11), (0.5, 0.5)
    expected = (q[0] - p[0]) * math.log(q[0] / p[0]) + (q[1] - p[1]) * math.log(q[1] / p[1])
    assert population_stability_index([8, 2], [5, 5]) == pytest.approx(expected)
    assert expected == pytest.approx(3 / 11 * math.log(3.4)) == pytest.approx(0.33376, abs=1e-5)


def test_empty_bins_give_a_finite_index() -> None:
    # 100.5 and 0.5 of 101, against the same the other way round.
    assert population_stability_index([100, 0], [0, 100]) == pytest.approx(2 * 100 / 101 * math.log(201))


@given(PAIRS)
def test_it_is_finite_never_negative_and_the_same_in_both_directions(counts: tuple[list[int], list[int]]) -> None:
    expected, observed = counts
    index = population_stability_index(expected, observed)
    assert math.isfinite(index)
    assert index >= 0
    assert population_stability_index(observed, expected) == pytest.approx(index)


@given(st.lists(COUNTS, min_size=1, max_size=20))
def test_it_is_zero_for_equal_histograms(counts: list[int]) -> None:
    assert population_stability_index(counts, counts) == 0


@given(st.lists(st.integers(1, 10**6), min_size=2, max_size=20), st.integers(1, 10**6))
def test_it_grows_as_queries_move_from_one_bin_to_another(counts: list[int], moved: int) -> None:
    total = sum(counts)
    scaled = [1000 * count for count in counts]
    shifts = [moved % (500 * counts[0]), 500 * counts[0]]
    near, far = ([scaled[0] - shift, scaled[1] + shift, *scaled[2:]] for shift in shifts)
    assert sum(near) == sum(far) == 1000 * total
    assert population_stability_index(scaled, near) <= population_stability_index(scaled, far)
