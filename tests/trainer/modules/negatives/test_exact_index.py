"""Exact search against the graphs that serve, which search so widely here that they miss nothing."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from astec.export.artifact.index.base import HnswParams
from astec.export.artifact.index.hnsw import HnswIndex
from astec.trainer.modules.negatives import exact_index
from astec.trainer.modules.negatives.exact_index import ExactIndex
from astec.trainer.modules.negatives.sampling import build_graphs, mine_negatives, shortlist_all
from astec.trainer.settings.config import HnswSection, ShortlistSection

CPU = torch.device("cpu")


def random_vectors(count: int, seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((count, 12)).astype(np.float32)


@pytest.mark.parametrize("block", [7, 100, 1000])
@pytest.mark.parametrize("k", [1, 30, 500])
def test_it_finds_what_an_exhaustive_graph_search_finds(block: int, k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact_index, "_BLOCK_VECTORS", block)
    graph = HnswIndex.build(random_vectors(300, seed=0), HnswParams(m=32, ef_construction=300, ef_search=300), seed=0)
    queries = random_vectors(20, seed=1)
    ids, similarities = ExactIndex(graph.vectors(), CPU).search(queries, k)
    expected_ids, expected_similarities = graph.search(queries, k)
    assert ids.dtype == expected_ids.dtype
    assert similarities.dtype == expected_similarities.dtype
    assert ids.tolist() == expected_ids.tolist()
    np.testing.assert_allclose(similarities, expected_similarities, atol=1e-5)


def test_negatives_mined_exactly_are_those_of_the_graphs() -> None:
    generator = np.random.default_rng(2)
    v_ND = generator.random((700, 12), np.float32)
    v_ND[5] = 0
    labels_NL = csr_matrix((generator.random((700, 40)) < 0.1).astype(np.float32))
    wide = HnswSection(m=32, ef_construction=700, ef_search=700, neighbours=15)
    settings = ShortlistSection(centroids=wide, points=wide)
    graphs = build_graphs(v_ND, labels_NL, settings, seed=0)
    exact, approximate = graphs.exact_shortlister(settings, CPU), graphs.shortlister(settings)
    for one, other in zip(shortlist_all(exact, v_ND, ""), shortlist_all(approximate, v_ND, ""), strict=True):
        assert one.offsets.tolist() == other.offsets.tolist()
        assert one.labels.tolist() == other.labels.tolist()
        np.testing.assert_allclose(one.similarities, other.similarities, atol=1e-5)
        np.testing.assert_allclose(one.votes, other.votes, atol=1e-5)
    mined, expected = (mine_negatives(search, v_ND, labels_NL, 10) for search in (exact, approximate))
    # Two labels as similar to a text but for the last bits may change places.
    assert (mined == expected).mean() > 0.999
    assert (mined[5] == -1).all()
