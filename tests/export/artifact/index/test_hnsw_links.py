"""The choice of links, against the paper's algorithm in plain Python."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from astec.export.artifact.index.base import unit_rows
from astec.export.artifact.index.hnsw_graph import NO_LINK
from astec.export.artifact.index.hnsw_links import link_back, select_diverse

DIM = 5


def random_units(count: int, seed: int) -> NDArray[np.float32]:
    return unit_rows(np.random.default_rng(seed).standard_normal((count, DIM), np.float32))


def chosen(units_ND: NDArray[np.float32], node: int, candidates: list[int], most: int) -> list[int]:
    """Algorithm 4: of the candidates, the nearest first, those nearer to the node than to each one chosen before."""
    if len(candidates) < most:
        return candidates
    kept: list[int] = []
    for candidate in candidates:
        if all(units_ND[candidate] @ units_ND[other] <= units_ND[candidate] @ units_ND[node] for other in kept):
            kept.append(candidate)
    return kept[:most]


def nearest_first(units_ND: NDArray[np.float32], node: int, nodes: list[int]) -> list[int]:
    return sorted(nodes, key=lambda other: -float(units_ND[other] @ units_ND[node]))


def select(units_ND: NDArray[np.float32], marked: list[int], most: int) -> list[int]:
    """Let the kernel choose for node 0; marked nodes are ~node."""
    nodes_C = np.array(marked, np.int32)
    similarities_C = (units_ND[np.maximum(nodes_C, ~nodes_C)] @ units_ND[0]).astype(np.float32)
    kept = select_diverse(units_ND, nodes_C, similarities_C, len(nodes_C), most)
    return [int(node) for node in np.maximum(nodes_C, ~nodes_C)[:kept]]


@settings(derandomize=True, deadline=None, max_examples=60)
@given(count=st.integers(2, 40), most=st.integers(2, 20), seed=st.integers(0, 99))
def test_links_are_chosen_as_in_the_paper(count: int, most: int, seed: int) -> None:
    units_ND = random_units(count, seed)
    candidates = nearest_first(units_ND, 0, list(range(1, count)))
    assert select(units_ND, candidates, most) == chosen(units_ND, 0, candidates, most)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(first=st.integers(20, 40), later=st.integers(1, 20), most=st.integers(2, 15), seed=st.integers(0, 99))
def test_links_that_were_chosen_together_need_not_be_compared_again(
    first: int, later: int, most: int, seed: int
) -> None:
    units_ND = random_units(1 + first + later, seed)
    together = chosen(units_ND, 0, nearest_first(units_ND, 0, list(range(1, 1 + first))), most)
    candidates = nearest_first(units_ND, 0, together + list(range(1 + first, len(units_ND))))
    marked = [~node if node in together else node for node in candidates]
    assert select(units_ND, marked, most) == select(units_ND, candidates, most)


@pytest.mark.parametrize(("row", "most"), [(0, 8), (30, 4)])
@pytest.mark.parametrize("num_new", [1, 4, 9, 25])
def test_a_list_gets_new_links_and_only_without_room_chooses_among_all(row: int, most: int, num_new: int) -> None:
    """Row 30 is that of node 0 in the first upper level, where lists are half as long."""
    units_ND = random_units(30, seed=row)
    old, new = [1, 2, 3], list(range(4, 4 + num_new))
    links_RM = np.full((31, 8), NO_LINK, np.int32)
    similarities_RM, diverse_R = np.zeros((31, 8), np.float32), np.zeros(31, np.int32)
    links_RM[row, :3], similarities_RM[row, :3] = old, units_ND[old] @ units_ND[0]
    sources_P = np.array(new, np.int32)
    link_back(
        units_ND,
        links_RM,
        similarities_RM,
        diverse_R,
        np.array([row]),
        np.array([0, num_new]),
        sources_P,
        units_ND[sources_P] @ units_ND[0],
        0,
        1,
    )
    linked = links_RM[row][links_RM[row] != NO_LINK].tolist()
    if len(old + new) <= most:
        assert (linked, diverse_R[row]) == (old + new, 0)
    else:
        # Twice as many as fit into a list of the lowest level are compared.
        candidates = nearest_first(units_ND, 0, old + new)[:16]
        assert linked == chosen(units_ND, 0, candidates, most)
        assert diverse_R[row] == len(linked)
    assert similarities_RM[row, : len(linked)] == pytest.approx(units_ND[linked] @ units_ND[0], abs=1e-6)
    assert (np.delete(links_RM, row, axis=0) == NO_LINK).all()
