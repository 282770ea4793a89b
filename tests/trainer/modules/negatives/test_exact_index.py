"""Exact search against hnswlib, which searches so widely here that it misses nothing."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from astec.export.artifact.index.base import HnswParams, unit_rows
from astec.export.artifact.index.hnsw import HnswIndex
from astec.trainer.modules.negatives import exact_index
from astec.trainer.modules.negatives.exact_index import ExactIndex

CPU = torch.device("cpu")


def random_vectors(count: int, seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((count, 12)).astype(np.float32)


@pytest.mark.parametrize("block", [7, 100, 1000])
@pytest.mark.parametrize("k", [1, 30, 500])
def test_it_finds_what_an_exhaustive_graph_search_finds(block: int, k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact_index, "_CPU_BLOCK", block)
    monkeypatch.setattr(exact_index, "product_dtype", lambda precision, device: torch.float32)
    vectors_MD, queries_BD = random_vectors(300, seed=0), random_vectors(20, seed=1)
    graph = HnswIndex.build(vectors_MD, HnswParams(m=32, ef_construction=300, ef_search=300), seed=0)
    ids, similarities = ExactIndex(unit_rows(vectors_MD), CPU).search(queries_BD, k)
    expected_ids, expected_similarities = graph.search(queries_BD, k)
    assert ids.dtype == expected_ids.dtype
    assert similarities.dtype == expected_similarities.dtype
    np.testing.assert_allclose(similarities, expected_similarities, atol=1e-5)
    # Similarities that differ by rounding only may come in either order: which one does depends on the CPU.
    found_BK = np.einsum("bkd,bd->bk", unit_rows(vectors_MD)[ids], unit_rows(queries_BD))
    np.testing.assert_allclose(found_BK, expected_similarities, atol=1e-5)
    assert all(len(set(row)) == len(row) for row in ids.tolist())


def test_candidates_of_short_numbers_are_compared_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU that does not multiply bfloat16 natively emulates it."""
    units_MD, queries_BD = unit_rows(random_vectors(3_000, seed=0)), random_vectors(40, seed=1)
    found = {}
    for dtype in (torch.float32, torch.bfloat16):
        monkeypatch.setattr(exact_index, "product_dtype", lambda precision, device, dtype=dtype: dtype)
        found[dtype] = ExactIndex(units_MD, CPU).search(queries_BD, 100)
    (ids_BK, exact_BK), (short_ids_BK, short_BK) = found.values()
    assert (ids_BK == short_ids_BK).mean() > 0.99
    np.testing.assert_allclose(short_BK, exact_BK, atol=1e-6)


def test_a_query_of_another_size_is_refused() -> None:
    index = ExactIndex(unit_rows(random_vectors(5, seed=0)), CPU)
    with pytest.raises(ValueError, match="the queries have 3 dimensions, the index 12"):
        index.search(np.ones((1, 3), np.float32), 2)


@pytest.mark.gpu
def test_a_gpu_finds_what_the_cpu_finds() -> None:
    """There are more vectors than fit into one block of the GPU's, which compares them in float16 first."""
    units_MD, queries_BD = unit_rows(random_vectors(200_000, seed=0)), random_vectors(40, seed=1)
    ids, similarities = ExactIndex(units_MD, torch.device("cuda")).search(queries_BD, 50)
    expected_ids, expected_similarities = ExactIndex(units_MD, CPU).search(queries_BD, 50)
    np.testing.assert_allclose(similarities, expected_similarities, atol=1e-5)
    assert (ids == expected_ids).mean() > 0.98, "only neighbours of nearly equal similarity may swap places"
