"""The float32 graph: its search beside hnswlib's on the same graph, and damaged vectors that it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from astec.export.artifact.index.base import HnswParams
from astec.export.artifact.index.hnsw import HnswIndex
from astec.export.artifact.index.hnsw_float32 import Float32Index
from astec.export.artifact.index.hnsw_int8 import Int8Index
from astec.export.artifact.index.hnsw_walk import walk

COUNT, DIM = 500, 8
PARAMS = HnswParams(4, ef_construction=100, ef_search=30)
HEADER_BYTES = 64


def normal(count: int, dim: int, seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((count, dim), np.float32)


@pytest.fixture(scope="module")
def index() -> Float32Index:
    return Float32Index.build(normal(COUNT, DIM, seed=0), PARAMS, seed=0)


@pytest.fixture
def path(index: Float32Index, tmp_path: Path) -> Path:
    index.save(tmp_path / "points.index")
    return tmp_path / "points.index"


@pytest.mark.parametrize(("m", "dim", "k", "ef_search"), [(8, 32, 10, 10), (8, 32, 10, 40), (16, 48, 50, 30)])
def test_it_finds_just_what_hnswlib_finds_with_the_same_graph(m: int, dim: int, k: int, ef_search: int) -> None:
    vectors_ND, queries_BD, params = normal(3_000, dim, seed=0), normal(200, dim, seed=1), HnswParams(m, 60, ef_search)
    ids_BK, similarities_BK = Float32Index.build(vectors_ND, params, 0).search(queries_BD, k)
    expected_BK, expected_similarities_BK = HnswIndex.build(vectors_ND, params, 0).search(queries_BD, k)
    assert similarities_BK == pytest.approx(expected_similarities_BK, abs=1e-6)
    # Neighbours as near as each other but for rounding may change places.
    is_other_BK = ids_BK != expected_BK
    assert is_other_BK.mean() < 1e-3


def test_the_kernel_for_what_is_built_serves_what_is_loaded(index: Float32Index, path: Path) -> None:
    kernels = []
    for either in (index, Float32Index.load(path, DIM, PARAMS)):
        either.search(normal(2, DIM, seed=1), 3)
        kernels.append(len(walk.signatures))
    assert kernels[0] == kernels[1]


def test_a_file_of_int8_vectors_is_refused(tmp_path: Path) -> None:
    Int8Index.build(normal(COUNT, DIM, seed=0), PARAMS, 0).save(tmp_path / "points.index")
    with pytest.raises(ValueError, match=r"points\.index is no sound float32 graph: it begins with b'HNSWINT8'"):
        Float32Index.load(tmp_path / "points.index", DIM, PARAMS)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1.1, -3e38])
def test_a_vector_that_has_no_unit_norm_is_refused(path: Path, value: float) -> None:
    """Products of huge numbers could add up to NaN."""
    content = bytearray(path.read_bytes())
    content[HEADER_BYTES + 4 * DIM : HEADER_BYTES + 4 * DIM + 4] = np.float32(value).tobytes()
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match="no sound float32 graph: its vectors hold a number that none of unit norm has"
    ):
        Float32Index.load(path, DIM, PARAMS)
