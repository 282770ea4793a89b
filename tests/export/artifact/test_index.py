"""The HNSW graph against exact search."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from export.artifact.index import HnswIndex, HnswParams
from export.artifact.store import open_artifact
from export.verify import recall_of

PARAMS = HnswParams(m=16, ef_construction=100, ef_search=100)
COUNT, DIM = 1_000, 16


@pytest.fixture(scope="module")
def vectors() -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((COUNT, DIM), np.float32)


@pytest.fixture(scope="module")
def queries() -> NDArray[np.float32]:
    return np.random.default_rng(1).standard_normal((50, DIM), np.float32)


@pytest.fixture(scope="module")
def index(vectors: NDArray[np.float32]) -> HnswIndex:
    return HnswIndex.build(vectors, PARAMS, seed=0)


def exact(vectors: NDArray[np.float32], queries: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(vectors, axis=1)
    return queries @ vectors.T / norms


def test_finds_the_nearest_with_their_cosines(
    index: HnswIndex, vectors: NDArray[np.float32], queries: NDArray[np.float32]
) -> None:
    ids, similarities = index.search(queries, 10)
    cosines = exact(vectors, queries)
    nearest = np.argsort(-cosines, axis=1)[:, :10]
    hits = sum(len(np.intersect1d(found, true)) for found, true in zip(ids, nearest, strict=True))
    assert hits >= 0.99 * ids.size
    assert similarities == pytest.approx(np.take_along_axis(cosines, ids, axis=1), abs=1e-5)
    assert np.all(np.diff(similarities, axis=1) <= 0)
    assert (ids.dtype, similarities.dtype) == (np.int64, np.float32)


def test_the_same_build_is_the_same_file(vectors: NDArray[np.float32], tmp_path: Path) -> None:
    for name in ("one", "two"):
        HnswIndex.build(vectors, PARAMS, seed=3).save(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_ef_search_comes_back_with_the_params(index: HnswIndex, queries: NDArray[np.float32], tmp_path: Path) -> None:
    index.save(tmp_path / "graph")
    wide = HnswIndex.load(tmp_path / "graph", DIM, PARAMS)
    narrow = HnswIndex.load(tmp_path / "graph", DIM, HnswParams(m=16, ef_construction=100, ef_search=1))
    assert np.array_equal(wide.search(queries, 10)[0], index.search(queries, 10)[0])
    assert recall_of(wide, queries, 1) > recall_of(narrow, queries, 1)


def test_ef_search_reaches_the_served_graphs_through_the_manifest(demo_artifact: Path) -> None:
    artifact = open_artifact(demo_artifact)
    manifest, shortlister = artifact.manifest, artifact.shortlister
    assert manifest.points is not None
    assert shortlister.points is not None
    centroids, points = shortlister.centroids.index, shortlister.points.index
    assert isinstance(centroids, HnswIndex)
    assert isinstance(points, HnswIndex)
    assert centroids.params.ef_search == manifest.centroids.ef_search == 300
    assert points.params.ef_search == manifest.points.ef_search == 100


def test_more_neighbours_than_vectors_gives_all(vectors: NDArray[np.float32], queries: NDArray[np.float32]) -> None:
    ids, _ = HnswIndex.build(vectors[:7], PARAMS, seed=0).search(queries, 20)
    assert np.array_equal(np.sort(ids, axis=1), np.tile(np.arange(7), (len(queries), 1)))


def test_equal_vectors_do_not_fail_the_batch(queries: NDArray[np.float32]) -> None:
    # With all distances equal the graph has islands, and hnswlib raises when it cannot reach k of the nodes.
    vectors = np.tile(np.ones(DIM, np.float32), (400, 1))
    sparse = HnswIndex.build(vectors, HnswParams(m=2, ef_construction=4, ef_search=4), seed=0)
    ids, similarities = sparse.search(queries, 300)
    cosines = exact(vectors[:1], queries)
    for row, similarity_K, cosine in zip(ids, similarities, cosines[:, 0], strict=True):
        found = row[row >= 0]
        assert len(found) == len(np.unique(found)) > 0
        assert similarity_K[row >= 0] == pytest.approx(cosine, abs=1e-5)
        assert np.all(similarity_K[row < 0] == -1)
    assert (ids < 0).any()


def test_no_queries_at_all(index: HnswIndex) -> None:
    ids, similarities = index.search(np.empty((0, DIM), np.float32), 10)
    assert ids.shape == similarities.shape == (0, 10)


def test_the_vectors_come_back_with_unit_norm(index: HnswIndex, vectors: NDArray[np.float32]) -> None:
    assert index.vectors() == pytest.approx(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), abs=1e-6)


def test_queries_of_another_dimension_are_refused(index: HnswIndex) -> None:
    with pytest.raises(ValueError, match="15 dimensions, the index has 16"):
        index.search(np.ones((2, DIM - 1), np.float32), 10)


def test_a_save_that_cannot_be_written_is_no_silent_loss(index: HnswIndex, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="graph"):
        index.save(tmp_path / "missing" / "graph")
    with pytest.raises(OSError, match=r"has 0 of \d+ bytes; is the disk full"):
        index.save(Path("/dev/full"))


@pytest.mark.parametrize(("name", "value"), [("m", 1), ("ef_construction", 0), ("ef_search", 0)])
def test_a_parameter_out_of_range_is_named(name: str, value: int) -> None:
    values = {"m": 16, "ef_construction": 100, "ef_search": 100} | {name: value}
    with pytest.raises(ValueError, match=f"{name} is {value}; it must be at least"):
        HnswParams(**values)
