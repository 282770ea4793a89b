"""The builder of graphs: the same graph on any number of threads, sound, connected, and as good as hnswlib's."""

from __future__ import annotations

import hnswlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from astec.export.artifact.index import hnsw_build
from astec.export.artifact.index.base import HnswParams, unit_rows
from astec.export.artifact.index.flat import FlatIndex
from astec.export.artifact.index.hnsw import HnswIndex
from astec.export.artifact.index.hnsw_build import build_graph
from astec.export.artifact.index.hnsw_graph import NO_LINK, HnswGraph

COUNT, DIM = 4_000, 24
PARAMS = HnswParams(m=8, ef_construction=60, ef_search=40)


def clustered(count: int, dim: int, seed: int) -> NDArray[np.float32]:
    """Vectors around a centre for each 50 of them."""
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((COUNT // 50, dim), np.float32)
    noise = generator.standard_normal((count, dim), np.float32)
    return unit_rows(centres[generator.integers(len(centres), size=count)] + np.float32(0.6) * noise)


def contents(graph: HnswGraph) -> tuple[bytes, ...]:
    arrays = (graph.links, graph.upper_nodes, graph.upper_bounds, graph.upper_links, np.array(graph.entry))
    return tuple(array.tobytes() for array in arrays)


def reachable(graph: HnswGraph) -> NDArray[np.bool_]:
    """The nodes that links of the lowest level lead to from the entry, bool [N]."""
    reached_N = np.zeros(len(graph.links), bool)
    reached_N[graph.upper_nodes[graph.entry]] = True
    while not reached_N[linked := np.setdiff1d(graph.links[reached_N], NO_LINK)].all():
        reached_N[linked] = True
    return reached_N


def require_lists(graph: HnswGraph) -> None:
    """Each list leads to different nodes, none to itself, and its fillers come last."""
    node_R = np.repeat(np.arange(len(graph.upper_nodes)), np.diff(graph.upper_bounds))
    for links, own in ((graph.links, np.arange(len(graph.links))), (graph.upper_links, node_R)):
        assert not (links == own[:, None]).any()
        for row in links:
            linked = row[row != NO_LINK]
            assert len(set(linked.tolist())) == len(linked)
            assert (row[: len(linked)] == linked).all()


@pytest.fixture(scope="module")
def vectors() -> NDArray[np.float32]:
    return clustered(COUNT, DIM, seed=1)


@pytest.fixture(scope="module")
def graph(vectors: NDArray[np.float32]) -> HnswGraph:
    return build_graph(vectors, PARAMS, 0, num_threads=1)


@pytest.mark.parametrize("num_threads", [2, 4, None])
def test_the_number_of_threads_does_not_change_the_graph(
    vectors: NDArray[np.float32], graph: HnswGraph, num_threads: int | None
) -> None:
    assert contents(build_graph(vectors, PARAMS, 0, num_threads)) == contents(graph)


# Coordinates so few that many vectors are equal, and some are zeros.
small_vectors = st.integers(1, 4).flatmap(
    lambda dim: st.lists(st.lists(st.integers(-2, 2), min_size=dim, max_size=dim), min_size=1, max_size=120)
)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(rows=small_vectors, m=st.integers(2, 6), ef=st.integers(1, 30), seed=st.integers(0, 9))
def test_any_vectors_give_a_sound_graph_however_the_work_is_divided(
    rows: list[list[int]], m: int, ef: int, seed: int
) -> None:
    """With large batches, so that there is work to divide."""
    units_ND, params = unit_rows(np.array(rows, np.float32)), HnswParams(m, ef, 1)
    graphs = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hnsw_build, "_BATCH_SHARE", 0.5)
        for num_threads, size in ((1, 1_000), (2, 1), (4, 3)):
            patch.setattr(hnsw_build, "_CHUNK_NODES", size)
            patch.setattr(hnsw_build, "_CHUNK_LISTS", size)
            graphs.append(build_graph(units_ND, params, seed, num_threads))
    assert contents(graphs[0]) == contents(graphs[1]) == contents(graphs[2])
    graphs[0].require_sound()
    require_lists(graphs[0])
    assert graphs[0].links.shape == (len(rows), 2 * m)
    assert graphs[0].upper_links.shape[1] == m


@pytest.mark.parametrize("count", [1, 2, 8])
def test_fewer_vectors_than_links_are_all_linked(count: int) -> None:
    graph = build_graph(clustered(count, DIM, seed=2), PARAMS, 0)
    assert np.array_equal(np.count_nonzero(graph.links != NO_LINK, axis=1), np.full(count, count - 1))


@pytest.mark.parametrize("vectors_ND", [np.ones((300, 3), np.float32), np.zeros((300, 3), np.float32)])
def test_equal_vectors(vectors_ND: NDArray[np.float32]) -> None:
    graph = build_graph(unit_rows(vectors_ND), PARAMS, 0)
    graph.require_sound()
    require_lists(graph)
    assert (graph.links[:, 0] != NO_LINK).all()
    assert reachable(graph).mean() > 0.9


def test_every_list_and_nearly_every_node_can_be_reached(graph: HnswGraph) -> None:
    graph.require_sound()
    require_lists(graph)
    assert reachable(graph).mean() > 0.999


def test_levels_are_as_rare_as_in_the_paper(graph: HnswGraph) -> None:
    """Each level has about one of m nodes of the level below, and the entry is in all of them."""
    levels_U = np.diff(graph.upper_bounds)
    assert len(levels_U) == pytest.approx(COUNT / PARAMS.m, rel=0.1)
    assert np.count_nonzero(levels_U > 1) == pytest.approx(COUNT / PARAMS.m**2, rel=0.3)
    assert levels_U[graph.entry] == levels_U.max()


def test_a_seed_draws_other_levels(vectors: NDArray[np.float32]) -> None:
    one, two = (build_graph(vectors[:500], PARAMS, seed) for seed in (1, 2))
    assert not np.array_equal(one.upper_nodes, two.upper_nodes)


def test_it_finds_what_hnswlibs_own_graph_finds(vectors: NDArray[np.float32]) -> None:
    queries_BD = clustered(300, DIM, seed=3)
    library = hnswlib.Index(space="cosine", dim=DIM)
    library.init_index(COUNT, M=PARAMS.m, ef_construction=PARAMS.ef_construction, random_seed=0)
    library.add_items(vectors, num_threads=1)
    exact_BK, _ = FlatIndex(vectors).search(queries_BD, 10)

    def recall(index: HnswIndex) -> float:
        found_BK, _ = index.search(queries_BD, 10)
        return float(np.mean([np.isin(*both).mean() for both in zip(exact_BK, found_BK, strict=True)]))

    assert recall(HnswIndex.build(vectors, PARAMS, 0)) >= recall(HnswIndex(library, PARAMS)) - 0.01 > 0.7


def test_vectors_that_are_no_numbers_are_refused(vectors: NDArray[np.float32]) -> None:
    with pytest.raises(ValueError, match="the vectors hold NaN or infinity"):
        build_graph(np.where(vectors > 0.5, np.float32(np.nan), vectors), PARAMS, 0)
