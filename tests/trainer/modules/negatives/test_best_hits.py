"""The best hits of queries, against a sort of all similarities."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from astec.trainer.modules.negatives.best_hits import BestHits


@settings(derandomize=True, deadline=None)
@given(
    num_queries=st.integers(1, 4),
    num_vectors=st.integers(1, 400),
    k=st.integers(1, 150),
    block=st.integers(1, 100),
    num_values=st.integers(1, 300),
    seed=st.integers(0, 2**31 - 1),
)
def test_hits_are_the_first_of_a_stable_sort(
    num_queries: int, num_vectors: int, k: int, block: int, num_values: int, seed: int
) -> None:
    """Few distinct values make many ties, of which the lowest ids are kept."""
    k = min(k, num_vectors)
    drawn = np.random.default_rng(seed).integers(-num_values, num_values, (num_queries, num_vectors))
    similarities = (drawn / num_values).astype(np.float32)
    hits = BestHits(num_queries, k)
    for begin in range(0, num_vectors, block):
        part = similarities[:, begin : begin + block]
        hits.add(part, np.arange(num_queries), np.arange(begin, begin + part.shape[1]))
    ids_BK, best_BK = hits.sorted()
    expected_BK = np.argsort(-similarities, axis=1, kind="stable")[:, :k]
    assert ids_BK.tolist() == expected_BK.tolist()
    assert (best_BK == np.take_along_axis(similarities, expected_BK, 1)).all()


def test_similarities_that_rise_are_all_taken_in() -> None:
    """Each similarity is the best so far: the kept hits are cut down again and again."""
    similarities = np.linspace(-1, 1, 5_000).astype(np.float32)[None]
    hits = BestHits(1, 10)
    for begin in range(0, 5_000, 512):
        part = similarities[:, begin : begin + 512]
        hits.add(part, np.arange(1), np.arange(begin, begin + part.shape[1]))
    assert hits.sorted()[0][0].tolist() == list(range(4_999, 4_989, -1))


def test_a_query_that_met_too_few_vectors_has_fewer_hits() -> None:
    hits = BestHits(3, 4)
    hits.add(np.array([[0.5, 0.7]], np.float32), np.array([1]), np.array([5, 9]))
    ids_BK, best_BK = hits.sorted()
    assert ids_BK.tolist() == [[-1] * 4, [9, 5, -1, -1], [-1] * 4]
    assert best_BK[1].tolist() == [np.float32(0.7), np.float32(0.5), -1, -1]
