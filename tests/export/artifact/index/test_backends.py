"""Every backend of the index against exact search, through the one interface."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from astec.export.artifact.index.backends import index_backend
from astec.export.artifact.index.base import Backend, HnswParams, StoredIndex
from astec.export.artifact.index.hnsw import HnswIndex
from astec.export.artifact.store import open_artifact
from astec.export.packing.verify import recall_of

PARAMS = HnswParams(m=16, ef_construction=100, ef_search=100)
NARROW = HnswParams(m=16, ef_construction=100, ef_search=1)
COUNT, DIM = 1_000, 16
# Of a coordinate and of a cosine: half a step of 1/127 of a row's largest, and 16 of these in random directions.
INT8_ERROR, FLOAT32_ERROR = 5e-3, 1e-6


@pytest.fixture(scope="module")
def vectors() -> NDArray[np.float32]:
    """Of any length; the last has none, as that of a text without a known token."""
    vectors_ND = np.random.default_rng(0).standard_normal((COUNT, DIM), np.float32)
    vectors_ND[-1] = 0
    return vectors_ND


@pytest.fixture(scope="module")
def queries() -> NDArray[np.float32]:
    return np.random.default_rng(1).standard_normal((50, DIM), np.float32)


@pytest.fixture(scope="module", params=get_args(Backend))
def backend(request: pytest.FixtureRequest) -> type[StoredIndex]:
    return index_backend(request.param)


@pytest.fixture(scope="module")
def error(backend: type[StoredIndex]) -> float:
    """What the backend may be off by, of a coordinate and of a cosine."""
    return INT8_ERROR if backend is index_backend("hnsw-int8") else FLOAT32_ERROR


@pytest.fixture(scope="module")
def index(backend: type[StoredIndex], vectors: NDArray[np.float32]) -> StoredIndex:
    return backend.build(vectors, PARAMS, 0)


@pytest.fixture(scope="module")
def cosines(vectors: NDArray[np.float32], queries: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of each query with each vector [50, N]; 0 with the vector of no length."""
    norms_N = np.maximum(np.linalg.norm(vectors, axis=1), 1e-30)
    cosines_BN: NDArray[np.float32] = queries @ vectors.T / norms_N / np.linalg.norm(queries, axis=1)[:, None]
    return cosines_BN


def test_finds_the_nearest_with_their_cosines(
    index: StoredIndex, error: float, queries: NDArray[np.float32], cosines: NDArray[np.float32]
) -> None:
    ids, similarities = index.search(queries, 10)
    nearest = np.argsort(-cosines, axis=1)[:, :10]
    hits = sum(len(np.intersect1d(found, true)) for found, true in zip(ids, nearest, strict=True))
    assert hits >= (0.97 if error == INT8_ERROR else 0.99) * ids.size
    assert similarities == pytest.approx(np.take_along_axis(cosines, ids, axis=1), abs=max(error, 1e-5))
    assert np.all(np.diff(similarities, axis=1) <= 0)
    assert (ids.dtype, similarities.dtype) == (np.int64, np.float32)


def test_a_batch_is_its_queries_one_by_one(index: StoredIndex, queries: NDArray[np.float32]) -> None:
    together: tuple[NDArray[Any], ...] = index.search(queries, 10)
    for row in range(len(queries)):
        alone: tuple[NDArray[Any], ...] = index.search(queries[row : row + 1], 10)
        for of_all, of_one in zip(together, alone, strict=True):
            assert of_all[row].tolist() == of_one[0].tolist()


def test_threads_that_search_at_once_find_the_same(index: StoredIndex, queries: NDArray[np.float32]) -> None:
    expected = [part.tolist() for part in index.search(queries, 10)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: index.search(queries, 10), range(16)))
    assert all([part.tolist() for part in parts] == expected for parts in found)


def test_more_neighbours_than_vectors_gives_all(
    backend: type[StoredIndex], vectors: NDArray[np.float32], queries: NDArray[np.float32]
) -> None:
    ids, similarities = backend.build(vectors[:7], PARAMS, 0).search(queries, 20)
    assert ids.shape == similarities.shape == (len(queries), 7)
    assert np.array_equal(np.sort(ids, axis=1), np.tile(np.arange(7), (len(queries), 1)))


def test_one_vector_alone(backend: type[StoredIndex], error: float, vectors: NDArray[np.float32]) -> None:
    ids, similarities = backend.build(vectors[:1], PARAMS, 0).search(-vectors[:1], 5)
    assert ids.tolist() == [[0]]
    assert similarities == pytest.approx(np.array([[-1]]), abs=error)


def test_a_query_without_a_direction_finds_something_and_no_nan(index: StoredIndex) -> None:
    ids, similarities = index.search(np.zeros((2, DIM), np.float32), 5)
    assert ids.shape == similarities.shape == (2, 5)
    assert ids.min() >= -1
    assert ids.max() < COUNT
    assert np.isfinite(similarities).all()


def test_no_queries_at_all(index: StoredIndex) -> None:
    ids, similarities = index.search(np.empty((0, DIM), np.float32), 10)
    assert ids.shape == similarities.shape == (0, 10)


def test_queries_of_another_dimension_are_refused(index: StoredIndex) -> None:
    with pytest.raises(ValueError, match="15 dimensions, the index has 16"):
        index.search(np.ones((2, DIM - 1), np.float32), 10)


def test_the_vectors_come_back_with_unit_norm(index: StoredIndex, error: float, vectors: NDArray[np.float32]) -> None:
    units_ND = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)
    assert index.vectors() == pytest.approx(units_ND, abs=error)
    assert np.linalg.norm(index.vectors()[:-1], axis=1) == pytest.approx(1, abs=1e-6)
    assert index.vectors().dtype == np.float32


def test_the_same_build_is_the_same_file(
    backend: type[StoredIndex], vectors: NDArray[np.float32], tmp_path: Path
) -> None:
    for name in ("one", "two"):
        backend.build(vectors, PARAMS, 3).save(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_what_is_loaded_searches_as_what_was_saved(
    index: StoredIndex, backend: type[StoredIndex], queries: NDArray[np.float32], tmp_path: Path
) -> None:
    index.save(tmp_path / "points.index")
    loaded = backend.load(tmp_path / "points.index", DIM, PARAMS)
    assert loaded.count == index.count == COUNT
    assert loaded.vectors().tolist() == index.vectors().tolist()
    found, expected = loaded.search(queries, 10), index.search(queries, 10)
    assert [array.tolist() for array in found] == [array.tolist() for array in expected]


@pytest.mark.parametrize("name", ["hnswlib", "hnsw-float32", "hnsw-int8"])
def test_more_candidates_find_more(
    name: Backend, vectors: NDArray[np.float32], queries: NDArray[np.float32], tmp_path: Path
) -> None:
    """By the parameters of a load, which the file does not hold, and by those set later."""
    index_backend(name).build(vectors, PARAMS, 0).save(tmp_path / "graph")
    wide, narrow = (index_backend(name).load(tmp_path / "graph", DIM, params) for params in (PARAMS, NARROW))
    assert recall_of(wide, queries, 1) > recall_of(narrow, queries, 1)
    narrow.search_with(PARAMS.ef_search)
    assert narrow.search(queries, 10)[0].tolist() == wide.search(queries, 10)[0].tolist()


def test_exact_search_is_exact_whatever_it_is_set_to(
    vectors: NDArray[np.float32], queries: NDArray[np.float32]
) -> None:
    flat = index_backend("flat").build(vectors, NARROW, 0)
    flat.search_with(2)
    assert recall_of(flat, queries, 10) == 1


def test_a_missing_file_is_refused_by_name(backend: type[StoredIndex], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"points\.index"):
        backend.load(tmp_path / "points.index", DIM, PARAMS)


@pytest.mark.parametrize("kept", [0, 7, 60, 1_000, -1])
def test_a_file_cut_short_is_refused_by_name(
    index: StoredIndex, backend: type[StoredIndex], tmp_path: Path, kept: int
) -> None:
    index.save(tmp_path / "points.index")
    (tmp_path / "points.index").write_bytes((tmp_path / "points.index").read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"points\.index"):
        backend.load(tmp_path / "points.index", DIM, PARAMS)


@pytest.mark.parametrize("dim", [DIM - 1, DIM + 1])
def test_a_file_of_another_dimension_is_refused_by_both_names(
    index: StoredIndex, backend: type[StoredIndex], tmp_path: Path, dim: int
) -> None:
    index.save(tmp_path / "points.index")
    with pytest.raises(ValueError, match=rf"points\.index .*\b{dim}\b"):
        backend.load(tmp_path / "points.index", dim, PARAMS)


def test_a_save_to_no_folder_is_no_silent_loss(index: StoredIndex, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"points\.index"):
        index.save(tmp_path / "missing" / "points.index")


def test_a_full_disk_is_no_silent_loss(index: StoredIndex) -> None:
    with pytest.raises(OSError, match=r"full|space"):
        index.save(Path("/dev/full"))


def test_ef_search_reaches_the_served_graphs_through_the_manifest(full_artifact: Path) -> None:
    artifact = open_artifact(full_artifact)
    manifest, shortlister = artifact.manifest, artifact.shortlister
    for graph, description in ((shortlister.centroids, manifest.centroids), (shortlister.points, manifest.points)):
        assert graph is not None
        assert description is not None
        assert isinstance(graph.index, HnswIndex)
        assert graph.index.params == description.graph.params() == HnswParams(8, 100, 100)
        assert graph.neighbours == description.neighbours


@pytest.mark.parametrize(("name", "value"), [("m", 1), ("ef_construction", 0), ("ef_search", 0)])
def test_a_parameter_out_of_range_is_named(name: str, value: int) -> None:
    values = {"m": 16, "ef_construction": 100, "ef_search": 100} | {name: value}
    with pytest.raises(ValueError, match=f"{name} is {value}; it must be at least"):
        HnswParams(**values)
