"""The exhaustive search kernel against numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from astec.export.artifact.index.base import HnswParams
from astec.export.artifact.index.flat import FlatIndex

PARAMS = HnswParams(2, 1, 1)


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(norms > 0, norms, 1)).astype(np.float32)


@settings(derandomize=True, deadline=None)
@given(
    count=st.integers(1, 40),
    num_queries=st.integers(0, 4),
    dim=st.integers(1, 9),
    k=st.integers(1, 50),
    seed=st.integers(0, 2**32),
)
def test_the_k_best_in_order(count: int, num_queries: int, dim: int, k: int, seed: int) -> None:
    """Of small whole numbers, so that vectors are equal, opposite and zero, and so are queries."""
    rng = np.random.default_rng(seed)
    vectors_ND, queries_BD = (rng.integers(-2, 3, (n, dim)).astype(np.float32) for n in (count, num_queries))
    ids_BK, similarities_BK = FlatIndex.build(vectors_ND, PARAMS, 0).search(queries_BD, k)
    cosines_BN = unit(queries_BD) @ unit(vectors_ND).T
    assert ids_BK.shape == (num_queries, min(k, count))
    assert similarities_BK == pytest.approx(-np.sort(-cosines_BN, axis=1)[:, :k], abs=1e-6)
    assert similarities_BK == pytest.approx(np.take_along_axis(cosines_BN, ids_BK, axis=1), abs=1e-6)
    assert all(len(set(ids_K)) == len(ids_K) for ids_K in ids_BK.tolist())


def test_of_equal_vectors_the_first_come_first() -> None:
    index = FlatIndex.build(np.ones((6, 3), np.float32), PARAMS, 0)
    assert index.search(np.ones((1, 3), np.float32), 4)[0].tolist() == [[0, 1, 2, 3]]


def test_queries_may_be_a_view_of_others() -> None:
    vectors_ND = np.random.default_rng(0).standard_normal((20, 4), np.float32)
    index, queries = FlatIndex.build(vectors_ND, PARAMS, 0), np.repeat(vectors_ND, 2, axis=1)
    assert index.search(queries[:, ::2], 1)[0].ravel().tolist() == list(range(20))
