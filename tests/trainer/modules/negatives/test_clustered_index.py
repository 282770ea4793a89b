"""The search in clusters against the exact search."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from astec.export.artifact.index.base import unit_rows
from astec.trainer.modules.negatives import search_vectors
from astec.trainer.modules.negatives.clustered_index import ClusteredIndex
from astec.trainer.modules.negatives.exact_index import ExactIndex
from astec.trainer.modules.negatives.search_vectors import SearchVectors
from astec.trainer.settings.config import NeighboursSection, ShortlistSection

CPU = torch.device("cpu")


def in_topics(count: int, seed: int) -> NDArray[np.float32]:
    """Return unit vectors around 300 topics, as texts have them."""
    generator = np.random.default_rng(seed)
    topics = np.random.default_rng(0).standard_normal((300, 24))
    noise = generator.standard_normal((count, 24))
    return unit_rows((topics[generator.integers(0, 300, count)] + 0.6 * noise).astype(np.float32))


def test_it_finds_nearly_all_that_an_exact_search_finds() -> None:
    units_MD, queries_BD = in_topics(20_000, seed=1), in_topics(300, seed=2)
    ids_BK, similarities_BK = ClusteredIndex(units_MD, seed=0).search(queries_BD, 50)
    exact_BK, exact_similarities_BK = ExactIndex(units_MD, CPU).search(queries_BD, 50)
    found = [len(set(one) & set(other)) / 50 for one, other in zip(ids_BK.tolist(), exact_BK.tolist(), strict=True)]
    assert np.mean(found) > 0.95
    assert ids_BK.dtype == exact_BK.dtype
    assert similarities_BK.dtype == exact_similarities_BK.dtype
    true_BK = np.einsum("bd,bkd->bk", queries_BD, units_MD[ids_BK])
    np.testing.assert_allclose(similarities_BK, true_BK, atol=1e-5)
    assert (np.diff(similarities_BK, axis=1) <= 0).all()


def test_the_same_seed_gives_the_same_hits() -> None:
    units_MD, queries_BD = in_topics(3_000, seed=1), in_topics(40, seed=2)
    ids_BK, _ = ClusteredIndex(units_MD, seed=5).search(queries_BD, 20)
    assert ids_BK.tolist() == ClusteredIndex(units_MD, seed=5).search(queries_BD, 20)[0].tolist()


@pytest.mark.parametrize("units_MD", [in_topics(1, 0), np.zeros((5, 24), np.float32), in_topics(9, 0)[[0] * 9]])
def test_where_all_clusters_are_searched_all_vectors_are_found(units_MD: NDArray[np.float32]) -> None:
    ids_BK, _ = ClusteredIndex(units_MD, seed=0).search(in_topics(2, seed=3), 100)
    assert np.sort(ids_BK).tolist() == [list(range(len(units_MD)))] * 2, "in any order: some vectors are equal"


def test_very_many_vectors_are_searched_in_clusters_but_for_held_out_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_vectors, "MOST_SEARCHED_EXACTLY", 50)
    settings = ShortlistSection(centroids=NeighboursSection(neighbours=3), points=NeighboursSection(neighbours=3))
    labels_NL = csr_matrix(np.eye(40, dtype=np.float32)[np.arange(80) % 40])
    vectors = SearchVectors.of(in_topics(80, seed=1), labels_NL, settings, seed=0)
    mining, exact = vectors.mining_shortlister(settings, CPU, seed=0), vectors.shortlister(settings, CPU)
    assert mining.points is not None
    assert mining.centroids is not None
    assert exact.points is not None
    assert isinstance(mining.points.index, ClusteredIndex)
    assert isinstance(mining.centroids.index, ExactIndex), "40 labels are few"
    assert isinstance(exact.points.index, ExactIndex)
