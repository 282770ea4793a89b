"""Bags of embeddings against numpy, in float32 and in int8.

Shapes: B queries, T tokens of all queries together, V vocabulary, D dimensions.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from astec.export.artifact.encoder.embeddings import Embeddings
from astec.export.artifact.text.bags import Bags

NUM_FEATURES = 20


def random_bags(rng: np.random.Generator, lengths: list[int]) -> Bags:
    """More tokens than there are different ones, so that most come more than once."""
    total = sum(lengths)
    ids = rng.integers(0, NUM_FEATURES, total).astype(np.int32)
    offsets = np.cumsum([0, *lengths]).astype(np.int64)
    return Bags(ids, rng.standard_normal(total).astype(np.float32), offsets)


def random_rows(rng: np.random.Generator, dim: int) -> NDArray[np.float32]:
    return rng.standard_normal((NUM_FEATURES, dim)).astype(np.float32)


def slow_bag(rows_VD: NDArray[np.float64], bags: Bags) -> NDArray[np.float64]:
    bag_BD = np.zeros((len(bags), rows_VD.shape[1]))
    queries_T = np.repeat(np.arange(len(bags)), bags.lengths())
    np.add.at(bag_BD, queries_T, bags.weights[:, None].astype(np.float64) * rows_VD[bags.ids])
    return bag_BD


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    lengths=st.lists(st.integers(0, 50), max_size=6),
    dim=st.integers(1, 40),
    int8=st.booleans(),
)
def test_a_bag_is_the_weighted_sum_of_its_rows(seed: int, lengths: list[int], dim: int, int8: bool) -> None:
    rng = np.random.default_rng(seed)
    bags, embeddings = random_bags(rng, lengths), Embeddings.of(random_rows(rng, dim), int8=int8)
    restored_VD = embeddings.rows * (embeddings.scales[:, None].astype(np.float64) if int8 else np.float64(1))
    bag_BD = embeddings.bag(bags)
    assert (bag_BD.dtype, bag_BD.shape) == (np.dtype(np.float32), (len(lengths), dim))
    np.testing.assert_allclose(bag_BD, slow_bag(restored_VD, bags), rtol=0, atol=1e-4)
    assert not bag_BD[np.array(lengths, np.int64) == 0].any()


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("dim", [1, 7, 32, 300])
def test_a_bag_is_the_same_in_any_batch(dim: int, int8: bool) -> None:
    rng = np.random.default_rng(0)
    bags, embeddings = random_bags(rng, [3, 0, 90, 1, 8, 0]), Embeddings.of(random_rows(rng, dim), int8=int8)
    together_BD = embeddings.bag(bags)
    alone_BD = np.concatenate([embeddings.bag(bags.take(np.array([row]))) for row in range(len(bags))])
    assert np.array_equal(together_BD, alone_BD)


def test_rows_in_int8_are_off_by_half_a_step_at_most() -> None:
    rows_VD = random_rows(np.random.default_rng(0), 16)
    embeddings = Embeddings.of(rows_VD, int8=True)
    assert embeddings.rows.dtype == np.int8
    assert np.all(np.abs(embeddings.rows * embeddings.scales[:, None] - rows_VD) <= 0.501 * embeddings.scales[:, None])
