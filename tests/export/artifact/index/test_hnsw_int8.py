"""The int8 graph: its search against exact search and hnswlib, and damaged files that it refuses."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from astec.export.artifact.index.base import HnswParams
from astec.export.artifact.index.flat import FlatIndex
from astec.export.artifact.index.graph_index import Rows
from astec.export.artifact.index.hnsw import HnswIndex
from astec.export.artifact.index.hnsw_graph import HnswGraph
from astec.export.artifact.index.hnsw_int8 import Int8Index
from astec.export.artifact.index.hnsw_walk import walk
from astec.export.artifact.kernels.quantization import quantize_int8

COUNT, DIM, M = 500, 8, 4
PARAMS = HnswParams(M, ef_construction=100, ef_search=30)
HEADER_BYTES = 64


def normal(count: int, dim: int, seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((count, dim), np.float32)


@pytest.fixture(scope="module")
def index() -> Int8Index:
    return Int8Index.build(normal(COUNT, DIM, seed=0), PARAMS, seed=0)


@pytest.fixture
def path(index: Int8Index, tmp_path: Path) -> Path:
    index.save(tmp_path / "points.index")
    return tmp_path / "points.index"


@settings(derandomize=True, deadline=None, max_examples=30)
@given(
    count=st.integers(1, 60), dim=st.integers(1, 9), m=st.integers(2, 5), k=st.integers(1, 70), seed=st.integers(0, 99)
)
def test_of_all_that_the_graph_reaches_the_nearest_are_found(count: int, dim: int, m: int, k: int, seed: int) -> None:
    """With as many candidates as nodes, and cosines of what the codes stand for."""
    index = Int8Index.build(normal(count, dim, seed), HnswParams(m, 100, count), seed)
    queries_BD = normal(3, dim, seed + 1)
    ids_BK, similarities_BK = index.search(queries_BD, k)
    all_BN, _ = index.search(queries_BD, count)
    units_BD = queries_BD / np.linalg.norm(queries_BD, axis=1, keepdims=True)
    cosines_BN = units_BD @ index.vectors().T
    for ids_K, similarities_K, all_N, cosines_N in zip(ids_BK, similarities_BK, all_BN, cosines_BN, strict=True):
        reached = all_N[all_N >= 0]
        assert 0 < len(set(reached)) == len(reached)
        nearest = np.full(len(ids_K), -1, np.float32)
        nearest[: len(reached)] = -np.sort(-cosines_N[reached])[: len(ids_K)]
        assert similarities_K == pytest.approx(nearest, abs=1e-5)
        assert np.all((ids_K >= 0) == (np.arange(len(ids_K)) < len(reached)))


@pytest.mark.parametrize("ef_search", [10, 40])
def test_it_finds_what_hnswlib_finds_with_the_same_graph(ef_search: int) -> None:
    """Where a few dimensions hold most of the length, as principal directions do."""
    spread_D = np.geomspace(1, 0.05, 32, dtype=np.float32)
    vectors_ND, queries_BD = normal(3_000, 32, seed=0) * spread_D, normal(200, 32, seed=1) * spread_D
    params = HnswParams(8, 60, ef_search)
    exact_BK = FlatIndex.build(vectors_ND, params, 0).search(queries_BD, 10)[0]

    def recall(backend: type[HnswIndex | Int8Index]) -> float:
        ids_BK = backend.build(vectors_ND, params, 0).search(queries_BD, 10)[0]
        return float(np.mean([np.isin(*both).mean() for both in zip(ids_BK, exact_BK, strict=True)]))

    assert recall(Int8Index) >= recall(HnswIndex) - 0.02 > 0.6


def test_where_one_dimension_is_long_the_others_are_rounded_to_smaller_steps() -> None:
    vectors_ND = 0.01 * normal(COUNT, DIM, seed=0)
    vectors_ND[:, 0] = 1
    units_ND = vectors_ND / np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    codes_ND, scales_N = quantize_int8(units_ND)
    of_one_step = np.abs(codes_ND * scales_N[:, None] - units_ND)[:, 1:].mean()
    assert np.abs(Int8Index.build(vectors_ND, PARAMS, 0).vectors() - units_ND)[:, 1:].mean() < of_one_step / 5


def test_islands_of_equal_vectors_fill_up_with_minus_one() -> None:
    index = Int8Index.build(np.ones((400, DIM), np.float32), HnswParams(m=2, ef_construction=4, ef_search=4), seed=0)
    ids_BK, similarities_BK = index.search(normal(20, DIM, seed=1), 300)
    assert (ids_BK < 0).any()
    assert (ids_BK[:, 0] >= 0).all()
    assert np.all((similarities_BK == -1) == (ids_BK < 0))


def test_more_nodes_than_the_table_of_visited_ones_was_made_for(index: Int8Index) -> None:
    """A star: the first candidate leads to all others at once."""
    star = Int8Index.build(normal(COUNT, DIM, seed=0), HnswParams(COUNT, 2 * COUNT, ef_search=1), seed=0)
    ids_BK, _ = star.search(normal(20, DIM, seed=1), 1)
    assert (ids_BK == FlatIndex.build(star.vectors(), PARAMS, 0).search(normal(20, DIM, seed=1), 1)[0]).mean() > 0.9


def test_vectors_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="NaN or infinity"):
        Int8Index.build(np.full((3, DIM), np.nan, np.float32), PARAMS, 0)


def test_a_walk_over_numbers_that_are_none_ends(index: Int8Index) -> None:
    ids_BK, _ = index.search(np.full((2, DIM), np.nan, np.float32), 5)
    assert ids_BK.shape == (2, 5)


def test_what_is_built_and_what_is_loaded_share_a_compiled_kernel(index: Int8Index, path: Path) -> None:
    kernels = []
    for either in (index, Int8Index.load(path, DIM, PARAMS)):
        either.search(normal(2, DIM, seed=1), 3)
        kernels.append(len(walk.signatures))
    assert kernels[0] == kernels[1]


def test_the_file_is_mapped(path: Path) -> None:
    loaded = Int8Index.load(path, DIM, PARAMS)
    assert path.name in Path("/proc/self/maps").read_text()
    assert loaded.count == COUNT


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        (0, int.from_bytes(b"HNSWINT9", "little"), "begins with b'HNSWINT9' and version 1"),
        (1, 2, "version 2, not with b'HNSWINT8' and 1"),
        (2, 0, "is no size of a graph"),
        (2, -COUNT, "is no size of a graph"),
        (2, COUNT + 64, r"it has \d+ of \d+ bytes"),
        (2, 2**31, "is no size of a graph"),
        (2, 2**62, "is no size of a graph"),
        (3, DIM + 1, f"vectors of {DIM + 1} dimensions, not of {DIM}"),
        (4, 0, "is no size of a graph"),
        (4, 2**62, r"it has \d+ of \d+ bytes"),
        (5, 0, "is no size of a graph"),
        (5, 2**62, r"it has \d+ of \d+ bytes"),
        (6, -1, "is no size of a graph"),
        (6, 2**62, r"it has \d+ of \d+ bytes"),
        (7, -1, "the entry is -1"),
        (7, COUNT, f"the entry is {COUNT}"),
    ],
)
def test_a_header_that_cannot_be_is_refused_by_name(path: Path, field: int, value: int, problem: str) -> None:
    content = bytearray(path.read_bytes())
    struct.pack_into("<q", content, 8 * field, value)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"points\.index is no sound int8 graph: .*{problem}.*; export again"):
        Int8Index.load(path, DIM, PARAMS)


@pytest.mark.parametrize("change", [lambda content: content[:-1], lambda content: content + b"\0"])
def test_a_file_of_another_length_is_refused(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=r"points\.index is no sound int8 graph: it has \d+ of \d+ bytes"):
        Int8Index.load(path, DIM, PARAMS)


@pytest.mark.parametrize(
    ("array", "at", "value", "problem"),
    [
        ("scales", 3, np.nan, "scales hold NaN or infinity"),
        ("factors", 0, np.inf, "factors hold NaN or infinity"),
        ("links", (7, 0), COUNT, f"a link is {COUNT}, of {COUNT}"),
        ("links", (7, 0), -2, f"a link is -2, of {COUNT}"),
        ("upper_nodes", 0, COUNT, f"an upper node is {COUNT}, of {COUNT}"),
        ("upper_nodes", 0, -1, f"an upper node is -1, of {COUNT}"),
        ("upper_bounds", 0, 1, "do not ascend from 0"),
        ("upper_bounds", 2, 2**31 - 1, "do not ascend from 0"),
        ("upper_bounds", -1, 0, "do not ascend from 0"),
        ("upper_links", (0, 0), -2, "a link of an upper level is -2"),
        ("upper_links", (0, 0), COUNT, f"a link of an upper level is {COUNT}"),
    ],
)
def test_numbers_that_would_lead_out_of_the_file_are_refused(
    index: Int8Index, tmp_path: Path, array: str, at: int | tuple[int, int], value: float, problem: str
) -> None:
    graph, parts = index._graph, {name: part.copy() for name, part in index._vectors._asdict().items()}
    links = {name: getattr(graph, name).copy() for name in ("links", "upper_nodes", "upper_bounds", "upper_links")}
    (parts | links)[array][at] = value
    Int8Index(Rows(**parts), HnswGraph(**links, entry=graph.entry), 1).save(tmp_path / "points.index")
    with pytest.raises(ValueError, match=rf"points\.index is no sound int8 graph: .*{problem}"):
        Int8Index.load(tmp_path / "points.index", DIM, PARAMS)


def test_a_link_to_a_node_that_is_not_in_the_level_is_refused(index: Int8Index) -> None:
    graph = index._graph
    levels_U = np.diff(graph.upper_bounds)
    top, low = int(levels_U.argmax()), int(levels_U.argmin())
    assert levels_U[low] < levels_U[top]
    links = graph.upper_links.copy()
    links[graph.upper_bounds[top + 1] - 1, 0] = low
    with pytest.raises(ValueError, match="leads to a node that is not in it"):
        HnswGraph(graph.links, graph.upper_nodes, graph.upper_bounds, links, graph.entry).require_sound()
