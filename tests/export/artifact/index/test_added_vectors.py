"""Vectors beside an index, searched as if they were in it."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from astec.export.artifact.index.added_vectors import merge_added
from astec.export.artifact.index.base import HnswParams, unit_rows
from astec.export.artifact.index.flat import FlatIndex

PARAMS = HnswParams(m=8, ef_construction=50, ef_search=50)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**16), inside=st.integers(1, 20), beside=st.integers(1, 20), neighbours=st.integers(1, 30))
def test_the_hits_are_those_of_one_index_over_all_vectors(seed: int, inside: int, beside: int, neighbours: int) -> None:
    generator = np.random.default_rng(seed)
    units = unit_rows(generator.standard_normal((inside + beside, 5), np.float32))
    queries = np.concatenate([generator.standard_normal((3, 5), np.float32), np.zeros((1, 5), np.float32)])
    hits = FlatIndex.build(units[:inside], PARAMS, 0).search(queries, neighbours)
    ids, similarities = merge_added(queries, units[inside:], inside, *hits, neighbours)
    expected_ids, expected = FlatIndex.build(units, PARAMS, 0).search(queries, neighbours)
    np.testing.assert_array_equal(ids[:3], expected_ids[:3])
    np.testing.assert_allclose(similarities, expected, atol=1e-6)


def test_missing_hits_of_the_index_are_filled_up() -> None:
    queries, added = np.eye(2, dtype=np.float32)[:1], np.eye(2, dtype=np.float32)
    hits = np.array([[4, -1, -1]]), np.array([[0.5, -1, -1]], np.float32)
    ids, similarities = merge_added(queries, added, 9, *hits, 4)
    assert ids.tolist() == [[9, 4, 10, -1]]
    assert similarities.tolist() == [[1.0, 0.5, 0.0, -1.0]]
