"""The sample of requests, as a function of their ids."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astec.server.answer_log.sampling import Sample

ids = st.binary(min_size=1, max_size=128)
shares = st.floats(0, 1, exclude_min=True)


@given(ids, shares)
def test_the_same_id_is_always_decided_in_the_same_way(request_id: bytes, share: float) -> None:
    assert Sample(share).has(request_id) == Sample(share).has(request_id)


@given(ids, shares, shares)
def test_a_smaller_share_is_a_part_of_a_larger_one(request_id: bytes, one: float, other: float) -> None:
    smaller, larger = sorted((one, other))
    assert Sample(larger).has(request_id) or not Sample(smaller).has(request_id)


@given(ids)
def test_a_share_of_one_is_everything(request_id: bytes) -> None:
    assert Sample(1.0).has(request_id)


@given(st.integers(0, 2**100), st.sampled_from([0.01, 0.1, 0.5, 0.9]))
def test_ids_that_count_up_are_drawn_as_often_as_the_share_says(first: int, share: float) -> None:
    sample, total = Sample(share), 5_000
    drawn = sum(sample.has(b"request-%d" % number) for number in range(first, first + total))
    # Seven standard errors of a draw at random: a run in 10^11 would be outside.
    assert abs(drawn / total - share) < 7 * (share * (1 - share) / total) ** 0.5


@pytest.mark.slow
def test_another_process_decides_in_the_same_way() -> None:
    code = (
        "from astec.server.answer_log.sampling import Sample\n"
        "print([number for number in range(300) if Sample(0.1).has(b'%d' % number)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str([number for number in range(300) if Sample(0.1).has(b"%d" % number)])
