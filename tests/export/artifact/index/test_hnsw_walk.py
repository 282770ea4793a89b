"""The table of visited nodes, which must neither forget a node nor invent one."""

from __future__ import annotations

import numpy as np
import pytest

from astec.export.artifact.index.hnsw_walk import _doubled, _visit, _visit_links, table_of_visited


@pytest.mark.parametrize("seed", range(5))
def test_a_table_half_full_knows_just_the_nodes_that_were_visited(seed: int) -> None:
    """Of few distinct nodes many begin at the same pair of slots, and search for room in others."""
    generator = np.random.default_rng(seed)
    visited_T, seen = np.full(64, -1, np.int32), set[int]()
    nodes = generator.choice(2**31 - 1, 32, replace=False)
    for node in generator.choice(nodes, 500).tolist():
        assert _visit(node, visited_T) == (node not in seen)
        seen.add(node)
    assert sorted(visited_T[visited_T >= 0].tolist()) == sorted(seen)


def test_a_table_of_twice_the_size_holds_the_same_nodes() -> None:
    visited_T = np.full(16, -1, np.int32)
    for node in range(8):
        _visit(node, visited_T)
    larger_T = _doubled(visited_T)
    assert len(larger_T) == 32
    assert [_visit(node, larger_T) for node in range(10)] == [0] * 8 + [1, 1]


def test_of_a_nodes_links_those_not_visited_before_are_kept_in_their_order() -> None:
    links_NM = np.array([[5, 3, 9, -1], [3, 7, 5, 1]], np.int32)
    visited_T, fresh_M = table_of_visited(1), np.empty(4, np.int32)
    visited_T[:] = -1
    assert fresh_M[: _visit_links(0, links_NM, visited_T, fresh_M)].tolist() == [5, 3, 9]
    assert fresh_M[: _visit_links(1, links_NM, visited_T, fresh_M)].tolist() == [7, 1]
    assert _visit_links(1, links_NM, visited_T, fresh_M) == 0
