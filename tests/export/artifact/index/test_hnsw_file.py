"""The file of an hnswlib index that we write, as hnswlib reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hnswlib
import numpy as np
import pytest
from numpy.typing import NDArray

from astec.export.artifact.index.base import HnswParams, unit_rows
from astec.export.artifact.index.hnsw_build import build_graph
from astec.export.artifact.index.hnsw_file import require_sound_file, write_file
from astec.export.artifact.index.hnsw_graph import NO_LINK, HnswGraph

COUNT, DIM, M, EF_CONSTRUCTION = 400, 6, 4, 20


@pytest.fixture(scope="module")
def units() -> NDArray[np.float32]:
    return unit_rows(np.random.default_rng(0).standard_normal((COUNT, DIM), np.float32))


@pytest.fixture(scope="module")
def graph(units: NDArray[np.float32]) -> HnswGraph:
    return build_graph(units, HnswParams(M, EF_CONSTRUCTION, 1), seed=0)


@pytest.fixture
def path(units: NDArray[np.float32], graph: HnswGraph, tmp_path: Path) -> Path:
    write_file(tmp_path / "written", units, graph, EF_CONSTRUCTION)
    return tmp_path / "written"


@pytest.fixture
def library(path: Path) -> hnswlib.Index:
    library = hnswlib.Index(space="cosine", dim=DIM)
    library.load_index(str(path))
    return library


def lists(records: NDArray[Any]) -> list[list[int]]:
    """The links of records that begin with their number."""
    numbers = np.ascontiguousarray(records).view(np.uint32)
    return [row[1 : 1 + row[0]].tolist() for row in numbers]


def linked(links: NDArray[np.int32]) -> list[list[int]]:
    return [row[row != NO_LINK].tolist() for row in links]


def test_it_is_sound(path: Path) -> None:
    require_sound_file(path, DIM)


def test_hnswlib_reads_the_vectors_and_every_list(
    library: hnswlib.Index, units: NDArray[np.float32], graph: HnswGraph
) -> None:
    state = library.__getstate__()[0]
    records = state["data_level0"].reshape(COUNT, -1)
    levels_N = np.zeros(COUNT, int)
    levels_N[graph.upper_nodes] = np.diff(graph.upper_bounds)
    assert lists(records[:, : 4 * (1 + 2 * M)]) == linked(graph.links)
    assert state["element_levels"].tolist() == levels_N.tolist()
    assert lists(state["link_lists"].reshape(-1, 4 * (1 + M))) == [
        graph.upper_nodes[row].tolist() for row in linked(graph.upper_links)
    ]
    assert state["enterpoint_node"] == graph.upper_nodes[graph.entry]
    assert state["max_level"] == levels_N.max() > 1
    assert np.array_equal(library.get_items(np.arange(COUNT)), units)


def test_hnswlib_would_write_the_same(path: Path, library: hnswlib.Index, tmp_path: Path) -> None:
    library.save_index(str(tmp_path / "saved"))
    assert (tmp_path / "saved").read_bytes() == path.read_bytes()


def test_a_graph_of_one_level(tmp_path: Path) -> None:
    units_ND = unit_rows(np.eye(2, DIM, dtype=np.float32))
    graph = HnswGraph(
        np.array([[1, NO_LINK, NO_LINK, NO_LINK], [0, NO_LINK, NO_LINK, NO_LINK]], np.int32),
        np.array([1], np.int32),
        np.zeros(2, np.int32),
        np.empty((0, 2), np.int32),
        entry=0,
    )
    write_file(tmp_path / "written", units_ND, graph, EF_CONSTRUCTION)
    require_sound_file(tmp_path / "written", DIM)
    library = hnswlib.Index(space="cosine", dim=DIM)
    library.load_index(str(tmp_path / "written"))
    assert library.knn_query(units_ND, k=2)[0].tolist() == [[0, 1], [1, 0]]


def test_a_full_disk_is_no_silent_loss(units: NDArray[np.float32], graph: HnswGraph) -> None:
    with pytest.raises(OSError, match="space"):
        write_file(Path("/dev/full"), units, graph, EF_CONSTRUCTION)
